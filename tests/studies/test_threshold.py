from __future__ import annotations

import numpy as np
import pytest

from locheads.method.criteria import curvature_threshold
from locheads.method.selection import select_heads
from locheads.studies.threshold import changed_candidates, readings, threshold_interval


def profile() -> tuple[np.ndarray, np.ndarray]:
    """Most heads look away from the image, as in the paper: the sorted sums are convex."""
    rng = np.random.default_rng(0)
    sums = np.sort(rng.random(40)).reshape(4, 10) ** 4 + 0.01 * rng.random((30, 4, 10))
    return sums, rng.random((30, 4, 10))


def test_the_first_reading_is_the_selection():
    sums, entropies = profile()
    table, selection = readings(sums, entropies, k=2, kept=3), select_heads(sums, entropies, k=2, kept=3)
    first = table.iloc[0]
    assert first["τ"] == selection.threshold.value and first.passing == selection.passing.sum()
    assert first.heads == ", ".join(map(str, sorted(selection.heads)))
    assert table.side.to_list()[::2] == ["below", "below"]
    assert readings(1 - sums, entropies, k=2, kept=3).side.iloc[0] == "above"


def test_the_interval_holds_the_threshold_of_samples_that_agree():
    sums, _ = profile()
    same = np.repeat(sums[:1], 9, axis=0)
    interval, tau = threshold_interval(same, list("aabbccdde")), curvature_threshold(sums[0]).value
    assert (interval.low, interval.high) == pytest.approx((tau, tau), abs=1e-12)


def test_candidates_lost_by_hand():
    sums = np.zeros((2, 3, 2))
    sums[:, 2] = [0.3, 0.9]
    sums[:, 1] = 0.9  # with entropy 0, but in a layer that is left out
    entropies = np.ones_like(sums)
    entropies[:, 1] = 0
    assert changed_candidates(sums, entropies, 0.1, 0.2, kept=2) == 0
    assert changed_candidates(sums, entropies, 0.1, 0.5, kept=2) == 0.5
    entropies[0, 2, 1] = 0  # where only one is kept, the first sample keeps the head that passes both
    assert changed_candidates(sums, entropies, 0.1, 0.5, kept=1) == 0
    entropies[0, 2] = [0, 1]
    assert changed_candidates(sums, entropies, 0.1, 0.5, kept=1) == 0.5
