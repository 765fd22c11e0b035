"""Scores over splits, by hand."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from locheads import paper
from locheads.studies import splits


def table() -> pd.DataFrame:
    rows = [
        ("refcoco", split, heads, metric, value)
        for split, one, other in (("val", 0.8, 0.2), ("testA", 0.6, 0.1))
        for heads, value in (("localization", one), ("random", other))
        for metric in ("rec_acc50", "res_ciou")
    ]
    frame = pd.DataFrame(rows, columns=["dataset", "split", "heads", "metric", "value"])
    return frame.assign(low=frame.value - 0.05, high=frame.value + 0.05)


def test_text_and_bars_hold_the_scores() -> None:
    text = splits.by_metric(table())
    assert text.loc[("rec_acc50", "refcoco", "val"), "random"] == "20.0 [15.0, 25.0]"
    assert [place[2] for place in text.index] == ["val", "testA"] * 2
    assert splits.bars(table(), "res_ciou")["refcoco testA"]["localization"] == pytest.approx(
        (0.6, 0.55, 0.65)
    )
    assert splits.bars(table().query("metric != 'res_ciou'"), "res_ciou") == {}
    assert list(splits.first_bars(table())) == ["localization\nheads", "random\nheads"]


def test_the_papers_numbers_stand_beside_and_others_are_nan() -> None:
    beside = splits.beside_paper(table(), lambda *key: paper.reported(*key).value, "here")
    assert beside.loc[("rec_acc50", "refcoco", "val")].tolist() == [86.5, 80.0]
    own = splits.beside_paper(table(), lambda *_: math.nan, "here")
    assert own.iloc[:, 0].isna().all()


def test_results_are_named_by_split_and_choice() -> None:
    controls = pd.DataFrame({"value": [70.0, 10.0]}, index=["localization", "random"])
    results = splits.summary(table(), controls, np.array([0.9, 0.4]), 100)
    assert results["rec_acc50_refcoco_val"] == 0.8 and results["res_ciou_refcoco_testA_random"] == 0.1
    assert results["ceiling_rec_acc50_refcoco_val"] == 0.5
    assert results["rec_acc50_localization_control"] == 0.7


def test_chance_is_told_with_its_interval() -> None:
    index = pd.MultiIndex.from_product([["m"], ["localization", "random"]])
    controls = pd.DataFrame({"value": [70.0, 10.0], "low": [60, 5], "high": [80.0, 65]}, index=index)
    assert splits.times_chance(controls, "m").endswith("intervals overlap")
