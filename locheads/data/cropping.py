"""Crops pictures: oblong bands of square pictures, and the central square of any picture.

The cut is of whole pixels, and box and mask are cut with it, so nothing is resampled and nothing estimated.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from locheads.data.masks import encode_mask
from locheads.data.samples import Sample
from locheads.data.values import Box
from locheads.method.geometry import Window

Region = tuple[int, int, int, int]


def oblong(sample: Sample, share: float = 0.6, wide: bool = True) -> Sample:
    """Cuts a band with the whole object out of a square picture; other pictures stay as they are.

    The object keeps its place relative to the cut edge, as far as it stays whole (see `band`).

    Args:
        sample: With box.
        share: Of the cut edge, how much is kept, in (0, 1]; more where the object is larger.
        wide: Cut the height (a wide picture), or else the width (a tall one).

    Raises:
        ValueError: The share is not in (0, 1], or the sample has no box.
    """
    if not 0 < share <= 1 or sample.box is None:
        raise ValueError(f"a cut needs a share in (0, 1], not {share}, and a sample with a box")
    width, height = sample.size
    if width != height:
        return sample
    x0, y0, x1, y1 = sample.box
    low, high = (y0, y1) if wide else (x0, x1)
    start, stop = band(low, high, width, share)
    return cut(sample, (0, start, width, stop) if wide else (start, 0, stop, height))


def band(low: float, high: float, edge: int, share: float) -> tuple[int, int]:
    """Returns whole pixels [start, stop) of an edge: `share` of it, with [low, high) inside.

    The middle of [low, high) lies where it lay, relative to the edge, as far as the object allows: what was
    on the left stays on the left. All pixels that [low, high) touches are kept, however small the share.
    """
    first, last = max(0, int(np.floor(low))), min(edge, int(np.ceil(high)))
    length = max(round(share * edge), last - first)
    start = round((first + last) / 2 * (1 - length / edge))
    start = min(max(start, last - length, 0), first, edge - length)
    return start, start + length


def cut(sample: Sample, region: Region) -> Sample:
    """Cuts a sample to a region of whole pixels, (x0, y0, x1, y1), half-open.

    Image, box and masks are those of the part; the image is made when it is asked for. Box and mask are None
    where the part holds nothing of the object.
    """
    x0, y0, x1, y1 = region
    names = f"@{x0},{y0},{x1},{y1}"
    box, mask = _clipped(sample.box, region), sample.mask
    if mask is not None and not mask[y0:y1, x0:x1].any():
        box, mask = None, None
    stored: Callable[[], bytes] = partial(_png, sample, region)
    return replace(
        sample,
        sample_id=sample.sample_id + names,
        image_id=sample.image_id + names,
        size=(x1 - x0, y1 - y0),
        box=box,
        segmentation=_part(mask, region),
        ignored=_part(sample.ignored_mask, region),
        stored=stored,
    )


def central_square(sample: Sample) -> Region:
    """Returns what a centre crop leaves of the picture: the square of its shorter edge, in whole pixels."""
    window = Window.resize_and_crop(sample.size, (1, 1))
    side = min(sample.size)
    x0, y0 = int(window.x0), int(window.y0)
    return x0, y0, x0 + side, y0 + side


def _clipped(box: Box | None, region: Region) -> Box | None:
    if box is None:
        return None
    x0, y0, x1, y1 = region
    left, top, right, bottom = np.clip(np.array(box) - [x0, y0, x0, y0], 0, [x1 - x0, y1 - y0] * 2).tolist()
    return (left, top, right, bottom) if left < right and top < bottom else None


def _part(mask: np.ndarray | None, region: Region) -> dict[str, Any] | None:
    x0, y0, x1, y1 = region
    return None if mask is None else encode_mask(mask[y0:y1, x0:x1])


def _png(sample: Sample, region: Region) -> bytes:
    stream = io.BytesIO()
    sample.image.crop(region).save(stream, "PNG")
    return stream.getvalue()
