"""Write, then rename: a file is either the old one or the whole new one, never a part."""

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
    """A path beside `path` to write to; it takes the place of `path` when the block ends well.

    When the block raises, what was written is removed and `path` stays as it was. Folders are
    made as needed. The suffix is that of `path`, so that writers that go by it are not misled.

    Args:
        path: The file to write or to replace.

    Raises:
        LocheadsError: The disk is full, or the place is not writable.
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
    """The user's view of a failed write to `path`; None when the failure is of another kind."""
    if error.errno in _FULL:
        return LocheadsError(f"{path}: the disk is full; free some space and run again (nothing was changed)")
    if error.errno in _FORBIDDEN:
        return LocheadsError(f"{path}: cannot write here ({error.strerror}); choose a writable folder")
    return None


def _remove(path: Path) -> None:
    with suppress(OSError):  # the folder itself is missing or not ours: then nothing was written there
        path.unlink(missing_ok=True)
