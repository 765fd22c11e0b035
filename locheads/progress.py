"""A progress bar that leaves no trace in an executed notebook."""

from __future__ import annotations

import os
import sys

from tqdm import tqdm

HEADLESS = "LOCHEADS_HEADLESS"
"""Set by the runner: bars then go to the terminal that started it, not into the notebook."""


def progress(total: int, what: str) -> tqdm:
    """A bar over `total` samples; it goes away when it is closed."""
    file = sys.__stderr__ if HEADLESS in os.environ else None
    return tqdm(total=total, desc=what, unit="sample", leave=False, file=file)
