"""Judges a score by how it ranks right above wrong: AUROC with intervals over pictures, and risk by coverage.

Scores are of any unit; only their order counts. Higher means more trust.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Real, Shaped
from scipy.stats import rankdata

from locheads.evaluation.intervals import RESAMPLES, percentiles, resampled_ratios, resampled_sums
from locheads.evaluation.metrics import Interval


def auroc(scores: Real[np.ndarray, " n"], right: Bool[np.ndarray, " n"]) -> float:
    """Computes the area under the ROC curve: how often a right one scores above a wrong one, ties half.

    Returns:
        0.5 for a score that says nothing, 1 for one that separates; NaN where all are right, or all wrong.

    Example:
        Of four pairs of a right and a wrong one, three are in order:

        >>> auroc(np.array([0.9, 0.2, 0.5, 0.1]), np.array([True, True, False, False]))
        0.75
    """
    hits, misses = int(right.sum()), int((~right).sum())
    if not hits or not misses:
        return float("nan")
    return float((rankdata(scores)[right].sum() - hits * (hits + 1) / 2) / (hits * misses))


def resampled_aurocs(
    scores: Real[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    pictures: Shaped[np.ndarray, " n"],
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Float[np.ndarray, " resample"]:
    """Computes the AUROC over resampled pictures; NaN where a resample has no right or no wrong one.

    One seed draws the same pictures for any scores, so that the difference of two results is paired.
    """
    rng = np.random.default_rng(seed)
    often = resampled_sums(np.eye(len(scores)), pictures, rng, resamples)  # [resample n]: times drawn
    above = np.sign(scores[right][:, None] - scores[~right]) / 2 + 0.5  # 1, ½ or 0 per pair
    in_order = ((often[:, right] @ above) * often[:, ~right]).sum(axis=1)
    pairs = often[:, right].sum(axis=1) * often[:, ~right].sum(axis=1)
    return np.divide(in_order, pairs, out=np.full(resamples, np.nan), where=pairs > 0)


def auroc_interval(
    scores: Real[np.ndarray, " n"],
    right: Bool[np.ndarray, " n"],
    pictures: Shaped[np.ndarray, " n"],
    seed: int = 0,
) -> Interval:
    """Computes the 95 % interval of the AUROC, whose pictures are resampled."""
    return percentiles(resampled_aurocs(scores, right, pictures, seed=seed))


def risks(scores: Real[np.ndarray, " n"], wrong: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Computes the share of wrong ones among the 1, 2, …, n highest scores; ties in their mean order.

    Its mean is the area under the risk–coverage curve.

    Example:
        >>> risks(np.array([3.0, 2.0, 1.0, 1.0]), np.array([False, True, True, False])).round(2).tolist()
        [0.0, 0.5, 0.5, 0.5]
    """
    expected = pd.Series(wrong.astype(float)).groupby(-scores).transform("mean").to_numpy()
    order = np.argsort(-scores, kind="stable")
    return np.cumsum(expected[order]) / np.arange(1, len(scores) + 1)


def risk_at(
    scores: Real[np.ndarray, " n"],
    wrong: Bool[np.ndarray, " n"],
    pictures: Shaped[np.ndarray, " n"],
    coverage: float,
    seed: int = 0,
) -> dict[str, float]:
    """Compares the risk of the `coverage` share of highest scores with that of all, over the same pictures.

    Returns:
        `kept` (the share really kept, as ties stay together), `risk` of the kept, `saved` (risk of all less
        that of the kept) with its paired 95 % interval `low`, `high`.
    """
    kept = scores >= np.quantile(scores, 1 - coverage)
    some = np.stack([wrong & kept, kept], axis=-1)[:, None].astype(float)
    every = np.stack([wrong, np.ones(len(wrong))], axis=-1)[:, None].astype(float)
    saved = resampled_ratios(every, pictures, seed=seed) - resampled_ratios(some, pictures, seed=seed)
    risk = float(wrong[kept].mean())
    found = {"kept": float(kept.mean()), "risk": risk, "saved": float(wrong.mean()) - risk}
    return found | vars(percentiles(saved))
