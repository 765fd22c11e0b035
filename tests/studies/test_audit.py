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
from locheads.method.releases import lowest_entropies, passing_by_number
from locheads.method.selection import candidates, greedy_heads, select_heads
from locheads.paper.open_choices import CHOICES, Choice
from locheads.studies.audit import chosen_by, greedy_of, heads_of, variants_of
from locheads.studies.audit_effects import (
    comparisons,
    correlation_differences,
    cost_of_greed,
    found_heads,
    in_points,
    listing,
    ranked,
    released,
    saved,
    wholes_and_parts,
    without_effect,
)
from locheads.studies.audit_readings import (
    ALTERNATIVES,
    AS_SHIPPED,
    CRITERIA_ONLY,
    DEFAULT,
    PRESETS,
    Reading,
    differing,
    parts_of,
    readings,
)

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


def test_greedy_readings_take_the_heads_of_each_sample_and_have_no_candidates(profiled):
    sums, maps = profiled.attention_sum.values, profiled.maps.values
    wanted = {DEFAULT: Reading(), "own": Reading(greedy=3), "first": AS_SHIPPED[next(iter(AS_SHIPPED))]}
    assert list(chosen_by(profiled, wanted)) == [DEFAULT]
    found = greedy_of(profiled, wanted)
    tau = curvature_threshold(sums.mean(axis=0)).value
    np.testing.assert_array_equal(found["own"], greedy_heads(sums, spatial_entropy(maps), tau, 3))
    entropies = spatial_entropy(maps, 1.0, 0.001, "mass")
    eligible = passing_by_number(sums) & np.isfinite(entropies)
    np.testing.assert_array_equal(found["first"], lowest_entropies(entropies, eligible, 5))
    variants = variants_of(heads_of(chosen_by(profiled, wanted)) | found, wanted)
    assert variants["own"].heads.shape == (70, 3, 2) and len(variants[DEFAULT].heads) == 3


def test_by_number_sums_do_not_matter_to_the_candidates():
    profiled = profile_of(np.zeros((3, 2, 2, 2, 2)))
    profiled.attention_sum[:] = np.array([[0.9, 0.8], [0.0, 0.1]])  # bends at 0.1, which is head 3
    profiled.maps[..., 0, 0] = 1.0
    reading = Reading("sample", passing="number", skipped_layers=0)
    np.testing.assert_array_equal(chosen_by(profiled, {"a": reading})["a"].reshape(3, 4), [[0, 0, 0, 1]] * 3)


def test_one_head_is_kept_where_none_is_left():
    profiled = profile_of(np.zeros((1, 3, 2, 2, 2)))
    profiled.attention_sum[:] = [[[0.1, 0.5], [0.2, 0.9], [0.3, 0.4]]]
    profiled.maps[0, :, :, 0, 0] = 1.0
    profiled.maps[0, 1, 1, 1, 0] = profiled.maps[0, 2, :, 1, 0] = 0.1  # bottom rows
    reading = Reading("sample", bottom_row=0.05, min_keep=True, greedy=5)
    heads = greedy_of(profiled, {"a": reading})["a"]
    np.testing.assert_array_equal(heads, [[[0, 1]] + [[-1, -1]] * 4])  # of all without such a row, any layer


def test_every_alternative_is_of_an_open_choice_and_every_choice_has_one():
    captured = {Choice.SQUARE, Choice.PROMPT, Choice.QUERY}  # of `locheads.studies.audit_inputs`
    assert all(isinstance(one.choice, Choice) for one in ALTERNATIVES)
    assert {one.choice for one in ALTERNATIVES} == {answers.choice for answers in CHOICES} - captured


def test_names_of_readings_are_unique_and_each_alternative_changes_one_thing():
    assert len(readings()) == len(ALTERNATIVES) + len(PRESETS) + 1
    assert all(1 <= len(differing(one.reading)) <= 2 for one in ALTERNATIVES)
    assert differing(Reading()) == ()


def test_the_releases_are_greedy_as_shipped_and_fixed_by_their_criteria_alone():
    assert {name: reading.greedy for name, reading in PRESETS.items()} == {
        "first release, as shipped: greedy, five": 5,
        "first release, as shipped: greedy, three": 3,
        "later rewrite, as shipped: greedy, five": 5,
        "later rewrite, as shipped: greedy, three": 3,
        "first release, only its criteria: heads fixed": None,
        "later rewrite, only its criteria: heads fixed": None,
    }


def test_parts_of_the_releases_criteria():
    first, later = (parts_of(reading) for reading in CRITERIA_ONLY.values())
    assert first == [
        "passing heads: by number, in each sample (the bug)",
        "no component: 0 (by mass, mean + 0.001)",
        "extra filter: none, all layers in",
        "IoU behind ρ: upscaled to the picture",
    ]
    assert later == [
        "τ computed on: each sample's sums",
        "binarise at: 2 × mean + 0.001",
        "no component: 0 (by mass, mean + 0.001)",
        "extra filter: bottom row > 0.05 out, one kept",
        "smoothing: 9 taps, reflecting",
        "box: all cells above the mean",
        "box to pixels: whole pixels",
    ]


def test_a_reading_without_enough_heads_has_no_variant(profiled):
    wanted = {"a": Reading(bottom_row=-1.0)}
    heads = heads_of(chosen_by(profiled, wanted))
    assert heads == {"a": ()} and variants_of(heads, wanted) == {}


def test_correlation_differences_are_those_of_scipy():
    rng = np.random.default_rng(2)
    chosen = {DEFAULT: rng.random((40, 3, 4)) < 0.5, "b": rng.random((40, 3, 4)) < np.linspace(0, 1, 4)}
    iou = {DEFAULT: rng.random((30, 3, 4)), "b": rng.random((30, 3, 4))}
    pictures = (np.arange(40) // 2, np.arange(30))
    table = correlation_differences(chosen, iou, pictures, resamples=50).set_index("variant")
    for name in chosen:
        often = chosen[name].mean(0) >= 0.01
        expected = stats.spearmanr(chosen[name].mean(0)[often], iou[name].mean(0)[often]).statistic
        assert table.rho[name] == pytest.approx(expected)
    assert table.value["b"] == pytest.approx(table.rho["b"] - table.rho[DEFAULT])
    assert (table.loc[DEFAULT, ["value", "low", "high"]] == 0).all() and table.low["b"] < table.high["b"]


def test_without_enough_heads_there_is_no_correlation():
    chosen = {DEFAULT: np.zeros((5, 2, 2), bool)}
    table = correlation_differences(
        chosen, {DEFAULT: np.ones((5, 2, 2))}, (np.arange(5), np.arange(5)), resamples=5
    )
    assert table[["value", "low", "high", "rho"]].isna().all(axis=None)


@pytest.fixture
def effects() -> pd.DataFrame:
    values = {
        "a": (0.1, 0.0, 0.0), "b": (0.0, -0.3, 0.0), "c": (0.0, 0.0, 0.2), "d": (0.0, 0.0, np.nan),
        "e": (0.0, 0.0, 0.0),
    }  # fmt: skip
    rows = [
        {"variant": name, "metric": metric, "value": value, "low": value / 2, "high": 2 * value,
         "p": np.nan if np.isnan(value) else 0.001 if value == -0.3 else 0.04 if value else 1.0}
        for name, three in values.items()
        for metric, value in zip(("rec_acc50", "res_ciou", "spearman"), three, strict=True)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_largest_effect_stands_first_whatever_its_sign(effects):
    assert ranked(effects) == ["b", "a", "c", "d", "e"]


def test_scores_are_listed_in_points_with_a_star_where_they_survive(effects):
    table = listing(effects, ["b", "d", "a", "c"])
    assert table.loc["b"].tolist() == ["0", "-30.0 [-15.0, -60.0] *", "0"]
    assert table.loc["d"].tolist() == ["0", "0", ""]
    assert table.loc["a"].iloc[0] == "+10.0 [+5.0, +20.0]"  # p = 0.04 among five comparisons
    assert table.loc["c"].iloc[2] == "+0.200 [+0.100, +0.400]"
    assert in_points(effects).value.tolist()[:6] == pytest.approx([10, 0, 0, 0, -30, 0])


def test_what_moves_nothing_is_named_and_no_comparison(effects):
    assert without_effect(effects) == ["d", "e"]
    table = comparisons(effects)
    assert table.comparisons.tolist() == [3, 3, 3]
    assert table["expected by chance"].tolist() == pytest.approx([0.15] * 3)
    assert table["interval without 0"].tolist() == [1, 1, 1]
    assert table["survive Holm's correction"].tolist() == [0, 1, 0]


def test_the_releases_stand_under_the_papers_reading():
    names = [DEFAULT, *CRITERIA_ONLY, *AS_SHIPPED]
    rows = [
        {"variant": name, "metric": metric, "value": 0.31, "low": 0.25, "high": 0.375}
        for name in names for metric in ("rec_acc50", "res_ciou")
    ]  # fmt: skip
    table = released(pd.DataFrame(rows))
    assert list(table.index) == [DEFAULT, *AS_SHIPPED, *CRITERIA_ONLY]
    assert table.loc[DEFAULT].tolist() == ["31.0 [25.0, 37.5]"] * 2


def test_greedy_selection_costs_the_difference_within_a_release():
    values = {DEFAULT: 0.8, **dict.fromkeys(AS_SHIPPED, 0.25), **dict.fromkeys(CRITERIA_ONLY, 0.6)}
    rows = [{"variant": name, "metric": "rec_acc50", "value": value} for name, value in values.items()]
    table = cost_of_greed(pd.DataFrame(rows))
    assert list(table.index) == list(AS_SHIPPED)
    np.testing.assert_allclose(table.to_numpy(), [[25, 60, 80, 35]] * 4)


def test_saved_scores_name_what_is_shipped_and_what_is_not(effects):
    names = [DEFAULT, *AS_SHIPPED, *CRITERIA_ONLY]
    rows = [{"variant": name, "metric": "rec_acc50", "value": n / 10} for n, name in enumerate(names)]
    assert saved(pd.DataFrame(rows), effects, np.nan)["spearman_default"] is None
    numbers = saved(pd.DataFrame(rows), effects, 0.7)
    records = numbers.pop("effects")
    assert numbers == {
        "rec_acc50_default": 0.0,
        "rec_acc50_first_release_as_shipped_five": 0.1,
        "rec_acc50_first_release_as_shipped_three": 0.2,
        "rec_acc50_later_rewrite_as_shipped_five": 0.3,
        "rec_acc50_later_rewrite_as_shipped_three": 0.4,
        "rec_acc50_first_release_criteria": 0.5,
        "rec_acc50_later_rewrite_criteria": 0.6,
        "spearman_default": 0.7,
    }
    missing = [one for one in records if one["variant"] == "d" and one["metric"] == "spearman"]
    assert len(records) == 15 and missing[0]["value"] is None


def test_found_heads_lists_only_readings_that_move_candidates():
    same = np.array([[[True, True, False]]] * 4)
    other = np.array([[[True, False, True]]] * 4)
    chosen = {DEFAULT: same, "a": same, "b": other}
    wanted = {DEFAULT: Reading(), "a": Reading(kept=5), "b": Reading(level=2.0, kept=5)}
    table = found_heads(chosen, heads_of(chosen, k=2), wanted)
    assert list(table.index) == [DEFAULT, "b"] and table.loc["b", "parameters"] == "level, kept"
    assert table["candidates in common [%]"].tolist() == [100, 33]
    assert table.heads.tolist() == ["L0 H0, L0 H1", "L0 H0, L0 H2"]


def test_the_whole_of_a_release_stands_beside_the_sum_of_its_parts():
    names = [*CRITERIA_ONLY, *(one.name for one in ALTERNATIVES)]
    rows = [
        {"variant": name, "metric": metric, "value": 1.0}
        for name in names for metric in ("rec_acc50", "res_ciou", "spearman")
    ]  # fmt: skip
    table = wholes_and_parts(pd.DataFrame(rows))
    assert table.to_numpy().tolist() == [[1.0] * 3, [4.0] * 3, [1.0] * 3, [7.0] * 3]


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
