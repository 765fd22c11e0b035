"""Reads masks that are picture files, by rule. Lossy formats are refused: their values near edges are noise.

Which pixels are the object:

1. Where some pixel is transparent: those that are not. Their colours do not matter, but black and another
   colour among them contradict each other and are refused.
2. Of a palette: those whose index is not 0, whatever the colours, as in Pascal VOC and DAVIS.
3. Else: those whose value or colour is not black.

Some programs write the object as black, or as index 0. With the object's box such a mask is known, as it
covers what lies outside; without, a palette is if it has all four corners of the picture. Both are refused.
What remains: without a box, an inverted mask whose object touches a corner, or that is no palette, is read as
it is written.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from locheads.data.pictures import open_pixels
from locheads.data.values import Box
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


def read_mask_file(path: Path | str, owner: str, box: Box | None = None) -> Bool[np.ndarray, "height width"]:
    """Reads the boolean mask of an object from a picture file, by the rules above.

    Args:
        path: The file.
        owner: The sample or purpose of the mask, for messages.
        box: The object's box, xyxy in pixels, if it is known.

    Raises:
        LocheadsError: As `open_lossless`, the file could mean two masks, or it covers most of what lies
            outside the box.
    """
    picture = open_lossless(path, owner)
    mask = _object_in(picture, path, owner)
    if box is not None and _covers_outside(mask, box):
        raise LocheadsError(
            f"{path}: the mask covers what lies outside the box {box} ({owner}), so it is inverted or "
            "another object's; save the object as white on black"
        )
    corners = mask[[0, 0, -1, -1], [0, -1, 0, -1]]
    if box is None and picture.mode == "P" and corners.all() and not mask.all():
        raise LocheadsError(
            f"{path}: the mask is a palette whose index is not 0 in all four corners ({owner}), so the "
            "object may be index 0; give the object's box, or save it as white on black"
        )
    return mask


def _covers_outside(mask: Bool[np.ndarray, "height width"], box: Box) -> bool:
    """Returns whether more than half of what lies outside a box, by a pixel or more, belongs to the mask."""
    x0, y0, x1, y1 = np.array([*np.floor(box[:2]) - 1, *np.ceil(box[2:]) + 1]).clip(0).astype(int)
    outside = np.ones_like(mask)
    outside[y0:y1, x0:x1] = False
    return bool(outside.any() and mask[outside].mean() > 0.5)


def _object_in(picture: Image.Image, path: Path | str, owner: str) -> Bool[np.ndarray, "height width"]:
    """Returns which pixels of a picture are the object."""
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
