"""Reads masks that are picture files, by rule. Lossy formats are refused: their values near edges are noise.

Which pixels are the object:

1. Where some pixel is transparent: those that are not. Their colours do not matter, but black and another
   colour among them contradict each other and are refused.
2. Of a palette: those whose index is not 0, whatever the colours, as in Pascal VOC and DAVIS.
3. Else: those whose value or colour is not black.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from locheads.data.pictures import open_pixels
from locheads.errors import LocheadsError

LOSSLESS = ("PNG", "GIF", "BMP", "TIFF", "PPM")
_VALUES = ("1", "L", "P", "RGB", "I", "I;16", "I;16B", "I;16L", "F")


def open_lossless(path: Path | str, owner: str) -> Image.Image:
    """Reads a mask's file with its values as stored.

    Raises:
        LocheadsError: The file is missing, does not decode, or is of a format that changes values.
    """
    try:
        picture = open_pixels(path, owner, formats=LOSSLESS)
    except LocheadsError as error:
        raise LocheadsError(
            f"{path}: the mask cannot be read ({owner}); check that it is there, as {', '.join(LOSSLESS)}"
        ) from error
    if picture.format == "TIFF" and picture.info.get("compression") in ("jpeg", "tiff_jpeg", "webp"):
        raise LocheadsError(f"{path}: the mask is compressed with loss ({owner}); save it as PNG")
    return picture


def read_mask_file(path: Path | str, owner: str) -> Bool[np.ndarray, "height width"]:
    """Reads the boolean mask of an object from a picture file, by the rules above.

    Args:
        path: The file.
        owner: The sample or purpose of the mask, for messages.

    Raises:
        LocheadsError: As `open_lossless`, or the file could mean two masks.
    """
    picture = open_lossless(path, owner)
    if picture.has_transparency_data:
        colours = np.asarray(picture.convert("RGBA"))
        opaque, bright = colours[..., 3] > 0, (colours[..., :3] > 0).any(-1)
        if not opaque.all():
            if (opaque & bright).any() and (opaque & ~bright).any():
                raise LocheadsError(
                    f"{path}: the mask is partly transparent, black and coloured ({owner}), so it could mean "
                    "two masks; save it as black and white"
                )
            return np.asarray(opaque)
        if picture.mode not in ("P", "PA"):
            return np.asarray(bright)
        picture = picture.convert("P") if picture.mode == "PA" else picture
    if picture.mode not in _VALUES:
        raise LocheadsError(f"{path}: a mask of Pillow's mode {picture.mode!r} ({owner}); save it as PNG")
    values = np.asarray(picture)
    return np.asarray(values.any(-1) if values.ndim == 3 else values, bool)
