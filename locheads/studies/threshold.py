"""Examines the threshold τ on the attention sum: its interval, its readings, and how much it decides."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from locheads.evaluation.intervals import percentiles, resampled_sums
from locheads.evaluation.metrics import Interval
from locheads.method.criteria import curvature_threshold, sample_thresholds
from locheads.method.frequency import frequency_over_trials, selection_frequency
from locheads.method.selection import candidates, name_of, passing_heads, top_heads

Sums = Float[np.ndarray, "sample layer head"]
"""Attention sums, or spatial entropies, of every head on every sample."""


def threshold_interval(sums: Sums, pictures: Sequence[str], resamples: int = 200, seed: int = 0) -> Interval:
    """Computes the 95 % bootstrap interval of τ over pictures; `pictures` names that of each sample."""
    counted = np.concatenate([sums.reshape(len(sums), -1), np.ones((len(sums), 1))], axis=1)
    totals = resampled_sums(counted, np.array(pictures), np.random.default_rng(seed), resamples)
    means = totals[:, :-1] / totals[:, -1:]  # [resample, layer * head]
    return percentiles(np.array([curvature_threshold(mean).value for mean in means]))


def readings(sums: Sums, entropies: Sums, k: int = 3, kept: int = 10, seed: int = 0) -> pd.DataFrame:
    """Selects heads under three readings of "maximum curvature".

    The sums averaged over samples, where the curve is farthest from its chord (the paper's average with its
    release's elbow, this package's default); the same curve where its curvature, taken literally, is largest;
    and each sample's own sums, farthest from the chord (the release).

    Returns:
        One row per reading: `τ` (of the release's the median), `side` of the chord, `passing` heads (of the
        release's the median), and the `heads`.
    """
    mean = sums.mean(axis=0, dtype=np.float64)
    rows = {}
    for name, threshold in {
        "averaged sums, farthest from the chord": curvature_threshold(mean),
        "averaged sums, largest curvature": curvature_threshold(mean, elbow="curvature"),
    }.items():
        frequency = frequency_over_trials(candidates(sums, entropies, threshold.value, kept), seed)
        passing = int(passing_heads(sums, threshold.value).sum())
        rows[name] = [threshold.value, threshold.side, passing, _named(frequency, k)]
    own = sample_thresholds(sums)
    frequency = selection_frequency(candidates(sums, entropies, own, kept, threshold_on="sample"))
    above = np.median([(one >= tau).sum() for one, tau in zip(sums[:, 2:], own, strict=True)])
    sides = [curvature_threshold(one).side for one in sums]
    commonest = max(set(sides), key=sides.count)
    rows["each sample's sums, farthest from the chord"] = [
        float(np.median(own)),
        commonest,
        int(above),
        _named(frequency, k),
    ]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["τ", "side", "passing", "heads"])


def _named(frequency: Float[np.ndarray, "layer head"], k: int) -> str:
    chosen = int(np.count_nonzero(frequency))
    return name_of(top_heads(frequency, k)) if chosen >= k else f"only {chosen} ever chosen"


def changed_candidates(sums: Sums, entropies: Sums, low: float, high: float, kept: int = 10) -> float:
    """Measures how much a threshold decides between two of its values.

    Returns:
        The share of each sample's candidates at `low` that are no longer candidates at `high`, averaged over
        samples. 0: the threshold could be anywhere in between, since it shuts out nothing that entropy keeps.
    """
    before, after = (candidates(sums, entropies, tau, kept) for tau in (low, high))
    lost = (before & ~after).sum(axis=(1, 2)) / before.sum(axis=(1, 2))
    return float(lost.mean())
