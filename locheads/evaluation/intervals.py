"""Computes intervals over pictures, and over drawn heads, and corrects many comparisons.

Several expressions ask about one picture, and random heads are themselves drawn. An interval that resamples
expressions alone is too narrow, so pictures are resampled as wholes, and so are draws where there are
several. Every score of this package is a ratio of sums over samples (hits over expressions, intersections
over unions), so that a resample is a weighted sum.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Real, Shaped

from locheads.evaluation.metrics import Interval

RESAMPLES = 2000


def resampled_sums(
    values: Real[np.ndarray, "n ..."],
    pictures: Shaped[np.ndarray, " m"],
    rng: np.random.Generator,
    resamples: int = RESAMPLES,
) -> Float[np.ndarray, "resample ..."]:
    """Computes sums over samples whose pictures are drawn with replacement.

    Args:
        values: One value or array per sample.
        pictures: The picture of each sample, any labels.
        rng: One state draws the same pictures for any `values`.
        resamples: Number of resamples.

    Raises:
        ValueError: There is no sample, or not one picture per sample.
    """
    if not len(values) or len(values) != len(pictures):
        raise ValueError(f"{len(values)} samples and {len(pictures)} pictures: give one picture per sample")
    names, numbers = np.unique(pictures, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, numbers, values)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples)
    return np.tensordot(drawn, sums, axes=1)


def resampled_ratios(
    parts: Real[np.ndarray, "n draw 2"],
    pictures: Shaped[np.ndarray, " m"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Float[np.ndarray, " resample"]:
    """Computes a ratio of sums over resampled pictures, averaged over resampled draws.

    Args:
        parts: Numerator and denominator per sample and draw; a single draw is not resampled.
        pictures: The picture of each sample, any labels.
        resamples: Number of resamples.
        seed: Seed of the draws. One seed draws the same pictures for any `parts`, so that the difference of
            two results is paired.

    Raises:
        ValueError: As `resampled_sums`.
    """
    rng = np.random.default_rng(seed)
    totals = resampled_sums(parts, pictures, rng, resamples)  # [resample draw 2]
    empty = np.full(totals.shape[:2], np.nan)
    ratios = np.divide(totals[..., 0], totals[..., 1], out=empty, where=totals[..., 1] > 0)
    draws = parts.shape[1]
    chosen = rng.multinomial(draws, np.full(draws, 1 / draws), resamples) / draws
    return np.asarray((ratios * chosen).sum(axis=1))


def percentiles(estimates: Float[np.ndarray, " resample"], confidence: float = 0.95) -> Interval:
    """Returns the percentile interval of resampled estimates, those that are NaN left out."""
    known = estimates[~np.isnan(estimates)]
    if not known.size:
        return Interval(np.nan, np.nan)
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(low), float(high))


def p_value(differences: Float[np.ndarray, " resample"]) -> float:
    """Returns the two-sided bootstrap p-value of a difference: twice the share of resamples beyond zero.

    A resample at zero counts on both sides, and the observed one counts as a resample: no p-value is 0.
    """
    known = differences[~np.isnan(differences)]
    if not known.size:
        return float("nan")
    beyond = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (beyond + 1) / (known.size + 1)))


def mean_interval(
    values: Real[np.ndarray, " n"] | Bool[np.ndarray, " n"],
    pictures: Shaped[np.ndarray, " m"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Computes the 95 % interval of a mean over samples, whose pictures are resampled.

    The interval of a paired difference is that of the differences.

    Example:
        Both samples are of one picture, so that nothing is left to vary:

        >>> mean_interval(np.array([0.0, 1.0]), np.array(["a", "a"]))
        Interval(low=0.5, high=0.5)
    """
    values = np.asarray(values, float)
    parts = np.stack([values, np.ones_like(values)], axis=-1)[:, None]
    return percentiles(resampled_ratios(parts, pictures, resamples, seed))


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


def corrected(table: pd.DataFrame, family: str = "metric") -> pd.DataFrame:
    """Adds the column `survives`: whether a difference survives Holm's correction among those of its family.

    Args:
        table: From `scores.differences`: rows with `p`; rows whose `p` is NaN do not count.
        family: The column that names the family of comparisons.
    """
    survives = pd.Series(False, index=table.index)
    for _, some in table.dropna(subset="p").groupby(family):
        survives[some.index] = holm(some["p"].to_numpy(float))
    return table.assign(survives=survives)


def expected_by_chance(comparisons: int, level: float = 0.05) -> float:
    """Returns how many of so many comparisons would fall below `level` were there no difference at all."""
    return comparisons * level
