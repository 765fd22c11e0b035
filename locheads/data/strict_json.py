"""Reads JSON and JSON lines strictly: what other programs would read differently is refused, with its place.

UTF-8, with or without a byte order mark. Refused: NaN and Infinity, which JSON does not have; a key twice
in one object, of which most programs silently keep the last; nesting deeper than Python can follow. Lines
end at a line feed and nowhere else: U+0085, U+2028 and U+2029 may stand inside a JSON text.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from locheads.data.values import fields, reason, shown
from locheads.errors import LocheadsError
from locheads.files import read_regular

_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(?P<constant>-?Infinity|NaN)', re.DOTALL)


def parse_json(text: str) -> Any:
    """Parses one JSON value.

    Raises:
        ValueError: The text is not strict JSON; the message is one line.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error


def load_json(path: Path | str, what: str, code_page: str | None = None) -> Any:
    """Reads a JSON file.

    Args:
        path: The file.
        what: What it should hold, for messages.
        code_page: How to decode a file that is not UTF-8; None: refuse it.

    Raises:
        LocheadsError: The file is not strict JSON, or no regular file.
        OSError: The file is missing or cannot be read.
    """
    content = read_regular(path)
    try:
        text = _decoded(content, code_page)
    except ValueError as error:
        raise LocheadsError(f"{path}: not {what} in UTF-8 ({reason(error)}); fetch the file again") from error
    try:
        return parse_json(text)
    except ValueError as error:
        line = "" if isinstance(error, json.JSONDecodeError) else _line_of_constant(text)
        raise LocheadsError(f"{path}{line}: not {what} ({reason(error)}); fetch the file again") from error


def json_lines(path: Path | str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the objects of a file with one per line, numbered from 1; blank lines are passed over.

    Raises:
        LocheadsError: The file cannot be read, or a line is not a JSON object.
    """
    try:
        text = _decoded(read_regular(path), None)
    except OSError as error:
        raise LocheadsError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise LocheadsError(f"{path}: not a list of samples in UTF-8 ({reason(error)})") from error
    for count, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield count, fields(parse_json(line), "the line")
            except ValueError as error:
                raise LocheadsError(f"{path}, line {count}: not a sample ({reason(error)})") from error


def _decoded(content: bytes, code_page: str | None) -> str:
    content = content.removeprefix(codecs.BOM_UTF8)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        if code_page is None:
            raise
        return content.decode(code_page)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {shown(next(key for key in found if keys.count(key) > 1))} occurs twice")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number of JSON")


def _line_of_constant(text: str) -> str:
    """Returns the line of the first NaN or Infinity outside a string, for the message; else nothing."""
    for found in _CONSTANT.finditer(text):
        if found["constant"]:
            return f", line {text.count(chr(10), 0, found.start()) + 1}"
    return ""
