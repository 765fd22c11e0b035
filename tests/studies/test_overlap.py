"""Overlap of groups of heads, and with rival objects, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up_profile import made_up

from locheads.data.samples import Sample
from locheads.method.selection import Head
from locheads.model.lvlm import Lvlm
from locheads.studies import overlap


def test_means_of_groups_by_hand() -> None:
    iou = np.array([[[0.2, 0.4]], [[0.6, 0.8]]])  # two samples, one layer of two heads
    groups = {"first": np.array([[True, False]]), "both": np.array([[True, True]])}
    table = overlap.group_means(iou, groups, ["p", "p"])
    assert table.loc["first"].tolist() == pytest.approx([1, 40, 40, 40])  # one picture: nothing varies
    assert table.loc["both"].tolist() == pytest.approx([2, 50, 50, 50])


def test_a_head_that_sees_the_rival_is_told_from_one_that_sees_the_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boxes = [(0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 2.0, 1.0), (0.0, 0.0, 1.0, 1.0)]
    samples = [
        Sample(f"s{i}", Path("i.png"), picture, "ring", (2, 1), box=box)
        for i, (picture, box) in enumerate(zip("ppq", boxes, strict=True))
    ]
    covered = {(0.0, 0.0, 1.0, 1.0): [[1.0, 0.0]], (1.0, 0.0, 2.0, 1.0): [[0.0, 1.0]]}
    monkeypatch.setattr(overlap, "coverage_of", lambda lvlm, sample: np.array(covered[sample.box]))
    maps = np.zeros((3, 1, 2, 1, 2))  # sample layer head row column
    for sample, right in enumerate([0, 1, 0]):
        maps[sample, 0, 0, 0, right] = 1.0  # the first head sees what is meant
        maps[sample, 0, 1, 0, 1 - right] = 1.0  # the second the rival
    measured = xr.Dataset({"maps": (("sample", "layer", "head", "row", "column"), maps)})
    table = overlap.rival_iou(object.__new__(Lvlm), samples, measured, [Head(0, 0), Head(0, 1)])
    assert table.loc["L0 H0"].tolist() == [100, 0, 2]
    assert table.loc["L0 H1"].tolist() == [0, 100, 2]


def test_the_best_heads_by_iou_are_those_behind_the_first_layers() -> None:
    profiled = made_up()
    heads = overlap.best_by_iou(profiled, k=4)
    iou = profiled.iou.values.mean(axis=0)
    least = min(iou[head] for head in heads)
    assert len(set(heads)) == 4 and min(head.layer for head in heads) >= 2
    assert (iou[2:] > least).sum() == 3
