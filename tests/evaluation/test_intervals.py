"""Tests intervals over pictures and draws, and the correction of Holm, against values by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from locheads.evaluation.intervals import (
    corrected,
    expected_by_chance,
    holm,
    mean_interval,
    p_value,
    percentiles,
    resampled_ratios,
    resampled_sums,
)
from locheads.evaluation.metrics import bootstrap_interval


def test_where_each_sample_is_a_picture_it_is_the_plain_bootstrap() -> None:
    values = np.random.default_rng(0).random(80)
    ours = mean_interval(values, np.arange(80), resamples=10_000)
    plain = bootstrap_interval(values, resamples=10_000)
    assert [ours.low, ours.high] == pytest.approx([plain.low, plain.high], abs=0.005)


def test_repeated_expressions_of_a_picture_do_not_narrow_the_interval() -> None:
    values = np.random.default_rng(0).integers(0, 2, 50).astype(float)
    alone = bootstrap_interval(values, resamples=10_000)
    repeated = mean_interval(np.repeat(values, 4), np.repeat(np.arange(50), 4), resamples=10_000)
    assert [repeated.low, repeated.high] == pytest.approx([alone.low, alone.high], abs=0.021)
    plain = bootstrap_interval(np.repeat(values, 4))
    assert plain.high - plain.low < 0.6 * (repeated.high - repeated.low)


def test_a_single_picture_has_no_spread_and_pictures_weigh_by_their_expressions() -> None:
    one = mean_interval(np.array([0.0, 1.0, 1.0, 1.0]), np.zeros(4))
    assert (one.low, one.high) == (0.75, 0.75)
    two = mean_interval(np.array([0.0, 1.0, 1.0, 1.0]), np.array(["a", "b", "b", "b"]))
    assert (two.low, two.high) == (0.0, 1.0)
    # both pictures once (half of the resamples): 3 of 4; one of them twice: 0 or 1
    drawn = resampled_ratios(np.array([[[0.0, 1]], [[3.0, 3]]]), np.arange(2), 4000)
    assert set(np.unique(drawn)) == {0.0, 0.75, 1.0} and (drawn == 0.75).mean() == pytest.approx(
        0.5, abs=0.03
    )


def test_a_ratio_of_sums_is_not_a_mean_of_ratios() -> None:
    parts = np.array([[[1.0, 10.0]], [[90.0, 90.0]]])
    assert resampled_ratios(parts, np.zeros(2), 5).tolist() == [0.91] * 5


def test_the_draw_of_heads_widens_the_interval() -> None:
    hits = np.repeat([[0.0, 1.0] * 15], 20, axis=0)  # draws differ, samples do not
    parts = np.stack([hits, np.ones_like(hits)], axis=-1)
    found = percentiles(resampled_ratios(parts, np.arange(20), 10_000))
    by_draw = bootstrap_interval(hits[0], resamples=10_000)
    assert [found.low, found.high] == pytest.approx([by_draw.low, by_draw.high], abs=0.034)
    single = percentiles(resampled_ratios(parts[:, :1], np.arange(20)))
    assert (single.low, single.high) == (0.0, 0.0)


def test_one_seed_draws_the_same_pictures() -> None:
    rng = np.random.default_rng(1)
    hard = np.stack([rng.random((30, 1)), np.ones((30, 1))], axis=-1)
    easier = hard + np.array([0.25, 0.0])
    gains = resampled_ratios(easier, np.arange(30), seed=4) - resampled_ratios(hard, np.arange(30), seed=4)
    np.testing.assert_allclose(gains, 0.25)


def test_sums_keep_the_shape_of_a_sample() -> None:
    sums = resampled_sums(np.ones((6, 2, 3)), np.repeat([0, 1, 2], 2), np.random.default_rng(0), 7)
    assert sums.shape == (7, 2, 3) and (sums == 6).all()


def test_p_values_by_hand() -> None:
    # 1 of 19 resamples at or below zero: 2 * (1 + 1) / 20
    assert p_value(np.array([-1.0] + [1.0] * 18)) == pytest.approx(0.2)
    assert p_value(np.zeros(9)) == 1.0
    assert np.isnan(p_value(np.array([np.nan])))


def test_holm_stops_at_the_first_failure() -> None:
    # 0.01 <= 0.05/4, 0.02 > 0.05/3: 0.024 <= 0.05/2 fails too, and so does 0.04 <= 0.05/1
    assert holm(np.array([0.04, 0.01, 0.024, 0.02])).tolist() == [False, True, False, False]
    assert holm(np.array([])).tolist() == []
    assert expected_by_chance(20) == 1.0


def test_correction_is_within_a_family() -> None:
    table = pd.DataFrame(
        {"metric": ["a", "a", "b", "b"], "p": [0.03, 0.04, 0.03, np.nan]}, index=[5, 6, 7, 8]
    )
    assert corrected(table).survives.tolist() == [False, False, True, False]


def test_percentiles_without_any_value_are_nan() -> None:
    assert np.isnan(percentiles(np.full(3, np.nan)).low)


def test_wrong_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="2 samples and 1 pictures"):
        mean_interval(np.zeros(2), np.zeros(1))
    with pytest.raises(ValueError, match="0 samples and 0 pictures"):
        mean_interval(np.zeros(0), np.zeros(0))
