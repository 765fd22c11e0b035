"""Temporary folders and copies that a run leaves when it is killed, and their removal at the next start."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_FOLDER = re.compile(r"locheads-(\d+)-\w+")
_COPY = re.compile(r"\.\d\d_.*\.partial\.(\d+)\.ipynb")


@contextmanager
def own_folder() -> Iterator[Path]:
    """Yields a temporary folder that names this process, and removes it."""
    with tempfile.TemporaryDirectory(prefix=f"locheads-{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def sweep(world: Path) -> None:
    """Removes the temporary folders of processes that have ended, and unfinished copies of notebooks.

    Args:
        world: Folder of a world's executed notebooks.
    """
    for path in Path(tempfile.gettempdir()).glob("locheads-*"):
        if _ended(path, _FOLDER):
            shutil.rmtree(path, ignore_errors=True)
    for path in world.glob(".*.partial.*"):
        if _ended(path, _COPY):
            path.unlink(missing_ok=True)


def _ended(path: Path, form: re.Pattern[str]) -> bool:
    """Returns whether the name has the form and the process that it names has ended."""
    if not (found := form.fullmatch(path.name)):
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False
