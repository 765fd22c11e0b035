"""Traces the outlines of masks as COCO polygons and as labelme polygons.

COCO counts from the corner of the first pixel, and its polygons run between pixels.
ReasonSeg's polygons, as LISA draws them, run through the centres of the outermost pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from contourpy import FillType, contour_generator
from jaxtyping import Bool

from locheads.data.scenes.scenes import mask_box

Ring = np.ndarray
"""Closed polygon, `points × 2` of x and y; the last point is joined to the first."""


def coco_polygons(mask: Bool[np.ndarray, "height width"], tolerance: float = 0.5) -> list[list[float]]:
    """Traces the outer outline of each part of a mask, `[x0, y0, x1, y1, …]`; holes are lost.

    Args:
        mask: What to outline.
        tolerance: Points are left out that lie so near (pixels) to the line without them.
    """
    rings = [_thinned(part[0] + 0.5, tolerance) for part in _parts(mask, level=0.5)]
    return [[float(value) for value in ring.round(2).ravel()] for ring in rings if len(ring) >= 3]


def labelme_polygons(mask: Bool[np.ndarray, "height width"], tolerance: float = 0.5) -> list[list[list[int]]]:
    """Traces the outline of each part of a mask, `[[x, y], …]`; holes are connected by a bridge.

    Args:
        mask: What to outline.
        tolerance: Points are left out that lie so near (pixels) to the line without them.
    """
    polygons = []
    for outer, *holes in _parts(mask, level=0.999):
        ring = _thinned(outer, tolerance)
        for hole in holes:
            ring = _bridged(ring, _thinned(hole, tolerance))
        polygons.append([[int(x), int(y)] for x, y in ring.round()])
    return polygons


def _parts(mask: np.ndarray, level: float) -> list[list[Ring]]:
    """Returns the outer ring and the holes of each part, in coordinates of pixel centres.

    The rings run at `level` of the way from the pixel outside to the pixel inside.
    """
    left, top, right, bottom = mask_box(mask)
    padded = np.pad(mask[top:bottom, left:right], 1).astype(float)
    generator: Any = contour_generator(z=padded, fill_type=FillType.OuterOffset)
    points, offsets = generator.filled(level, 2.0)
    return [
        [ring[start : end - 1] + (left - 1, top - 1) for start, end in zip(cut, cut[1:], strict=False)]
        for ring, cut in zip(points, offsets, strict=True)
    ]


def _thinned(ring: Ring, tolerance: float) -> Ring:
    """Simplifies a line (Douglas-Peucker): between two kept points, keeps the farthest from the chord."""
    points = ring @ (1, 1j)
    points = np.append(points, points[0])
    half = int(np.argmax(abs(points - points[0])))
    kept, spans = {0, half}, [(0, half), (half, len(ring))]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        chord = points[end] - points[start]
        distance = abs(((points[start + 1 : end] - points[start]) * chord.conjugate()).imag)
        middle = int(distance.argmax())
        if distance[middle] > tolerance * abs(chord):
            kept.add(start + 1 + middle)
            spans += [(start, start + 1 + middle), (start + 1 + middle, end)]
    return ring[sorted(kept)]


def _bridged(outer: Ring, hole: Ring) -> Ring:
    """Joins both into one ring: along `outer` to the nearest point of `hole`, round it and back."""
    distance = np.linalg.norm(outer[:, None] - hole, axis=-1)
    i, j = np.unravel_index(int(np.argmin(distance)), distance.shape)
    return np.vstack([outer[: i + 1], hole[j:], hole[: j + 1], outer[i:]])
