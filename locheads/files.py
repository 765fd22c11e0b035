"""Opens regular files only; writes files atomically: a reader sees the old file or the complete new one."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from locheads.errors import LocheadsError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def open_regular(path: Path | str) -> BinaryIO:
    """Opens a file to read its bytes; a named pipe or a device, which could block for ever, is refused.

    Raises:
        LocheadsError: The path is a folder, pipe, socket or device, or no file can have such a name.
        OSError: The file is missing or cannot be read.
    """
    try:
        mode = os.stat(path).st_mode
    except ValueError as error:  # a zero byte or half a surrogate pair
        raise LocheadsError(f"{str(path)!a}: no file can have this name ({error})") from error
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a named pipe, socket or device"
        raise LocheadsError(f"{path}: this is {kind}; give a regular file")
    return open(path, "rb")


def read_regular(path: Path | str) -> bytes:
    """Reads all bytes of a regular file; errors are those of `open_regular`."""
    with open_regular(path) as file:
        return file.read()


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which replaces `path` when the block succeeds.

    If the block raises, the temporary file is removed and `path` is unchanged. Missing folders are created.
    The suffix is that of `path`, as some writers choose the format by it.

    Args:
        path: The file to write or to replace.

    Raises:
        LocheadsError: The disk is full, or the folder is not writable.
    """
    path = Path(path)
    partial = path.with_name(f".{path.stem}.partial.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise (explained(error, path, "nothing was changed") or error) from error
    finally:
        _remove(partial)


def explained(error: OSError, path: Path | str, state: str = "") -> LocheadsError | None:
    """Turns a failed write to `path` into a message for the user; None for failures of another kind.

    `state` says what became of what was there or written before: "nothing was changed".
    """
    state = state and f" ({state})"
    if error.errno in _FULL:
        return LocheadsError(f"{path}: the disk is full; free some space and run again{state}")
    if error.errno in _FORBIDDEN:
        return LocheadsError(f"{path}: cannot write here ({error.strerror}); choose a writable folder")
    return None


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder is missing or not writable: nothing was written there
        path.unlink(missing_ok=True)
