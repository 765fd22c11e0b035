"""Shows in the terminal how far a notebook's long work is, which its kernel writes into a file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from tqdm import tqdm

IN_TERMINAL, IN_LOG = 1.0, 60.0
"""Seconds between two looks: where a line is redrawn, and where each line stays."""


@contextmanager
def relayed(file: Path) -> Iterator[None]:
    """Shows the newest line of the bars that `progress` draws into a file, for as long as the block runs.

    In a terminal the line stands below the runner's own bar and is redrawn; in a log each line stays, at
    most one a minute.

    Args:
        file: Where a kernel's bars are drawn; it need not be there.
    """
    ended, live = Event(), sys.stderr.isatty()
    with tqdm(bar_format="{desc}", position=1, leave=False, disable=not live) as below:
        watcher = Thread(target=_watch, args=(file, ended, below, live), daemon=True)
        watcher.start()
        try:
            yield
        finally:
            ended.set()
            watcher.join()


def _watch(file: Path, ended: Event, below: tqdm, live: bool) -> None:
    shown = ""
    while not ended.wait(IN_TERMINAL if live else IN_LOG):
        line = newest(file)
        if live:
            below.set_description_str(line)
        elif line and line != shown:
            tqdm.write(line, file=sys.stderr)
        shown = line


def newest(file: Path) -> str:
    """Returns what a bar in a file shows at last; empty where there is none, or where it has been closed."""
    try:
        return file.read_bytes().decode(errors="replace").rpartition("\r")[2].strip()
    except OSError:
        return ""
