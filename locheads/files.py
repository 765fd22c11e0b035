"""Writes files atomically: a reader sees the old file or the complete new one, never a part."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from locheads.errors import LocheadsError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, which replaces `path` when the block succeeds.

    If the block raises, the temporary file is removed and `path` is unchanged. Missing folders are created.
    The suffix is that of `path`, as some writers choose the format by it.

    Args:
        path: The file to write or to replace.

    Raises:
        LocheadsError: The disk is full, or the folder is not writable.
    """
    partial = path.with_name(f".{path.stem}.partial.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        raise (explained(error, path) or error) from error
    finally:
        _remove(partial)


def explained(error: OSError, path: Path | str) -> LocheadsError | None:
    """Turns a failed write to `path` into a message for the user; None for failures of another kind."""
    if error.errno in _FULL:
        return LocheadsError(f"{path}: the disk is full; free some space and run again (nothing was changed)")
    if error.errno in _FORBIDDEN:
        return LocheadsError(f"{path}: cannot write here ({error.strerror}); choose a writable folder")
    return None


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder is missing or not writable: nothing was written there
        path.unlink(missing_ok=True)
