"""Scores and differences by hand, of a few samples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from locheads.evaluation.scores import differences, named, scores


def outcomes_of(**columns: list[tuple[float, int, int]]) -> pd.DataFrame:
    """Box IoU, intersection and union of each variant's samples."""
    return pd.DataFrame(
        [
            {
                "sample_id": number,
                "image_id": f"picture {number}",
                "variant": name,
                "box_iou": iou,
                "intersection": common,
                "union": union,
            }
            for number in range(len(next(iter(columns.values()))))
            for name, rows in columns.items()
            for iou, common, union in [rows[number]]
        ]
    )


def test_scores_by_hand():
    outcomes = outcomes_of(a=[(0.5, 1, 2), (0.4, 3, 10)], b=[(0.6, 2, 2), (0.7, 9, 10)])
    table = scores(outcomes, by=["variant"]).set_index(["variant", "metric"])
    assert table.value.round(6).to_dict() == {
        ("a", "rec_acc50"): 0.5,
        ("a", "res_ciou"): round(4 / 12, 6),
        ("b", "rec_acc50"): 1.0,
        ("b", "res_ciou"): round(11 / 12, 6),
    }
    assert (table.low <= table.value).all() and (table.value <= table.high).all()
    assert table.low["b", "rec_acc50"] == 1


def test_scores_are_saved_with_their_intervals():
    outcomes = outcomes_of(a=[(0.5, 1, 2), (0.4, 3, 10)], b=[(0.6, 2, 2), (0.7, 9, 10)])
    saved = named(scores(outcomes, by=["variant"]), "{metric}_{variant}")
    assert len(saved) == 12 and saved["rec_acc50_a"] == 0.5
    assert saved["res_ciou_b_low"] <= saved["res_ciou_b"] <= saved["res_ciou_b_high"]


def test_draws_are_averaged_within_a_sample():
    outcomes = outcomes_of(a=[(0.5, 1, 2), (0.4, 3, 10)], b=[(0.6, 2, 2), (0.7, 9, 10)])
    outcomes["draw"] = outcomes.pop("variant").map({"a": 0, "b": 1})
    table = scores(outcomes.assign(heads="random"), by=["heads"]).set_index("metric").value
    assert table["rec_acc50"] == pytest.approx(0.75)
    assert table["res_ciou"] == pytest.approx((4 / 12 + 11 / 12) / 2)


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    base = [(float(rng.random()), int(rng.integers(0, 90)), 100) for _ in range(40)]
    better = [(iou, common + 10, union) for iou, common, union in base]
    table = differences(outcomes_of(base=base, better=better), "base").set_index(["variant", "metric"])
    assert (table.loc["base", ["value", "low", "high"]] == 0).all(axis=None)
    assert table.loc[("better", "rec_acc50"), "value"] == 0
    np.testing.assert_allclose(table.loc[("better", "res_ciou"), ["value", "low", "high"]].astype(float), 0.1)


def test_the_mean_iou_is_asked_for_by_name():
    outcomes = outcomes_of(a=[(0.5, 1, 2), (0.4, 3, 10)], b=[(0.6, 2, 2), (0.7, 9, 10)])
    table = scores(outcomes, by=["variant"], metrics=["res_giou"]).set_index("variant")
    assert set(table.metric) == {"res_giou"}
    assert table.value.round(6).to_dict() == {"a": 0.4, "b": 0.95}
    gain = differences(outcomes, "a", metrics=["res_giou"]).set_index("variant")
    assert gain.value["b"] == pytest.approx(0.55) and gain.low["b"] <= 0.55 <= gain.high["b"]
