"""Lets one process at a time write a folder: a lock of the operating system, which ends with its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import platform
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from locheads.errors import LocheadsError, LocheadsWarning
from locheads.files import explained

_UNKNOWN = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems without locks answer."""
ATTEMPTS, PAUSE = 10, 0.03
"""Attempts before a lock counts as held by somebody else, and seconds between two."""


@contextmanager
def hold(folder: Path | str, what: str, wait: bool = False) -> Iterator[None]:
    """Holds the lock of a folder while the block runs; a killed holder's lock is free at once.

    The lock is a file beside the folder, `.<name>.lock`, so the folder itself may be missing, or be renamed.
    The file names its holder and is removed at the end. One that a killed process left blocks nobody. Threads
    of one process exclude each other, too. Where the file system has no locks a warning says so.

    Args:
        folder: What is to be written by one process only.
        what: What the holder does, in the third person: "writes this profile".
        wait: Whether to wait for another holder, which is said on stdout, instead of refusing.

    Raises:
        LocheadsError: Another process holds the lock (the message gives its process id); the lock cannot be
            written.
    """
    folder = Path(folder)
    path = folder.with_name(f".{folder.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = _acquire(path, folder, wait)
    except OSError as error:
        raise (explained(error, folder) or error) from error
    try:
        os.ftruncate(file, 0)
        os.write(file, f"process {os.getpid()} on {platform.node()} {what}".encode())
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is given up: who waits for this file opens a new one
        os.close(file)


def _acquire(path: Path, folder: Path, wait: bool) -> int:
    """Returns the locked file's descriptor."""
    for attempt in count():
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if _locked(file, path):
            return file
        holder = os.pread(file, 1000, 0).decode(errors="replace")
        os.close(file)
        # The first attempts may meet a holder that has not yet written who it is.
        if attempt == ATTEMPTS:
            problem = f"{folder}: {holder or 'another process is at work here'}"
            if not wait:
                raise LocheadsError(f"{problem}; wait until it ends, or end it")
            print(f"{problem}; waiting until it ends", flush=True)
        time.sleep(PAUSE)
    raise AssertionError("unreachable")


def _locked(file: int, path: Path) -> bool:
    """Returns whether the file could be locked, and is still the one that lies at the path."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
        warnings.warn(
            f"{path}: this file system has no locks; make sure that no other process writes here",
            LocheadsWarning,
            stacklevel=4,
        )
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
