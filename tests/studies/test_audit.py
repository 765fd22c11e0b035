"""The audit's readings against hand computations, and its effects against naive ones."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from locheads.method.criteria import (
    attention_sum,
    bends,
    curvature_threshold,
    sample_thresholds,
    spatial_entropy,
)
from locheads.method.selection import candidates, select_heads
from locheads.paper.open_choices import CHOICES, Choice
from locheads.studies.audit import (
    ALTERNATIVES,
    DEFAULT,
    PRESETS,
    Reading,
    chosen_by,
    differing,
    heads_of,
    parts_of,
    passing_by_index,
    readings,
    variants_of,
)
from locheads.studies.audit_effects import correlation_differences, listing, ranked

HEADS = ("sample", "layer", "head")


def profile_of(maps: np.ndarray) -> xr.Dataset:
    return xr.Dataset(
        {
            "maps": ((*HEADS, "row", "column"), maps),
            "attention_sum": (HEADS, attention_sum(maps)),
            "spatial_entropy": (HEADS, spatial_entropy(maps)),
        }
    )


@pytest.fixture(scope="module")
def profiled() -> xr.Dataset:
    rng = np.random.default_rng(0)
    maps = rng.random((70, 4, 5, 6, 6)) ** 8
    return profile_of(maps * rng.permutation(0.05 * np.linspace(0.1, 1, 20) ** 2).reshape(4, 5, 1, 1))


def test_the_default_is_the_selection_itself(profiled):
    wanted = {DEFAULT: Reading(kept=4)}
    chosen = chosen_by(profiled, wanted)
    selection = select_heads(profiled.attention_sum.values, profiled.spatial_entropy.values, kept=4)
    np.testing.assert_array_equal(chosen[DEFAULT], selection.chosen)
    assert heads_of(chosen)[DEFAULT] == selection.heads
    assert variants_of(heads_of(chosen), wanted)[DEFAULT].heads == selection.heads


def test_every_criterion_of_a_reading_reaches_the_candidates(profiled):
    sums, maps = profiled.attention_sum.values, profiled.maps.values
    entropies = spatial_entropy(maps, 2.0, 0.001, "mass")
    entropies[maps[..., -1, :].max(axis=-1) > 0.01] = np.inf
    expected = candidates(sums, entropies, sample_thresholds(sums), 4, threshold_on="sample")
    reading = Reading("sample", level=2.0, floor=0.001, weight="mass", bottom_row=0.01, kept=4)
    np.testing.assert_array_equal(chosen_by(profiled, {"a": reading})["a"], expected)
    without = chosen_by(profiled, {"a": Reading(skipped_layers=0, kept=20)})["a"]
    assert without[:, :2].any() and not chosen_by(profiled, {"a": Reading(kept=20)})["a"][:, :2].any()


def test_by_index_the_place_of_the_bend_is_taken_for_a_head():
    sums = np.array([[[0.9, 0.8], [0.0, 0.1]], [[0.0, 0.0], [0.0, 0.9]]])
    # sorted: 0, .1, .8, .9 bends at 1; 0, 0, 0, .9 at 2; averaged 0, .4, .45, .5 at 1: heads from there on
    np.testing.assert_array_equal(
        passing_by_index(sums, "sample").reshape(2, 4), [[0, 1, 1, 1], [0, 0, 1, 1]]
    )
    np.testing.assert_array_equal(passing_by_index(sums, "mean").reshape(2, 4), [[0, 1, 1, 1]] * 2)


def test_by_index_sums_do_not_matter_to_the_candidates():
    profiled = profile_of(np.zeros((3, 2, 2, 2, 2)))
    profiled.attention_sum[:] = np.array([[0.9, 0.8], [0.0, 0.1]])
    profiled.spatial_entropy[:] = 0.0
    profiled.maps[..., 0, 0] = 1.0
    chosen = chosen_by(profiled, {"a": Reading(passing="index", skipped_layers=0)})["a"]
    np.testing.assert_array_equal(chosen.reshape(3, 4), [[0, 1, 1, 1]] * 3)


def test_every_alternative_is_of_an_open_choice_and_every_choice_has_one():
    captured = {Choice.SQUARE, Choice.PROMPT}  # of `locheads.studies.audit_inputs`
    assert all(isinstance(one.choice, Choice) for one in ALTERNATIVES)
    assert {one.choice for one in ALTERNATIVES} == {answers.choice for answers in CHOICES} - captured


def test_names_of_readings_are_unique_and_each_alternative_changes_one_thing():
    assert len(readings()) == len(ALTERNATIVES) + len(PRESETS) + 1
    assert all(1 <= len(differing(one.reading)) <= 2 for one in ALTERNATIVES)
    assert differing(Reading()) == ()


def test_parts_of_the_later_rewrite():
    assert parts_of(PRESETS["later rewrite"]) == [
        "τ computed on: each sample's sums",
        "binarise at: 2 × mean + 0.001",
        "component weight: attention mass",
        "extra filter: bottom row > 0.05 out",
        "box: all cells above the mean",
    ]
    assert "passing heads: by index (the bug)" in parts_of(PRESETS["first release"])


def test_a_reading_without_enough_heads_has_no_variant(profiled):
    wanted = {"a": Reading(bottom_row=-1.0)}
    heads = heads_of(chosen_by(profiled, wanted))
    assert heads == {"a": ()} and variants_of(heads, wanted) == {}


def test_correlation_differences_are_those_of_scipy():
    rng = np.random.default_rng(2)
    chosen = {DEFAULT: rng.random((40, 3, 4)) < 0.5, "b": rng.random((40, 3, 4)) < np.linspace(0, 1, 4)}
    iou = {DEFAULT: rng.random((30, 3, 4)), "b": rng.random((30, 3, 4))}
    table = correlation_differences(chosen, iou, resamples=50).set_index("variant")
    for name in chosen:
        often = chosen[name].mean(0) >= 0.01
        expected = stats.spearmanr(chosen[name].mean(0)[often], iou[name].mean(0)[often]).statistic
        assert table.rho[name] == pytest.approx(expected)
    assert table.value["b"] == pytest.approx(table.rho["b"] - table.rho[DEFAULT])
    assert (table.loc[DEFAULT, ["value", "low", "high"]] == 0).all() and table.low["b"] < table.high["b"]


def test_without_enough_heads_there_is_no_correlation():
    chosen = {DEFAULT: np.zeros((5, 2, 2), bool)}
    table = correlation_differences(chosen, {DEFAULT: np.ones((5, 2, 2))}, resamples=5)
    assert table[["value", "low", "high", "rho"]].isna().all(axis=None)


def test_the_largest_effect_stands_first_whatever_its_sign():
    values = {"a": (0.1, 0.0, 0.0), "b": (0.0, -0.3, 0.0), "c": (0.0, 0.0, 0.2), "d": (0.0, 0.0, np.nan)}
    metrics = ("rec_acc50", "res_ciou", "spearman")
    rows = [
        {"variant": name, "metric": metric, "value": value, "low": value - 0.1, "high": value}
        for name, three in values.items()
        for metric, value in zip(metrics, three, strict=True)
    ]
    effects = pd.DataFrame(rows)
    assert ranked(effects) == ["b", "a", "c", "d"]
    table = listing(effects, ["b", "d"], {"res_ciou": "RES", "spearman": "ρ"})
    assert table.loc["b"].tolist() == ["-0.300 [-0.400, -0.300]", "+0.000 [-0.100, +0.000]"]
    assert table.loc["d", "ρ"] == ""


def test_the_bend_by_curvature_is_where_the_circle_is_smallest():
    sums = np.array([0.0, 0.0, 0.0, 0.5, 1.0])  # x in quarters: the corner is at the third point
    curvature = bends(sums, "curvature")
    a, b, c = np.array([0.25, 0.0]), np.array([0.5, 0.0]), np.array([0.75, 0.5])
    u, v = b - a, c - b
    sides = np.linalg.norm(u) * np.linalg.norm(v) * np.linalg.norm(c - a)
    expected = 2 * abs(u[0] * v[1] - u[1] * v[0]) / sides
    np.testing.assert_allclose(curvature, [0, 0, expected, 0, 0], atol=1e-9)
    assert curvature_threshold(sums, "curvature").index == 2


@pytest.mark.parametrize("connectivity", [4, 8])
def test_logarithms_of_the_entropy(connectivity):
    maps = np.random.default_rng(5).random((4, 3, 7, 7))
    maps[0, 0] = 1.0  # no cell above
    maps[1, 1] = np.pad(np.ones((2, 2)), ((0, 5), (0, 5)))  # one component
    natural = spatial_entropy(maps, connectivity=connectivity)
    np.testing.assert_allclose(
        spatial_entropy(maps, connectivity=connectivity, logarithm="2"), natural / np.log(2)
    )
    normalised = spatial_entropy(maps, connectivity=connectivity, logarithm="normalised")
    assert normalised[0, 0] == np.inf and normalised[1, 1] == 0
    others = np.isfinite(normalised)
    assert (normalised[others] <= 1 + 1e-12).all()
    for place in zip(*np.nonzero(others), strict=True):
        count = naive_count(maps[place] > maps[place].mean(), connectivity)
        expected = natural[place] / np.log(count) if count > 1 else 0.0
        assert normalised[place] == pytest.approx(expected)


def naive_count(mask: np.ndarray, connectivity: int) -> int:
    """Connected components by flood."""
    left, count = {(int(r), int(c)) for r, c in zip(*np.nonzero(mask), strict=True)}, 0
    while left:
        count += 1
        front = [left.pop()]
        while front:
            row, column = front.pop()
            for cell in list(left):
                down, across = abs(cell[0] - row), abs(cell[1] - column)
                if max(down, across) <= 1 and (connectivity == 8 or down + across == 1):
                    left.remove(cell)
                    front.append(cell)
    return count
