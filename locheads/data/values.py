"""Checks single values of annotation files: numbers, boxes, sizes, texts, names of files.

Every function returns the value in the form that `Sample` wants, or raises a `ValueError` whose message names
the value. The readers add the file and the sample. Nothing is guessed: text is not read as numbers, numbers
are not read as text, and nothing but true, false, 1 and 0 is a truth value.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

Box = tuple[float, float, float, float]
"""xyxy in pixels of the image, half-open."""

MAX_PIXELS = 64_000_000
"""The largest image, in pixels: 8000 × 8000, or 256 MB in memory."""
MAX_SIDE = 65_500
"""The longest side of an image in pixels, that of JPEG."""
MAX_COORDINATE = 1e6


def number(value: Any, what: str) -> float:
    """Returns a finite number of at most `MAX_COORDINATE` in size."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise ValueError(f"{what} is {shown(value)} and not a number")
    if not abs(found := _as_float(value)) <= MAX_COORDINATE:  # also where it is NaN
        raise ValueError(
            f"{what} is {shown(value)}, but must be finite and within {MAX_COORDINATE:,.0f} pixels"
        )
    return found


def whole(value: Any, what: str, least: int = 0) -> int:
    """Returns a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, Integral) or int(value) < least:
        raise ValueError(f"{what} is {shown(value)} and not a whole number from {least} on")
    return int(value)


def box(value: Any, what: str = "the box") -> Box:
    """Returns four finite numbers; which order makes sense depends on the format."""
    if not isinstance(value, (list, tuple)) or len(value) != 4:
        raise ValueError(f"{what} is {shown(value)} and not a list of four numbers")
    first, second, third, fourth = (number(one, f"a coordinate of {what}") for one in value)
    return first, second, third, fourth


def xywh_box(value: Any) -> Box:
    """Returns COCO's box (x, y, width, height) as xyxy."""
    x, y, width, height = box(value)
    return x, y, x + width, y + height


def size(value: Any) -> tuple[int, int]:
    """Returns width and height in pixels, both positive and not beyond `MAX_PIXELS` and `MAX_SIDE`."""
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(f"the size is {shown(value)} and not a list of width and height")
    width, height = (whole(side, "a side of the image", 1) for side in value)
    if width * height > MAX_PIXELS or max(width, height) > MAX_SIDE:
        raise ValueError(
            f"an image of {shown(width)} × {shown(height)} pixels is too large; scale it to at most "
            f"{MAX_PIXELS:,} pixels and {MAX_SIDE:,} per side"
        )
    return width, height


def text(value: Any, what: str) -> str:
    """Returns a text that UTF-8 can hold; it may be blank."""
    if not isinstance(value, str):
        raise ValueError(f"{what} is {shown(value)} and not a text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError(f"{what} holds half a surrogate pair: {shown(value)}") from error
    return value


def name(value: Any, what: str) -> str:
    """Returns a text of one line and at most 1,000 characters, as names of files and ids are."""
    line = text(value, what)
    if line.splitlines() != [line] or len(line) > 1000:
        raise ValueError(f"{what} is {shown(value)}, which is empty, long, or more than one line")
    return line


def identifier(value: Any, what: str) -> str:
    """Returns the id of a sample or image, a text or a whole number, as text."""
    if isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) < 10**30:
        return str(int(value))
    if not isinstance(value, str):
        raise ValueError(f"{what} is {shown(value)} and not a text or a whole number")
    return name(value, what)


def truth(value: Any, what: str) -> bool:
    """Returns a truth value; 1 and 0 count as such, texts do not."""
    if not isinstance(value, Integral) or value not in (0, 1):
        raise ValueError(f"{what} is {shown(value)} and not true or false")
    return bool(value)


def items(value: Any, what: str) -> list[Any]:
    """Returns a list, and refuses a text, whose letters would be taken for its members."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is {shown(value)} and not a list")
    return value


def fields(value: Any, what: str) -> dict[str, Any]:
    """Returns an object of JSON or a dictionary of a pickle."""
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {shown(value)} and not an object with fields")
    return value


def inside(folder: Path, value: Any) -> Path:
    """Returns the path of a file below `folder`; names that lead out of it are refused."""
    path = name(value, "the file name")
    parts = {*PurePosixPath(path).parts, *PureWindowsPath(path).parts}
    absolute = PurePosixPath(path).is_absolute() or PureWindowsPath(path).anchor
    if not parts or ".." in parts or absolute or "\0" in path:
        raise ValueError(f"the file name {shown(value)} leads out of {folder.name or folder}")
    return folder / path


def segmentation(value: Any) -> Any:
    """Returns what may be polygons or RLE; `masks.checked_rle` looks inside when the size is known."""
    if not isinstance(value, (list, dict)):
        raise ValueError(f"the mask is {shown(value)}, neither polygons nor RLE")
    return value


def by_id(entries: Any, key: str, what: str) -> dict[Any, dict[str, Any]]:
    """Returns COCO's entries by one of their fields; two different entries of one id are refused."""
    found: dict[Any, dict[str, Any]] = {}
    for entry in items(entries, what):
        one = fields(entry, f"an entry of {what}")[key]
        if found.setdefault(one, entry) != entry:
            raise ValueError(f"{what} holds two entries whose {key} is {shown(one)}")
    return found


def listed(found: Iterable[Any]) -> str:
    """Returns the different values in order, as a text for a message; `none` if there are none."""
    texts = sorted({one if isinstance(one, str) and one.isprintable() else shown(one) for one in found})
    return ", ".join(one[:60] for one in texts[:20]) or "none"


def shown(value: Any) -> str:
    """Returns a value in one short line, however long or deeply nested it is."""
    try:
        return " ".join(reprlib.repr(value).split())
    except ValueError:  # a whole number of too many digits
        return f"a very large {type(value).__name__}"


def _as_float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def reason(error: Exception) -> str:
    """Returns in one line what is wrong with a value or an entry."""
    if isinstance(error, KeyError):
        return f"{shown(error.args[0]) if error.args else 'an entry'} is missing"
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 300 else words[:299] + "…"


MALFORMED = (AttributeError, KeyError, TypeError, ValueError, IndexError, OverflowError, RecursionError)
"""What an entry of another form than expected raises, here or in the code that reads it."""
