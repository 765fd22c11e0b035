from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_up_profile import noise, planted

from locheads.errors import LocheadsError
from locheads.method.selection import Head, name_of, select_heads
from locheads.studies.ablation import (
    Sweep,
    found_again,
    over_draws,
    rank_agreement,
    sweep_kept,
    sweep_threshold,
    verdicts,
)


def test_the_sweeps_hold_the_selection_itself():
    profiled = noise()
    sums, entropies = profiled.attention_sum.values, profiled.spatial_entropy.values
    selection = select_heads(sums, entropies, kept=4)
    by_kept = sweep_kept(profiled, [1, 4, 9])
    by_threshold = sweep_threshold(profiled, [0.0, selection.threshold.value], kept=4)
    for sweep in (by_kept, by_threshold):
        np.testing.assert_array_equal(sweep.frequency[1], selection.frequency)
        assert sweep.heads[1] == selection.heads
        assert sweep.passing[1] == selection.passing.sum()
        assert sweep.same(selection.heads[::-1])[1]
    assert by_threshold.passing[0] == 16  # two layers of four are left out


@given(st.integers(0, 20), st.integers(1, 16))
def test_without_a_choice_every_passing_head_is_kept(seed, kept):
    sweep = sweep_threshold(noise(seed, samples=10), [0.0, 0.3, 0.6, 0.9, 2.0], kept=kept)
    for frequency, passing, choice in zip(sweep.frequency, sweep.passing, sweep.has_choice, strict=True):
        assert frequency.sum() == pytest.approx(min(kept, passing))
        assert choice == (passing > kept)
        if not choice:
            assert set(frequency[frequency > 0]) <= {1.0}
    assert sweep.heads[-1] == () and not sweep.same([Head(3, 7)])[-1]


def test_a_set_of_heads_is_one_variant_whatever_its_order():
    sweep = sweep_kept(planted(), [3, 4, 5, 6])
    assert name_of([Head(3, 1), Head(2, 4)]) == name_of([Head(2, 4), Head(3, 1)]) == "L2 H4, L3 H1"
    assert list(sweep.variants) == ["L3 H5, L3 H6, L3 H7"]
    assert sweep.same([Head(3, 7), Head(3, 5), Head(3, 6)]).all()


def test_rank_agreement_by_hand():
    first = np.array([[0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0]])
    agreement = rank_agreement(np.stack([first, 2 * first, first[:, ::-1]]))
    np.testing.assert_allclose(agreement, [1, -1, -1])  # 0-1, 0-2, 1-2


def test_planted_heads_are_found_again_and_noise_is_not():
    sure = found_again(planted(), [5, 20], kept=3, draws=4)
    assert sure.same.all() and list(sure.samples) == [5] * 4 + [20] * 4
    lost = found_again(noise(samples=60), [5, 20], kept=3, draws=10)
    assert 0 < lost.shared.mean() < 0.7
    assert (lost.same == (lost.shared == 1)).all()
    assert set((3 * lost.shared).round(6)) <= {0, 1, 2, 3}


def test_where_two_heads_were_ever_chosen_two_of_three_are_found_again():
    again = found_again(planted(), [5, 20], kept=2, k=3, draws=2)
    assert again.shared.tolist() == pytest.approx([2 / 3] * 4) and not again.same.any()


@pytest.mark.parametrize("size", [0, 8, 9])
def test_a_subset_must_leave_samples(size):
    with pytest.raises(LocheadsError, match=f"{size} of 8"):
        found_again(noise(samples=8), [size], draws=1)


def test_the_mean_over_draws():
    again = pd.DataFrame({"samples": [5, 5, 9], "draw": [0, 1, 0], "shared": [1.0, 0.0, 1.0]})
    table = over_draws(again.assign(same=again.shared == 1)).set_index(["samples", "metric"])
    assert table.value.to_list() == [0.5, 0.5, 1, 1]
    assert table.loc[(5, "shared"), ["low", "high"]].to_list() == [0, 1]


def a_sweep() -> Sweep:
    """Three heads at each of five settings; the third set differs, the last leaves no choice."""
    same, other = (Head(2, 0), Head(2, 1)), (Head(2, 0), Head(3, 0))
    frequency = np.zeros((5, 4, 2))
    return Sweep(
        np.array([0.0, 0.2, 0.4, 0.6, 0.8]),
        frequency,
        np.array([9, 8, 6, 5, 2]),
        np.full(5, 3),
        (same, same, other, same[::-1], same),
    )


def test_stability_counts_settings_with_a_choice_and_those_in_the_span():
    found = a_sweep().stability([Head(2, 1), Head(2, 0)], (0.2, 0.6))
    assert (found.share, found.share_in_span) == (0.75, pytest.approx(2 / 3))
    assert (found.first, found.last, found.passing) == (0.0, 0.6, (8, 5))
    never = a_sweep().stability([Head(3, 1)], (2.0, 3.0))
    assert (never.share, never.share_in_span, never.first, never.passing) == (0, None, None, None)


def test_sets_of_heads_and_their_scores():
    sweep = a_sweep()
    table = pd.DataFrame(
        {
            "variant": ["L2 H0, L2 H1", "L2 H0, L3 H0"] * 2,
            "metric": ["rec_acc50"] * 2 + ["res_ciou"] * 2,
            "value": [0.5, 0.25, 0.75, 0.125],
        }
    )
    found = sweep.found(table)
    assert found.index.to_list() == ["L2 H0, L2 H1", "L2 H0, L3 H0"]
    assert found.to_numpy().tolist() == [[0, 0.8, 4, 50, 75], [0.4, 0.4, 1, 25, 12.5]]
    curve = sweep.curve(table)
    assert curve[curve.metric == "rec_acc50"].sort_values("setting").value.to_list() == [
        0.5,
        0.5,
        0.25,
        0.5,
        0.5,
    ]


def test_verdicts_after_correction_by_hand():
    gains = pd.DataFrame(
        {
            "variant": ["reference", "a", "b", "c"],
            "metric": "rec_acc50",
            "value": [0.0, 0.1, -0.2, 0.05],
            "low": [0.0, 0.05, -0.3, 0.01],
            "high": [0.0, 0.15, -0.1, 0.09],
            "p": [1.0, 0.01, 0.001, 0.06],
        }
    )
    table = verdicts(gains).loc["rec_acc50"]
    assert table.verdict.to_dict() == {"a": "better", "b": "worse", "c": "no clear difference"}
    assert table.loc["b", ["points", "low", "high"]].to_list() == [-20, -30, -10]
