"""Encodes and decodes masks: COCO polygons and run-length encoding (RLE), checked before they are used.

pycocotools trusts its input: polygons with NaN or huge coordinates take all memory or end the process, and
runs that do not fill the picture leave uninitialised memory in the mask.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as coco

from locheads.data.values import Box, number, shown, size, whole

Segmentation = Sequence[Sequence[int | float]] | Mapping[str, Any]
"""COCO style: polygons `[[x0, y0, x1, y1, …], …]`, or RLE `{"size": [h, w], "counts": …}`."""

MAX_OUTLINE = 2_000_000
"""The longest outline of all polygons of a mask, in pixels; pycocotools needs some 100 bytes per pixel."""


def tight_box(mask: Bool[np.ndarray, "height width"]) -> Box | None:
    """Returns the smallest half-open xyxy box around a mask; None if the mask is empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def encode_mask(mask: Bool[np.ndarray, "height width"]) -> dict[str, Any]:
    """Encodes a boolean mask as compressed COCO RLE with its counts as text, ready for JSON."""
    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_mask(segmentation: Segmentation, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Decodes COCO polygons (their union) or RLE, compressed or not, into a boolean mask.

    Args:
        segmentation: Polygons in pixels, counted from the corner of the first pixel, or RLE. Polygons of
            fewer than three points have no area and are left out.
        size: `(width, height)` of the image; parts outside are clipped.

    Raises:
        ValueError: The segmentation is malformed, a coordinate is not finite or far too large, no polygon is
            left, or RLE is of another size or does not fill the image.
    """
    return np.asarray(coco.decode(checked_rle(segmentation, size)), bool)


def mask_area(segmentation: Segmentation, size: tuple[int, int]) -> int:
    """Counts the pixels of a mask; arguments and errors as `decode_mask`."""
    return int(coco.area(checked_rle(segmentation, size)))


def areas(segmentation: Segmentation, box: Box, size: tuple[int, int]) -> tuple[int, int]:
    """Counts the pixels of a mask, and those of them that an xyxy box touches; errors as `decode_mask`."""
    rle, (width, height) = checked_rle(segmentation, size), size
    x0, x1 = np.clip([np.floor(box[0]), np.ceil(box[2])], 0, width)
    y0, y1 = np.clip([np.floor(box[1]), np.ceil(box[3])], 0, height)
    frame = coco.frPyObjects(np.array([[x0, y0, x1 - x0, y1 - y0]]), height, width)
    return int(coco.area(rle)), int(coco.area(coco.merge([rle, *frame], True)))


def checked_rle(segmentation: Any, image_size: tuple[int, int]) -> Any:
    """Converts a segmentation to compressed RLE that pycocotools can trust; errors as `decode_mask`."""
    width, height = size(image_size)
    try:
        if isinstance(segmentation, Mapping):
            return _checked_runs(segmentation, width, height)
        return coco.merge(coco.frPyObjects(_checked_polygons(segmentation), height, width))
    except KeyError as error:
        raise ValueError(f"the mask is malformed: it has no {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"the mask is malformed: {error}") from error


def _checked_polygons(polygons: Any) -> list[list[float]]:
    if not isinstance(polygons, (list, tuple)):
        raise ValueError(f"it is {shown(polygons)} and not a list of polygons")
    good, outline = list[list[float]](), 0.0
    for polygon in polygons:
        if not isinstance(polygon, (list, tuple)):
            raise ValueError(f"a polygon is {shown(polygon)} and not a list of numbers")
        values = [number(value, "a coordinate") for value in polygon]
        if len(values) % 2:
            raise ValueError(f"a polygon has {len(values)} numbers, not an x and y for each point")
        if len(values) < 6:
            continue
        points = np.array(values).reshape(-1, 2)
        outline += np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum()
        good.append(values)
    if outline > MAX_OUTLINE:
        raise ValueError(f"the outline of its polygons is longer than {MAX_OUTLINE:,} pixels")
    if not good:
        raise ValueError("it has no polygon of three points or more")
    return good


def _checked_runs(rle: Mapping[str, Any], width: int, height: int) -> Any:
    sides, counts = rle["size"], rle["counts"]
    if not isinstance(sides, (list, tuple)) or list(sides) != [height, width]:
        raise ValueError(f"its size {shown(sides)} is not [{height}, {width}]")
    plain = isinstance(counts, list)
    runs = [whole(run, "a count") for run in counts] if plain else runs_of(counts)
    if min(runs, default=0) < 0 or sum(runs) != width * height:
        raise ValueError(
            f"its counts add up to {shown(sum(runs))}, not to {height} × {width} = {height * width}"
        )
    checked = {"size": [height, width], "counts": runs if plain else counts}
    return coco.frPyObjects(checked, height, width) if plain else checked


def runs_of(counts: str | bytes) -> list[int]:
    """Decodes COCO's compressed counts.

    Five bits per character, the lowest first; from the fourth run on, the difference to the last but one.

    Raises:
        ValueError: The text is not such counts.
    """
    if not isinstance(counts, (str, bytes)):
        raise ValueError(f"its counts are {shown(counts)}, neither a list nor a text")
    content = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    runs, value, shift = list[int](), 0, 0
    for byte in content:
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 30:
            raise ValueError("its counts are not COCO's compressed text")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise ValueError("its counts are cut off")
    return runs
