"""Temporary folders and copies that a run leaves when it is killed, and their removal at the next start."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from locheads.errors import LocheadsError
from locheads.files import explained

_FOLDER = re.compile(r"locheads-(\d+)-\w+")
_COPY = re.compile(r"\.\d\d_.*\.partial\.(\d+)\.ipynb")


SHORT = Path("/tmp")
"""Used where the temporary folder's path is too long for a socket."""
LONGEST = 107
"""Bytes of a socket's path, at most, on Linux; 103 elsewhere."""
ROOM = len(f"/locheads-{2**22}-12345678/kernel-5") + 4


@contextmanager
def own_folder() -> Iterator[Path]:
    """Yields a temporary folder that names this process, short enough to hold sockets, and removes it.

    Raises:
        LocheadsError: There is no such folder.
    """
    name = f"locheads-{os.getpid()}-"
    try:
        homes = _homes()
    except FileNotFoundError as error:  # none of the system's can be written
        raise LocheadsError(f"{error.strerror}; set TMPDIR to a folder that can be written") from error
    if not homes:
        raise LocheadsError(
            f"the path of the temporary folder {tempfile.gettempdir()} is too long for a kernel's sockets; "
            f"set TMPDIR to one of at most {LONGEST - ROOM} bytes"
        )
    try:
        made = tempfile.TemporaryDirectory(prefix=name, dir=homes[0], ignore_cleanup_errors=True)
    except OSError as error:
        raise (explained(error, homes[0]) or error) from error
    with made as folder:
        yield Path(folder)


def _homes() -> list[Path]:
    """Returns where temporary folders may lie: that of the system, if its path is short, else `SHORT`."""
    folders = dict.fromkeys((Path(tempfile.gettempdir()), SHORT))
    return [one for one in folders if len(os.fsencode(one)) <= LONGEST - ROOM and os.access(one, os.W_OK)]


def sweep(world: Path) -> None:
    """Removes the temporary folders of processes that have ended, and unfinished copies of notebooks.

    Args:
        world: Folder of a world's executed notebooks.
    """
    for home in _homes():
        for path in home.glob("locheads-*"):
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
