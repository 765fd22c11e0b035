from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_up_profile import noise, planted, profile_of

from locheads.evaluation.evaluate import Variant
from locheads.method.criteria import curvature_threshold
from locheads.method.selection import Head, greedy_heads, select_heads
from locheads.studies.criteria import (
    CRITERIA,
    beside_table5,
    comparisons,
    criteria_variants,
    fixed_heads,
    reach_of,
)

HEADS = ("sample", "layer", "head")


def test_the_six_ways_of_table_5():
    profiled, held_out = noise(1), noise(2, samples=7)
    sums, entropies = profiled.attention_sum.values, profiled.spatial_entropy.values
    tau = curvature_threshold(sums.mean(0)).value
    variants = criteria_variants(profiled, held_out, k=2, kept=4, seed=3)
    assert set(variants) == {f"{how}_{use}" for how in ("fixed", "greedy") for use in CRITERIA}
    assert variants["fixed_both"].heads == select_heads(sums, entropies, k=2, kept=4, seed=3).heads
    for use in CRITERIA:
        own = greedy_heads(held_out.attention_sum.values, held_out.spatial_entropy.values, tau, 2, use=use)
        np.testing.assert_array_equal(variants[f"greedy_{use}"].heads, own)


def test_each_criterion_alone_does_not_see_the_other():
    held_out = noise(2)
    scattered = held_out.copy()
    scattered["spatial_entropy"] = 5 - held_out.spatial_entropy
    same = [criteria_variants(one, one)["fixed_attention_sum"].heads for one in (held_out, scattered)]
    assert same[0] == same[1]
    closed = planted()  # the three heads of lowest entropy look away from the image
    closed.attention_sum[:, 3, 5:] = 0.0
    variants = criteria_variants(closed, closed)
    assert set(variants["fixed_entropy"].heads) == {(3, 5), (3, 6), (3, 7)}
    assert not set(variants["fixed_both"].heads) & {(3, 5), (3, 6), (3, 7)}


def three_ways() -> dict[str, Variant]:
    """Two layers of two heads behind two that are left out: one head by each criterion, one by both."""
    greedy = np.array([[[3, 1]], [[2, 0]]])
    fixed = {"attention_sum": Head(2, 0), "entropy": Head(3, 0), "both": Head(3, 1)}
    return {f"fixed_{use}": Variant((head,)) for use, head in fixed.items()} | {
        "greedy_both": Variant(greedy)
    }


def test_fixed_heads_with_their_means_by_hand():
    sums, ious = np.zeros((2, 4, 2)), np.zeros((2, 4, 2))
    sums[:, 2, 0], ious[:, 3, 1] = [0.5, 0.75], [0.2, 0.4]
    profiled = profile_of(sums, np.zeros_like(sums)).assign(iou=(HEADS, ious))
    table = fixed_heads(three_ways(), profiled, profiled)
    ways = [("attention sum", "L2 H0"), ("entropy", "L3 H0"), ("both", "L3 H1")]
    assert table.index.to_list() == ways
    assert table["attention sum"].to_list() == [0.625, 0, 0]
    assert table["IoU [%]"].to_list() == pytest.approx([0, 0, 30])


def test_the_reach_of_both_criteria_by_hand():
    sums, entropies = np.full((2, 4, 2), 0.4), np.ones((2, 4, 2))
    sums[:, 3] = 0.9
    entropies[0, 3] = 0  # both passing heads tie at zero in the first sample, one in the second
    entropies[1, 3, 1] = entropies[1, 2, 0] = 0
    passing = np.zeros((4, 2), bool)
    passing[3] = True
    reach = reach_of(three_ways(), profile_of(sums, entropies), passing)
    assert (reach.heads, reach.passing, reach.attentive) == (4, 2, 0.5)
    assert (reach.at_zero, reach.tied, reach.same) == (1.5, 0.5, 0.5)


def test_table_5_beside_a_model():
    names = [f"{how}_{use}" for how in ("fixed", "greedy") for use in CRITERIA]
    rows = [(name, metric, 0.1 * i) for i, name in enumerate(names) for metric in ("rec_acc50", "res_ciou")]
    beside = beside_table5(pd.DataFrame(rows, columns=["variant", "metric", "value"]), "toy")
    assert beside.columns[2] == "toy REC [%]"
    assert beside.loc["fixed, both"].to_list() == pytest.approx([87.2, 76.1, 20, 20])
    assert beside.loc["greedy, entropy"].to_list() == pytest.approx([29.8, 21.5, 40, 40])
    points = comparisons(beside)
    assert points.loc["fixed, both - entropy alone"].to_list() == pytest.approx([55.9, 10])
    assert points.loc["both, fixed - greedy"].to_list() == pytest.approx([19.8, -30])
