from __future__ import annotations

import numpy as np
import pytest

from locheads.method.criteria import curvature_threshold
from locheads.method.selection import Head, Selection
from locheads.studies.trials import trials_of


def selection_of(chosen: np.ndarray, heads: tuple[Head, ...]) -> Selection:
    threshold = curvature_threshold(np.array([0.0, 1.0, 3.0]))
    return Selection(threshold, chosen.any(axis=0), chosen, chosen.mean(axis=0), heads)


def test_lead_and_frequencies_by_hand():
    chosen = np.zeros((8, 2, 3), bool)
    chosen[:, 1, 2] = True  # always
    chosen[:6, 0, 1] = True  # in six of eight
    chosen[:2, 1, 0] = True  # in two
    trials = trials_of(selection_of(chosen, (Head(1, 2), Head(0, 1))), list("abcdefgh"), trial_share=1.0)
    assert trials.heads == (Head(1, 2), Head(0, 1), Head(1, 0))
    np.testing.assert_allclose(trials.frequency, [[1, 0.75, 0.25]] * 5)
    assert trials.lead == 0.5 and trials.agreement == pytest.approx(1)
    assert (trials.intervals[0].low, trials.intervals[0].high) == (1, 1)
    assert trials.lead_interval.low > 0 and trials.settled


def test_a_lead_of_one_sample_is_not_settled():
    chosen = np.zeros((20, 2, 2), bool)
    chosen[:10, 0, 0], chosen[11:, 1, 1], chosen[:5, 1, 0] = True, True, True
    trials = trials_of(selection_of(chosen, (Head(0, 0),)), list(map(str, range(20))))
    assert trials.lead == pytest.approx(0.05) and not trials.settled
