"""Crops oblong images from square ones, so that ways of making images square can be compared.

Crops are of whole pixels, and box and mask are cropped along, so nothing is resampled or estimated.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from locheads.data.samples import Sample, encode_mask

Region = tuple[int, int, int, int]


def oblong(sample: Sample, share: float = 0.6, wide: bool = True) -> Sample:
    """Crops a square image to a band that keeps the whole object at its relative position.

    Images that are not square are returned unchanged.

    Args:
        sample: A sample with a box.
        share: Share of the cropped edge that is kept, in (0, 1]; more if the object is larger.
        wide: Crop the height (giving a wide image), or else the width (giving a tall one).

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
    """Returns the interval [start, stop) of pixels that keeps `share` of an edge and all of [low, high).

    The centre of [low, high) keeps its position relative to the edge, as far as possible: what was on the
    left stays on the left. All pixels that [low, high) touches are kept, however small the share.
    """
    first, last = max(0, int(np.floor(low))), min(edge, int(np.ceil(high)))
    length = max(round(share * edge), last - first)
    start = round((first + last) / 2 * (1 - length / edge))
    start = min(max(start, last - length, 0), first, edge - length)
    return start, start + length


def cut(sample: Sample, region: Region) -> Sample:
    """Crops a sample to a half-open region (x0, y0, x1, y1) of whole pixels.

    Box and masks are cropped here, the image when it is accessed.
    """
    x0, y0, x1, y1 = region
    names = f"@{x0},{y0},{x1},{y1}"
    box = sample.box
    if box is not None:
        shifted = np.clip(np.array(box) - [x0, y0, x0, y0], 0, [x1 - x0, y1 - y0] * 2)
        box = (float(shifted[0]), float(shifted[1]), float(shifted[2]), float(shifted[3]))
    stored: Callable[[], bytes] = partial(_png, sample, region)
    return replace(
        sample,
        sample_id=sample.sample_id + names,
        image_id=sample.image_id + names,
        size=(x1 - x0, y1 - y0),
        box=box,
        segmentation=_part(sample.mask, region),
        ignored=_part(sample.ignored_mask, region),
        stored=stored,
    )


def _part(mask: np.ndarray | None, region: Region) -> dict[str, Any] | None:
    x0, y0, x1, y1 = region
    return None if mask is None else encode_mask(mask[y0:y1, x0:x1])


def _png(sample: Sample, region: Region) -> bytes:
    stream = io.BytesIO()
    sample.image.crop(region).save(stream, "PNG")
    return stream.getvalue()
