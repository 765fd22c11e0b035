"""Models side by side: ρ of the very pairs, depth and shared misses by hand, and what is no profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from made_up_profile import made_up
from scipy.stats import spearmanr

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.method.selection import Head
from locheads.studies.across_models import (
    NAMED_DEPTHS,
    compared,
    correlations,
    layer_shares,
    overrated,
    overview,
    sameness,
    shared_misses,
)


def test_rho_is_that_of_frequency_and_iou_of_the_heads_chosen_often() -> None:
    profiled = made_up()
    held_out = made_up().assign(iou=made_up().iou ** 2)
    one = compared("made-up", profiled, held_out, least_frequency=0.1)
    frequency, iou = one.selection.frequency, held_out.iou.values.mean(axis=0)
    often = frequency >= 0.1
    assert 3 < often.sum() < often.size
    assert set(one.often) == {Head(int(layer), int(head)) for layer, head in np.argwhere(often)}
    assert one.correlation.rho == pytest.approx(spearmanr(frequency[often], iou[often]).statistic)
    assert one.correlation.n == often.sum()
    np.testing.assert_array_equal(one.iou, iou)


def test_the_selection_does_not_know_the_overlap() -> None:
    profiled = made_up()
    other = profiled.assign(iou=profiled.iou * 0 + 0.5)
    assert compared("a", profiled, profiled).selection.heads == compared("b", other, other).selection.heads
    assert compared("b", other, other).selection.frequency == pytest.approx(
        compared("a", profiled, profiled).selection.frequency
    )


def test_a_constant_overlap_leaves_rho_undefined_and_says_so() -> None:
    flat = made_up()
    row = correlations([compared("flat", flat, flat.assign(iou=flat.iou * 0 + 0.5))])[0]
    assert row["rho"] is None and row["low"] is None
    assert row["model"] == "flat"


def test_a_profile_without_masks_is_refused_by_name() -> None:
    bare = made_up()
    with pytest.raises(LocheadsError, match=r"bare: .*without masks"):
        compared("bare", bare, bare.assign(iou=bare.iou * np.nan))


def test_overview_names_size_and_heads() -> None:
    one = compared("made-up", made_up(), made_up(), k=2)
    row = overview([one]).loc["made-up"]
    first = one.selection.heads[0]
    assert row["layers × heads"] == "8 × 8"
    assert row["heads found"].startswith(f"{first} ({one.selection.frequency[first]:.0%})")
    assert row["heads found"].count("(") == 2
    assert row["heads that pass"] == one.selection.passing.sum()


def test_layer_shares_by_hand() -> None:
    frequency = np.array([[0.0, 0.0], [0.3, 0.1], [0.2, 0.4]])
    assert layer_shares(frequency) == pytest.approx([0.0, 0.4, 0.6])
    with pytest.raises(ValueError, match="ever chosen"):
        layer_shares(np.zeros((2, 2)))


def test_the_papers_heads_lie_at_their_depth() -> None:
    assert NAMED_DEPTHS["LLaVA-1.5-7B"] == pytest.approx([14 / 31] * 3)
    assert NAMED_DEPTHS["LLaVA-1.5-13B"] == pytest.approx([15 / 39, 16 / 39, 7 / 39])


def test_shared_misses_by_hand() -> None:
    row = shared_misses({"a": np.array([1.0, 1, 0, 0]), "b": np.array([1.0, 0, 0, 0])}, np.arange(4)).iloc[0]
    assert (row["first"], row["second"]) == ("a", "b")
    assert (row.both, row.one, row.neither) == (0.25, 0.25, 0.5)
    assert row.by_chance == pytest.approx(0.5 * 0.75)
    # phi of the fourfold table: (1*2 - 1*0) / sqrt(2*2 * 1*3)
    assert row.phi == pytest.approx(2 / np.sqrt(12))


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=2, max_size=30))
def test_shares_of_two_models_sum_to_one_and_agree_when_swapped(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array(pairs, float).T
    row, swapped = (
        shared_misses({"a": a, "b": b}, np.arange(len(a))).iloc[0],
        shared_misses({"b": b, "a": a}, np.arange(len(a))).iloc[0],
    )
    assert row.both + row.one + row.neither == pytest.approx(1)
    shares = ["both", "one", "neither", "by_chance", "phi"]
    np.testing.assert_allclose(row[shares].astype(float), swapped[shares].astype(float))


def test_one_model_alone_has_nothing_to_compare() -> None:
    table = shared_misses({"a": np.array([1.0, 0.0])}, np.arange(2))
    assert table.empty and "phi" in table


def seen(image: str, box: tuple[float, float, float, float] | None) -> Sample:
    return Sample(f"{image}{box}", Path("x.png"), image, "it", (8, 8), box=box)


def with_maps(maps: np.ndarray) -> xr.Dataset:
    dimensions = ("sample", "layer", "head", "row", "column")
    return xr.Dataset({"maps": (dimensions, maps), "iou": (dimensions[:3], maps[..., 0, 0])})


def test_a_head_that_does_not_listen_is_the_same_and_one_that_does_is_not() -> None:
    left, right, box, other = np.eye(4)[0], np.eye(4)[1], (0.0, 0.0, 1.0, 1.0), (1.0, 1.0, 2.0, 2.0)
    # one layer: the first head looks left whatever is asked, the second looks where it is told
    maps = np.array([[left, left], [left, right], [right, left], [right, left]]).reshape(4, 1, 2, 2, 2)
    samples = [seen("a", box), seen("a", other), seen("b", box), seen("b", box)]
    found = sameness(with_maps(maps), samples)
    # only the two expressions of picture a count; two different unit vectors of four correlate by -1/3
    np.testing.assert_allclose(found, [[1.0, -1 / 3]])


def test_sameness_is_numpys_correlation_averaged_over_pairs() -> None:
    maps = np.random.default_rng(0).random((5, 3, 2, 4, 4)).astype(np.float32)
    samples = [seen("a" if i < 3 else "b", (float(i), 0.0, 9.0, 9.0)) for i in range(5)]
    found, flat = sameness(with_maps(maps), samples), maps.reshape(5, 3, 2, 16)
    for layer, head in np.ndindex(3, 2):
        each = [np.corrcoef(flat[[a, b], layer, head])[0, 1] for a, b in ((0, 1), (0, 2), (1, 2), (3, 4))]
        assert found[layer, head] == pytest.approx(np.mean(each), abs=1e-6)


def test_sameness_is_undefined_without_two_objects_of_a_picture_or_for_uniform_maps() -> None:
    box, other = (0.0, 0.0, 1.0, 1.0), (1.0, 1.0, 2.0, 2.0)
    uniform = with_maps(np.full((2, 1, 1, 2, 2), 0.25))
    assert np.isnan(sameness(uniform, [seen("a", box), seen("b", other)])).all()
    assert np.isnan(sameness(uniform, [seen("a", box), seen("a", other)])).all()


def test_the_head_of_most_choices_and_least_overlap_is_overrated() -> None:
    one = compared("made-up", made_up(), made_up())
    iou = one.selection.frequency.copy()  # overlap as frequency would have it
    wrong = one.selection.heads[0]
    iou[wrong] = -1.0
    assert overrated(replace(one, iou=iou), most=1) == (wrong,)
