"""Computes bootstrap intervals of samples that depend on each other, and corrects many comparisons."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped

from locheads.evaluation.metrics import Interval


def cluster_interval(
    values: Float[np.ndarray, " n"],
    clusters: Shaped[np.ndarray, " m"],
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Computes the bootstrap interval of a mean, resampling whole clusters, such as pictures.

    For paired differences of a mean, give the differences.

    Args:
        values: One value per sample.
        clusters: The cluster of each sample, such as its picture's number.
        resamples: Number of resamples.
        seed: Seed of the draws.
        confidence: Share of resamples inside the interval.

    Raises:
        ValueError: When there is no sample, or not one cluster per value.
    """
    if not len(values) or len(values) != len(clusters):
        raise ValueError(
            f"{len(values)} values and {len(clusters)} clusters: give one cluster per value, at least one"
        )
    _, numbers = np.unique(clusters, return_inverse=True)
    sizes, sums = np.bincount(numbers), np.bincount(numbers, weights=values)
    weights = np.random.default_rng(seed).multinomial(
        len(sizes), np.full(len(sizes), 1 / len(sizes)), resamples
    )
    return _percentiles(weights @ sums / (weights @ sizes), confidence)


def two_level_interval(
    values: Float[np.ndarray, "draw n"],
    clusters: Shaped[np.ndarray, " m"],
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """Computes the bootstrap interval of a mean over draws, such as random heads, and clusters of samples.

    Args:
        values: One value per draw and sample.
        clusters: As in `cluster_interval`, like the following.
        resamples: Number of resamples.
        seed: Seed of the draws.
        confidence: Share of resamples inside the interval.

    Raises:
        ValueError: When there is no draw or sample, or not one cluster per sample.
    """
    draws, n = values.shape
    if not draws or not n or n != len(clusters):
        raise ValueError(
            f"{draws} draws of {n} values and {len(clusters)} clusters: give one cluster per value"
        )
    _, numbers = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(numbers)
    sums = np.stack([np.bincount(numbers, weights=row) for row in values])
    rng = np.random.default_rng(seed)
    pictures = rng.multinomial(len(sizes), np.full(len(sizes), 1 / len(sizes)), resamples)
    heads = rng.multinomial(draws, np.full(draws, 1 / draws), resamples) / draws
    means = ((heads @ sums) * pictures).sum(axis=1) / (pictures @ sizes)
    return _percentiles(means, confidence)


def holm(p_values: Float[np.ndarray, " n"], level: float = 0.05) -> Bool[np.ndarray, " n"]:
    """Returns which comparisons survive Holm's step-down correction at a family-wise `level`.

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03, 0.005])).tolist()
        [True, False, False, True]
    """
    order = np.argsort(p_values)
    passed = p_values[order] <= level / np.arange(len(p_values), 0, -1)
    survives = np.zeros(len(p_values), dtype=bool)
    survives[order] = np.logical_and.accumulate(passed)
    return survives


def expected_by_chance(comparisons: int, level: float = 0.05) -> float:
    """Returns how many of so many comparisons would fall below `level` were there no difference at all."""
    return comparisons * level


def _percentiles(means: Float[np.ndarray, " n"], confidence: float) -> Interval:
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))
