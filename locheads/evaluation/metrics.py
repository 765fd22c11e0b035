"""Scores boxes, masks and rankings: IoU, Acc@0.5, cIoU, gIoU, and Spearman's rho with an interval.

Scores are shares in [0, 1]; the paper prints percent. Intervals are bootstrap percentile intervals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Real
from scipy import stats

from locheads.method.boxes import box_iou

__all__ = [
    "Correlation",
    "Interval",
    "Overlap",
    "accuracy",
    "average_recall",
    "bootstrap_interval",
    "box_iou",
    "ciou",
    "mask_iou",
    "mask_overlap",
    "resample_means",
    "spearman",
]

_BLOCK = 2**22  # values resampled at a time: bounds the memory, not the result


@dataclass(frozen=True)
class Interval:
    """Holds a bootstrap interval; both ends are NaN when no resample had a value."""

    low: float
    high: float


@dataclass(frozen=True)
class Correlation:
    """Holds Spearman's rho of `n` pairs, its two-sided p-value and its bootstrap interval."""

    rho: float
    p_value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, eq=False)
class Overlap:
    """Holds the pixels that two masks share and those that either has, one value per pair."""

    intersection: Int[np.ndarray, "*batch"]
    union: Int[np.ndarray, "*batch"]

    @property
    def iou(self) -> Float[np.ndarray, "*batch"]:
        """Returns intersection over union; 1 where both masks are empty, as LISA's evaluation counts it."""
        return np.where(self.union > 0, self.intersection / np.maximum(self.union, 1), 1.0)


def mask_overlap(
    a: Bool[np.ndarray, "*batch height width"], b: Bool[np.ndarray, "*batch height width"]
) -> Overlap:
    """Counts the pixels in both masks and in either.

    Example:
        >>> found = mask_overlap(np.array([[True, True, False]]), np.array([[False, True, True]]))
        >>> int(found.intersection), int(found.union)
        (1, 3)
    """
    return Overlap(
        intersection=np.asarray(np.count_nonzero(a & b, axis=(-2, -1))),
        union=np.asarray(np.count_nonzero(a | b, axis=(-2, -1))),
    )


def mask_iou(
    a: Bool[np.ndarray, "*batch height width"], b: Bool[np.ndarray, "*batch height width"]
) -> Float[np.ndarray, "*batch"]:
    """Computes the IoU of mask with mask; 1 where both are empty.

    Example:
        >>> a, b = np.array([[[True, True]], [[False, False]]]), np.array([[[False, True]], [[False, False]]])
        >>> mask_iou(a, b).tolist()
        [0.5, 1.0]
    """
    return mask_overlap(a, b).iou


def accuracy(ious: Float[np.ndarray, " n"], at: float = 0.5) -> float:
    """Computes the share of samples whose IoU is at least `at`: Acc@0.5, the score of REC.

    Raises:
        ValueError: When there is no sample.

    Example:
        >>> accuracy(np.array([0.5, 0.49, 0.9, 0.0]))
        0.5
    """
    return _mean(ious >= at)


def ciou(intersections: Real[np.ndarray, " n"], unions: Real[np.ndarray, " n"]) -> float:
    """Computes the cumulative IoU, the sum of intersections over the sum of unions. Large objects weigh most.

    The score of RES.

    Raises:
        ValueError: When the unions sum to 0.

    Example:
        >>> round(ciou(np.array([1, 90]), np.array([2, 100])), 3)
        0.892
    """
    if unions.sum() <= 0:
        raise ValueError("the cumulative IoU needs a union that is not empty")
    return float(intersections.sum() / unions.sum())


def average_recall(ious: Float[np.ndarray, " n"]) -> float:
    """Computes the area under the share of samples whose IoU is at least t, over t from 0 to 1.

    The score of Panoptic Narrative Grounding (arXiv 2109.04988), which adds up the curve in small steps. The
    area under the shares is the mean of what is counted: the average recall of a set of phrases is exactly
    their mean IoU, and so it is computed.

    Raises:
        ValueError: When there is no sample.

    Example:
        All samples reach t up to 0.5, half of them up to 1:

        >>> average_recall(np.array([0.5, 1.0]))
        0.75
    """
    return _mean(ious)


def _mean(values: np.ndarray) -> float:
    """Returns the mean of at least one value."""
    if values.size == 0:
        raise ValueError("a score needs at least one sample")
    return float(values.mean())


def spearman(
    x: Real[np.ndarray, " n"],
    y: Real[np.ndarray, " n"],
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Correlation:
    """Computes Spearman's rank correlation, with p-value (t-distribution) and bootstrap interval.

    Ties get their mean rank. The paper correlates the selection frequency of heads with their mean IoU.

    Args:
        x: The first value of each pair, finite.
        y: The second value of each pair, finite.
        resamples: How often the pairs are drawn anew for the interval. A draw in which x or y is constant has
            no correlation and is left out.
        seed: Of the draws.
        confidence: Of the interval.

    Returns:
        The correlation. All four values are NaN where there is none: fewer than three pairs, or a constant
        side.

    Raises:
        ValueError: When a value is not finite.

    Example:
        Ranks 1, 2, 3 against 1, 3, 2: rho = 1 - 6 * (0 + 1 + 1) / (3 * 8)

        >>> found = spearman(np.array([0.1, 0.5, 0.9]), np.array([10, 30, 20]))
        >>> round(found.rho, 12), found.n
        (0.5, 3)
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a rank correlation needs finite values")
    n = len(x)
    if n < 3 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Correlation(np.nan, np.nan, np.nan, np.nan, n)
    result = stats.spearmanr(x, y)
    pairs = np.stack([x, y], axis=-1)
    interval = bootstrap_interval(pairs, _rank_correlation, resamples, seed, confidence)
    return Correlation(float(result.statistic), float(result.pvalue), interval.low, interval.high, n)


def _rank_correlation(pairs: Real[np.ndarray, "resample n 2"]) -> Float[np.ndarray, " resample"]:
    """Computes Spearman's rho of each resample; NaN where one side is constant."""
    ranks = stats.rankdata(pairs, axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    x, y = ranks[..., 0], ranks[..., 1]
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), scale, out=np.full(len(pairs), np.nan), where=scale > 0)


def resample_means(values: Real[np.ndarray, "resample n"]) -> Float[np.ndarray, " resample"]:
    """Computes the mean of each resample.

    Example:
        >>> resample_means(np.array([[1, 2], [2, 2]])).tolist()
        [1.5, 2.0]
    """
    return values.mean(axis=1)


def bootstrap_interval(
    values: Real[np.ndarray, "n ..."],
    statistic: Callable[[np.ndarray], np.ndarray] = resample_means,
    resamples: int = 2000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Computes the bootstrap percentile interval of a statistic of `n` samples.

    Args:
        values: One value per sample, or one row (an intersection and a union, say).
        statistic: From `[resample n ...]` to `[resample]`, the mean by default. Resamples for which it is NaN
            are left out.
        resamples: How often `n` samples are drawn with replacement.
        seed: Of the draws; same seed, same interval.
        confidence: Of the interval.

    Returns:
        The interval; both ends are NaN when no resample has a value.

    Raises:
        ValueError: When there is no sample.

    Example:
        Equal values have the same mean in every resample:

        >>> bootstrap_interval(np.array([0.5, 0.5, 0.5]))
        Interval(low=0.5, high=0.5)
    """
    if len(values) == 0:
        raise ValueError("a bootstrap needs at least one sample")
    # Some resamples at a time, [resample n ...], so that they fit into memory.
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK // values.size)
    results = [
        statistic(values[rng.integers(len(values), size=(min(block, resamples - done), len(values)))])
        for done in range(0, resamples, block)
    ]
    estimates = np.concatenate(results)
    estimates = estimates[~np.isnan(estimates)]
    if estimates.size == 0:
        return Interval(np.nan, np.nan)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(estimates, [tail, 100 - tail])
    return Interval(float(low), float(high))
