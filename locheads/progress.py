"""A progress bar that leaves no trace in an executed notebook."""

from __future__ import annotations

import os

from tqdm import tqdm

HEADLESS = "LOCHEADS_HEADLESS"
"""Set by the runner, which shows its own bar: inside the notebook there is none then."""


def progress(total: int, what: str) -> tqdm:
    """A bar over `total` samples; it goes away when it is closed."""
    return tqdm(total=total, desc=what, unit="sample", leave=False, disable=HEADLESS in os.environ)
