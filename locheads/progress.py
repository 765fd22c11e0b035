"""A progress bar that leaves no trace in an executed notebook."""

from __future__ import annotations

import os

from tqdm import tqdm

HEADLESS = "LOCHEADS_HEADLESS"
"""Environment variable set by the runner, which shows its own bar: notebooks then show none."""


def progress(total: int, what: str) -> tqdm:
    """Returns a progress bar over `total` samples that disappears when it is closed."""
    return tqdm(total=total, desc=what, unit="sample", leave=False, disable=HEADLESS in os.environ)
