"""A progress bar that leaves no trace in an executed notebook, and that its runner can show."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

from tqdm import tqdm

HEADLESS = "LOCHEADS_HEADLESS"
"""Environment variable set by the runner: the file into which notebooks draw their bars; see `run.relay`."""


class _Relayed(io.TextIOBase):
    """Keeps what a bar draws last in a file, for the runner to show."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def write(self, text: str, /) -> int:
        return self.path.write_text(text, encoding="utf-8")


def progress(total: int, what: str, done: int = 0) -> tqdm:
    """Returns a progress bar over `total` samples, of which some are done, that disappears when it is closed.

    The remaining time counts only what is done from now on. Where nothing is left to do there is no bar. In a
    notebook the bar goes to stdout, as what is written on stderr looks like an error there; in one that the
    runner executes, to the runner.
    """
    in_notebook = type(sys.stdout).__module__ == "ipykernel.iostream"
    shown_on = sys.stdout if in_notebook else sys.stderr
    return tqdm(
        total=total,
        desc=what,
        unit="sample",
        initial=done,
        leave=False,
        file=_Relayed(os.environ[HEADLESS]) if HEADLESS in os.environ else shown_on,
        disable=done >= total,
    )
