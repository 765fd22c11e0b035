"""A progress bar that leaves no trace in an executed notebook."""

from __future__ import annotations

import os
import sys

from tqdm import tqdm

HEADLESS = "LOCHEADS_HEADLESS"
"""Environment variable set by the runner, which shows its own bar: notebooks then show none."""


def progress(total: int, what: str, done: int = 0) -> tqdm:
    """Returns a progress bar over `total` samples, of which some are done, that disappears when it is closed.

    The remaining time counts only what is done from now on. Where nothing is left to do there is no bar. In a
    notebook the bar goes to stdout, as what is written on stderr looks like an error there.
    """
    in_notebook = type(sys.stdout).__module__ == "ipykernel.iostream"
    return tqdm(
        total=total,
        desc=what,
        unit="sample",
        initial=done,
        leave=False,
        file=sys.stdout if in_notebook else sys.stderr,
        disable=HEADLESS in os.environ or done >= total,
    )
