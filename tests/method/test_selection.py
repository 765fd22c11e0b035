from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from locheads.errors import LocheadsError
from locheads.method.criteria import curvature_threshold
from locheads.method.frequency import selection_frequency, trial_frequencies
from locheads.method.selection import (
    Head,
    candidates,
    check_heads,
    greedy_heads,
    parse_heads,
    passing_heads,
    random_heads,
    take_heads,
    top_heads,
)

SHAPE = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 4))


@st.composite
def criteria(draw):
    """Sums and entropies with many ties, some heads without an entropy."""
    shape = draw(SHAPE)
    sums = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75])))
    entropies = draw(hnp.arrays(np.float64, shape, elements=st.sampled_from([0.0, 0.5, 1.0, np.inf])))
    return sums, entropies


def naive_ranking(sums, entropies, threshold, skipped_layers=2, use="both"):
    """Each sample's eligible heads, best first, sorted by the documented key."""
    mean = sums.mean(axis=0)
    rankings = []
    for s, e in zip(sums, entropies, strict=True):
        heads = [(layer, head) for layer in range(skipped_layers, s.shape[0]) for head in range(s.shape[1])]
        if use != "entropy":
            heads = [at for at in heads if mean[at] >= threshold]
        if use != "attention_sum":
            heads = [at for at in heads if np.isfinite(e[at])]
        rankings.append(sorted(heads, key=lambda at: (0 if use == "attention_sum" else e[at], -s[at], at)))
    return rankings


def test_a_head_is_named_as_in_the_paper():
    assert str(Head(14, 24)) == "L14 H24"
    assert Head(layer=2, head=3) == (2, 3)


def test_candidates_by_hand():
    sums = np.array([[[0.9, 0.9], [0.5, 0.1]], [[0.9, 0.9], [0.5, 0.3]]])
    entropies = np.array([[[0.0, 0.0], [1.0, 0.0]], [[0.5, 0.2], [0.1, 0.0]]])
    chosen = candidates(sums, entropies, 0.4, kept=1, skipped_layers=0)
    np.testing.assert_array_equal(chosen, [[[1, 0], [0, 0]], [[0, 0], [1, 0]]])
    chosen = candidates(sums, entropies, 0.4, kept=1, skipped_layers=1)
    np.testing.assert_array_equal(chosen, [[[0, 0], [1, 0]], [[0, 0], [1, 0]]])
    chosen = candidates(sums, entropies, 0.4, kept=1, skipped_layers=0, use="entropy")
    np.testing.assert_array_equal(chosen, [[[1, 0], [0, 0]], [[0, 0], [0, 1]]])
    chosen = candidates(sums, entropies, 0.4, kept=2, skipped_layers=0, use="attention_sum")
    np.testing.assert_array_equal(chosen, [[[1, 1], [0, 0]], [[1, 1], [0, 0]]])


def test_ties_go_to_the_larger_sum_then_the_lower_layer_then_the_lower_head():
    sums = np.array([[[0.5, 0.6, 0.5], [0.7, 0.5, 0.6]]])
    order = greedy_heads(sums, np.zeros_like(sums), 0.0, k=6, skipped_layers=0)[0]
    assert order.tolist() == [[1, 0], [0, 1], [1, 2], [0, 0], [0, 2], [1, 1]]


def test_entropies_equal_but_for_rounding_are_tied():
    entropies = np.array([[[1.0, 1.0 + 1e-15, 1.0 - 1e-15]]])
    sums = np.array([[[0.2, 0.3, 0.1]]])
    assert greedy_heads(sums, entropies, 0.0, k=3, skipped_layers=0)[0, :, 1].tolist() == [1, 0, 2]


def test_heads_without_an_entropy_are_not_chosen_even_where_too_few_pass():
    entropies = np.array([[[np.inf, np.nan, 3.0, np.inf]]])
    chosen = candidates(np.ones((1, 1, 4)), entropies, 0.0, skipped_layers=0)
    np.testing.assert_array_equal(chosen, [[[False, False, True, False]]])
    greedy = greedy_heads(np.ones((1, 1, 4)), entropies, 0.0, skipped_layers=0)
    np.testing.assert_array_equal(greedy, [[[0, 2], [-1, -1], [-1, -1]]])


def test_the_threshold_is_compared_with_the_averaged_or_with_each_samples_sums():
    sums = np.array([[[0.2, 0.6]], [[0.8, 0.2]]])  # averages 0.5 and 0.4
    zeros = np.zeros_like(sums)
    chosen = candidates(sums, zeros, 0.45, skipped_layers=0)
    np.testing.assert_array_equal(chosen, [[[1, 0]], [[1, 0]]])
    chosen = candidates(sums, zeros, 0.45, skipped_layers=0, threshold_on="sample")
    np.testing.assert_array_equal(chosen, [[[0, 1]], [[1, 0]]])
    chosen = candidates(sums, zeros, np.array([0.7, 0.1]), skipped_layers=0, threshold_on="sample")
    np.testing.assert_array_equal(chosen, [[[0, 0]], [[1, 1]]])
    with pytest.raises(ValueError, match="threshold_on"):
        candidates(sums, zeros, np.array([0.7, 0.1]))


def test_the_head_that_sets_the_threshold_passes_it():
    sums = np.random.default_rng(0).random((7, 3, 8)) ** 4
    for mean in (sums.mean(axis=0), sums.astype(np.float32).mean(axis=0)):
        threshold = curvature_threshold(mean)
        assert passing_heads(sums, threshold.value, 0).sum() == sums[0].size - threshold.index


@given(
    criteria(),
    st.sampled_from([0.0, 0.25, 0.4]),
    st.integers(1, 12),
    st.integers(0, 2),
    st.sampled_from(["both", "attention_sum", "entropy"]),
)
def test_candidates_and_greedy_equal_sorting_head_by_head(data, threshold, kept, skipped, use):
    sums, entropies = data
    ranking = naive_ranking(sums, entropies, threshold, skipped, use)
    chosen = candidates(sums, entropies, threshold, kept, skipped, use)
    greedy = greedy_heads(sums, entropies, threshold, kept, skipped, use)
    for best, mask, heads in zip(ranking, chosen, greedy, strict=True):
        assert set(map(tuple, np.argwhere(mask).tolist())) == set(best[:kept])
        assert [tuple(at) for at in heads.tolist() if at[0] >= 0] == best[:kept]


@given(criteria(), st.integers(1, 6))
def test_keeping_more_heads_keeps_the_ones_before(data, kept):
    fewer = candidates(*data, 0.25, kept)
    more = candidates(*data, 0.25, kept + 1)
    assert (fewer <= more).all()
    assert not more[:, :2].any()
    assert (more.sum(axis=(1, 2)) <= kept + 1).all()


def test_selection_frequency_by_hand():
    chosen = np.array([[[True, False]], [[True, True]], [[False, False]], [[True, False]]])
    np.testing.assert_array_equal(selection_frequency(chosen), [[0.75, 0.25]])
    with pytest.raises(ValueError, match="sample"):
        selection_frequency(chosen[:0])


def test_trials_draw_without_replacement_and_from_their_seed():
    chosen = np.random.default_rng(0).random((40, 2, 3)) < 0.3
    np.testing.assert_allclose(trial_frequencies(chosen, 40), np.stack([selection_frequency(chosen)] * 5))
    trials = trial_frequencies(chosen, 10, trials=3, seed=4)
    assert trials.shape == (3, 2, 3)
    np.testing.assert_array_equal(trials * 10, np.round(trials * 10))
    np.testing.assert_array_equal(trials, trial_frequencies(chosen, 10, trials=3, seed=4))
    assert (trials != trial_frequencies(chosen, 10, trials=3, seed=5)).any()
    assert (trials[0] != trials[1]).any()
    one_hot = np.eye(40, dtype=bool).reshape(40, 4, 10)  # which samples a trial drew: each at most once
    assert set(np.unique(trial_frequencies(one_hot, 10))) == {0.0, 0.1}
    with pytest.raises(ValueError, match="41"):
        trial_frequencies(chosen, 41)


def test_top_heads_with_ties_and_too_few_chosen():
    frequency = np.array([[0.0, 0.2, 0.0], [0.5, 0.2, 0.0], [0.2, 0.0, 0.9]])
    assert top_heads(frequency) == (Head(2, 2), Head(1, 0), Head(0, 1))
    assert top_heads(frequency, 5)[-2:] == (Head(1, 1), Head(2, 0))
    with pytest.raises(ValueError, match="only 5"):
        top_heads(frequency, 6)


def test_random_heads_are_different_ones_that_pass():
    passing = np.array([[False, True, True], [True, False, True]])
    draws = [random_heads(passing, 2, np.random.default_rng(seed)) for seed in range(40)]
    assert all(len(set(draw)) == 2 for draw in draws)
    assert {head for draw in draws for head in draw} == {Head(0, 1), Head(0, 2), Head(1, 0), Head(1, 2)}
    assert draws[3] == random_heads(passing, 2, np.random.default_rng(3))
    with pytest.raises(ValueError, match="only 4"):
        random_heads(passing, 5, np.random.default_rng(0))


def test_take_heads_fixed_and_greedy():
    maps = np.random.default_rng(0).random((2, 3, 4, 5, 6))
    fixed = take_heads(maps, (Head(2, 3), Head(0, 1)))
    np.testing.assert_array_equal(fixed, np.stack([maps[:, 2, 3], maps[:, 0, 1]], axis=1))
    greedy = take_heads(maps, np.array([[[1, 0], [-1, -1]], [[2, 2], [0, 3]]]))
    np.testing.assert_array_equal(greedy[0], [maps[0, 1, 0], np.zeros((5, 6))])
    np.testing.assert_array_equal(greedy[1], [maps[1, 2, 2], maps[1, 0, 3]])


def test_heads_are_read_from_text():
    assert parse_heads("L3H2,L4H1") == (Head(3, 2), Head(4, 1))
    assert parse_heads(" l14 h24 ,L0 H0") == (Head(14, 24), Head(0, 0))


@pytest.mark.parametrize("text", ["", "3,2", "L3H2,", "L3H2;L4H1", "L-1H2", "L3H2x", "L3"])
def test_other_text_is_refused_with_the_text_and_the_form(text):
    with pytest.raises(LocheadsError, match=re.escape(f"heads '{text}': write them as in L3H2,L4H1")):
        parse_heads(text)


def test_heads_are_checked_against_the_model():
    check_heads([(0, 0), Head(11, 7)], 12, 8, "small")
    check_heads([], 12, 8, "small")
    for layer, head in [(12, 0), (0, 8), (-1, 0), (0, -1)]:
        message = (
            f"no head L{layer}H{head}: small has 12 layers of 8 heads; give layers 0 to 11 and heads 0 to 7"
        )
        with pytest.raises(LocheadsError, match=re.escape(message)):
            check_heads([(0, 0), (layer, head)], 12, 8, "small")
