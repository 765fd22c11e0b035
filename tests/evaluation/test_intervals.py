"""Tests intervals over clusters and draws, and Holm's correction, against hand values."""

import numpy as np
import pytest

from locheads.evaluation.intervals import cluster_interval, expected_by_chance, holm, two_level_interval
from locheads.evaluation.metrics import bootstrap_interval


def test_repeated_expressions_of_a_picture_do_not_narrow_the_interval():
    values = np.random.default_rng(0).integers(0, 2, 50).astype(float)
    alone = bootstrap_interval(values, resamples=10_000)
    repeated = cluster_interval(np.repeat(values, 4), np.repeat(np.arange(50), 4))
    assert [repeated.low, repeated.high] == pytest.approx([alone.low, alone.high], abs=0.021)
    plain = bootstrap_interval(np.repeat(values, 4))
    assert plain.high - plain.low < 0.6 * (repeated.high - repeated.low)


def test_a_single_cluster_has_no_spread_and_unequal_clusters_weigh_by_size():
    one = cluster_interval(np.array([0.0, 1.0, 1.0, 1.0]), np.zeros(4, dtype=int))
    assert (one.low, one.high) == (0.75, 0.75)
    two = cluster_interval(np.array([0.0, 1.0, 1.0, 1.0]), np.array(["a", "b", "b", "b"]))
    assert (two.low, two.high) == (0.0, 1.0)


def test_the_draw_of_heads_widens_the_interval():
    values = np.repeat([[0.0], [1.0]] * 15, 20, axis=1)  # draws differ, samples do not
    found = two_level_interval(values, np.arange(20))
    by_draw = bootstrap_interval(values[:, 0], resamples=10_000)
    assert [found.low, found.high] == pytest.approx([by_draw.low, by_draw.high], abs=0.034)
    same = two_level_interval(np.full((30, 20), 0.25), np.arange(20))
    assert [same.low, same.high] == pytest.approx([0.25, 0.25])


def test_holm_stops_at_the_first_failure():
    # 0.01 <= 0.05/4, 0.02 > 0.05/3: 0.024 <= 0.05/2 fails too, and so does 0.04 <= 0.05/1
    assert holm(np.array([0.04, 0.01, 0.024, 0.02])).tolist() == [False, True, False, False]
    assert holm(np.array([])).tolist() == []
    assert expected_by_chance(20) == 1.0


def test_wrong_sizes_are_named():
    with pytest.raises(ValueError, match="2 values and 1 clusters"):
        cluster_interval(np.zeros(2), np.zeros(1))
    with pytest.raises(ValueError, match="3 draws of 2 values and 1 clusters"):
        two_level_interval(np.zeros((3, 2)), np.zeros(1))
