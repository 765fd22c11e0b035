"""Loads pickles of plain data, such as the references of the `refer` layout, and nothing else."""

from __future__ import annotations

import codecs
import pickle
import pickletools
from io import BytesIO
from pathlib import Path
from typing import Any

from locheads.data.values import reason
from locheads.errors import LocheadsError
from locheads.files import read_regular


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles containers and scalars; refuses everything that needs an import."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in ("set", "frozenset"):
            return {"set": set, "frozenset": frozenset}[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def load_plain_pickle(path: Path | str) -> Any:
    """Loads a pickle of plain containers and scalars.

    Text of Python 2 has no stated encoding: it is decoded as UTF-8 and, where it is none, as code page 1252.

    Raises:
        LocheadsError: The file is damaged, or contains anything but plain data.
        OSError: The file is missing or cannot be read.
    """
    content = read_regular(path)
    try:
        _check_memo(content)
        return _PlainUnpickler(BytesIO(content), encoding="utf-8", errors=_CODE_PAGE).load()
    except Exception as error:  # a damaged pickle may raise almost any exception
        raise LocheadsError(
            f"{path}: not a pickle of plain data ({reason(error)}); fetch the file again"
        ) from error


def _check_memo(content: bytes) -> None:
    """Refuses a memo index beyond the file's length: Python would allocate a table up to it, of up to 64 GB.

    Walks from one opcode to the next without decoding arguments.
    """
    place = 0
    while place < len(content) and content[place] != _STOP:
        code, start = content[place], place + 1
        length = _LENGTHS[code]
        if length == pickletools.UP_TO_NEWLINE:
            place = content.index(b"\n", start) + 1
            if code in _TWO_LINES:
                place = content.index(b"\n", place) + 1
        elif length >= 0:
            place = start + length
        else:  # the length of the argument stands before it
            width = _WIDTHS[length]
            place = start + width + int.from_bytes(content[start : start + width], "little")
        if code in _PUTS:
            argument = content[start:place]
            index = int(argument) if code == ord("p") else int.from_bytes(argument, "little")
            if index > len(content):
                raise pickle.UnpicklingError(f"a memo index of {index} in {len(content)} bytes")


def _as_code_page(error: UnicodeError) -> tuple[str, int]:
    """Decodes the bytes that are not UTF-8 as code page 1252, and those it does not define as latin-1."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    content = error.object[error.start : error.end]
    try:
        return content.decode("cp1252"), error.end
    except UnicodeDecodeError:
        return content.decode("latin-1"), error.end


_CODE_PAGE = "locheads.cp1252"
codecs.register_error(_CODE_PAGE, _as_code_page)

_LENGTHS = {ord(code.code): code.arg.n if code.arg else 0 for code in pickletools.opcodes}
"""Opcode → length of its argument in bytes, or one of pickletools' negative markers."""
_WIDTHS = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
_PUTS, _TWO_LINES, _STOP = b"pqr", b"ci", ord(".")
