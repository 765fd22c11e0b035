"""Compares boxes: IoU of pairs, and the agreement of several boxes of one expression."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from jaxtyping import Float, Real


def box_iou(a: Real[np.ndarray, "n 4"], b: Real[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Computes the IoU of box i of `a` with box i of `b`, xyxy and half-open; 0 where neither has an area.

    A box that holds NaN overlaps with nothing.

    Example:
        >>> a, b = np.array([[0, 0, 2, 1], [0, 0, 0, 0]]), np.array([[1, 0, 3, 1], [5, 5, 5, 5]])
        >>> box_iou(a, b).round(3).tolist()
        [0.333, 0.0]
    """
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    common = np.maximum(sides, 0).prod(axis=1)
    union = _area(a) + _area(b) - common
    return np.divide(common, union, out=np.zeros(len(a)), where=union > 0)


def agreement(boxes: Real[np.ndarray, "k 4"]) -> float:
    """Computes the mean IoU over all pairs of boxes, in [0, 1]: 1 where all are equal.

    Args:
        boxes: xyxy; a row of NaN, for a head that marks nothing, agrees with none.

    Returns:
        The mean over the k (k - 1) / 2 pairs; NaN for fewer than two boxes.

    Example:
        The IoUs of the three pairs are 1/3, 0 and 1/3:

        >>> round(agreement(np.array([[0, 0, 2, 1], [1, 0, 3, 1], [2, 0, 4, 1]])), 3)
        0.222
    """
    pairs = np.array(list(combinations(range(len(boxes)), 2)), int).reshape(-1, 2)
    if not len(pairs):
        return float("nan")
    return float(box_iou(boxes[pairs[:, 0]], boxes[pairs[:, 1]]).mean())


def _area(boxes: Real[np.ndarray, "n 4"]) -> Real[np.ndarray, " n"]:
    """Returns the boxes' areas; 0 for a box that ends before it starts."""
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
