"""Opens every picture of the project, by one set of rules.

- **Formats**: JPEG, PNG, WebP, GIF, BMP, TIFF and PPM in a regular file; of several frames the first one.
- **Size**: at most `MAX_PIXELS` pixels, `MAX_SIDE` a side; larger ones are refused before they are decoded.
- **Orientation**: as every viewer shows it, turned or mirrored as its EXIF data say. Annotations, sizes and
  boxes count in the turned picture, as in OpenCV and LISA.
- **Colours**: RGB of 8 bits. Palettes are looked up; 16 bits of grey are scaled by 255 / 65535;
  transparency is composed onto white. Greys of 32 bits and floating point have no defined white and are
  refused. Colour profiles are ignored.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from locheads.data.values import MAX_PIXELS, MAX_SIDE, size
from locheads.errors import LocheadsError
from locheads.files import open_regular, read_regular

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_PLAIN = ("RGB", "L", "1", "P", "CMYK", "YCbCr")
_ORIENTATION = 0x112
_SIDEWAYS = (5, 6, 7, 8)


def open_picture(path: Path | str, owner: str, content: bytes | None = None) -> Image.Image:
    """Reads a picture in RGB, turned as it is shown, fully decoded.

    Args:
        path: The file.
        owner: The sample or purpose of the picture, for messages.
        content: The encoded picture, if `path` is only its name.

    Raises:
        LocheadsError: The file is missing, does not decode, is too large, or its colours have no defined
            meaning in RGB.
    """
    picture = open_pixels(path, owner, content)
    try:
        return to_rgb(picture)
    except LocheadsError as error:
        raise LocheadsError(f"{path}: {error} ({owner}); save it with 8 bits per colour") from error


def open_pixels(
    path: Path | str, owner: str, content: bytes | None = None, formats: tuple[str, ...] = FORMATS
) -> Image.Image:
    """Reads a picture turned as it is shown, its values as stored; arguments and errors as `open_picture`.

    `formats` are the only ones that are read.
    """
    with _opened(path, owner, content, formats) as picture:
        form = picture.format
        picture.load()
        turned = ImageOps.exif_transpose(picture)
        turned.format = form
        return turned


def picture_size(path: Path | str, owner: str, content: bytes | None = None) -> tuple[int, int]:
    """Reads `(width, height)` of the turned picture from its header; arguments, errors as `open_picture`."""
    with _opened(path, owner, content, FORMATS) as picture:
        width, height = picture.size
        sideways = picture.getexif().get(_ORIENTATION) in _SIDEWAYS
        if picture.format == "TIFF":  # Pillow turns it by itself, and its size from the start
            sideways = False
        return (height, width) if sideways else (width, height)


def picture_bytes(path: Path | str, owner: str) -> bytes:
    """Reads the bytes of a picture's file.

    Raises:
        LocheadsError: The file is missing, or no regular file.
    """
    try:
        return read_regular(path)
    except OSError as error:
        raise _no_picture(path, owner) from error


def to_rgb(picture: Image.Image) -> Image.Image:
    """Converts a decoded picture to RGB of 8 bits by the rules above; its size and orientation stay.

    Raises:
        LocheadsError: Its values have no defined meaning in RGB.
    """
    if picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format in ("PNG", "PPM")):
        if picture.has_transparency_data:
            raise LocheadsError("a 16-bit grey picture with a transparent value has no rule here")
        grey = np.clip(np.asarray(picture, np.int64), 0, 65535)
        return Image.fromarray(np.round(grey / 257).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        opaque = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, opaque).convert("RGB")
    if picture.mode not in _PLAIN:
        raise LocheadsError(f"values of Pillow's mode {picture.mode!r} have no defined white")
    return picture.convert("RGB")


@contextmanager
def _opened(
    path: Path | str, owner: str, content: bytes | None, formats: tuple[str, ...]
) -> Iterator[Image.Image]:
    """Opens a picture whose size is within bounds; whatever Pillow raises becomes an error for the user."""
    try:
        with open_regular(path) if content is None else BytesIO(content) as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of sizes, which are checked here, and of damaged metadata
            with Image.open(file, formats=formats) as picture:
                _check_size(path, owner, picture.size)
                yield picture
    except LocheadsError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise _no_picture(path, owner) from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, owner, "") from error
    except Exception as error:  # a damaged file may raise almost any exception
        raise LocheadsError(f"{path}: the image does not decode ({owner}); fetch it again") from error


def _check_size(path: Path | str, owner: str, sides: tuple[int, int]) -> None:
    try:
        size(sides)
    except ValueError as error:
        raise _too_large(path, owner, f" of {sides[0]} × {sides[1]} pixels") from error


def _too_large(path: Path | str, owner: str, sides: str) -> LocheadsError:
    return LocheadsError(
        f"{path}: an image{sides} is too large ({owner}); scale it to at most {MAX_PIXELS:,} pixels and "
        f"{MAX_SIDE:,} per side"
    )


def _no_picture(path: Path | str, owner: str) -> LocheadsError:
    return LocheadsError(f"{path}: no such image ({owner}); check the folder of the data set")
