"""AUROC and risk by coverage, by hand and against a plain count of pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from locheads.evaluation.ranking import auroc, auroc_interval, resampled_aurocs, risk_at, risks

RIGHT = np.array([True, False, True, False, True])
SCORES = np.array([0.9, 0.8, 0.5, 0.5, 0.1])


def test_pairs_in_order_by_hand() -> None:
    # of six pairs: 0.9 above both; 0.5 below 0.8 and tied with 0.5; 0.1 below both
    assert auroc(SCORES, RIGHT) == pytest.approx((2 + 0.5) / 6)
    assert np.isnan(auroc(SCORES, np.ones(5, bool)))
    assert auroc(np.zeros(5), RIGHT) == 0.5


@given(hnp.arrays(np.float64, 12, elements=st.sampled_from([0.0, 0.25, 0.5, 1.0])))
def test_it_counts_pairs_and_turns_round_with_the_sign(scores: np.ndarray) -> None:
    right = np.arange(12) % 3 == 0
    pairs = [(a > b) + (a == b) / 2 for a in scores[right] for b in scores[~right]]
    assert auroc(scores, right) == pytest.approx(np.mean(pairs))
    assert auroc(-scores, right) == pytest.approx(1 - np.mean(pairs))


def test_a_resample_is_the_auroc_of_the_drawn_pictures() -> None:
    pictures = np.array(["a", "a", "b", "b", "b"])
    drawn = resampled_aurocs(SCORES, RIGHT, pictures, 200)
    # pictures a and b, a twice (0.9 above 0.8), or b twice (one tie, one below)
    known = {round(auroc(SCORES, RIGHT), 6), 1.0, 0.25}
    assert set(np.unique(drawn.round(6))) == known
    interval = auroc_interval(SCORES, RIGHT, pictures)
    assert (interval.low, interval.high) == (0.25, 1.0)


def test_random_scores_have_an_interval_around_one_half() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.7
    interval = auroc_interval(rng.random(400), right, np.arange(400))
    assert interval.low < 0.5 < interval.high and interval.high - interval.low < 0.15


def test_risk_among_the_best_by_hand() -> None:
    wrong = ~RIGHT
    # the two at 0.5, one of them wrong, come in either order: half a wrong one each
    np.testing.assert_allclose(risks(SCORES, wrong), [0, 1 / 2, 1.5 / 3, 2 / 4, 2 / 5])
    found = risk_at(SCORES, wrong, np.arange(5), 0.4)
    assert (found["kept"], found["risk"]) == (0.4, 0.5) and found["saved"] == pytest.approx(0.4 - 0.5)
    every = risk_at(SCORES, wrong, np.arange(5), 1.0)
    assert every["kept"] == 1 and every["saved"] == every["low"] == every["high"] == 0


def test_a_perfect_order_saves_all_risk_of_half_the_samples() -> None:
    wrong = np.arange(40) >= 30
    found = risk_at(-np.arange(40.0), wrong, np.arange(40), 0.5)
    assert found["risk"] == 0 and found["saved"] == 0.25 and found["low"] > 0
