"""A list of one's own is its own data set, and is measured on what it has."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locheads.data import read_samples
from locheads.errors import LocheadsError
from locheads.evaluation.evaluate import evaluate
from locheads.evaluation.scores import scores
from locheads.method.selection import Head
from locheads.model.loading import load_lvlm
from locheads.model.segmenter import load_segmenter
from locheads.run.dry_run import plan
from locheads.run.own_list import own_list, splits_of
from locheads.run.study import Study

PAPERS = {"refcoco": ("val", "testA", "testB"), "refcocog": ("val", "test")}
BOX = {"image": "a.png", "expression": "the ring", "box": [0, 0, 4, 4]}


def listed(folder: Path, *lines: dict[str, object]) -> Path:
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_lines_without_data_set_and_split_are_one_data_set(tmp_path: Path) -> None:
    path = listed(tmp_path, BOX, {**BOX, "mask": [[0, 0, 4, 0, 4, 4]]}, BOX)
    assert splits_of(path, PAPERS) == {"mine": ("all",)}
    assert str(own_list(path)) == (
        "mine.jsonl: 3 expressions of mine all, one data set of your own: shown without the paper's values, "
        "its heads chosen on itself; 2 without a mask: REC is measured, RES left out"
    )


def test_named_lines_are_what_they_name(tmp_path: Path) -> None:
    lines = [{**BOX, "dataset": "refcoco", "split": split} for split in ("train", "val", "val")]
    path = listed(tmp_path, *lines, {**BOX, "dataset": "birds", "split": "train"})
    assert splits_of(path, PAPERS) == {"refcoco": ("val",), "birds": ("train",)}
    assert "of your own" not in str(own_list(path))


def test_what_is_no_list_is_the_papers() -> None:
    assert splits_of("specimen", PAPERS) == splits_of("/data/refer", PAPERS) == PAPERS
    assert own_list("jxu124") is None


@pytest.mark.parametrize("name", ["dataset", "split"])
def test_a_list_that_names_a_part_is_refused(tmp_path: Path, name: str) -> None:
    path = listed(tmp_path, BOX, BOX, {**BOX, name: "x"})
    with pytest.raises(LocheadsError, match=r"mine\.jsonl, line 3: only some lines name a (data set|split)"):
        own_list(path)


def test_a_dry_run_says_what_the_list_lacks(tmp_path: Path) -> None:
    listed(tmp_path, BOX, BOX)
    defaults = {"model": "specimen", "data": "specimen", "samples": 500, "held_out": 100}
    told = plan({"03_x": defaults}, {"data": "mine.jsonl"}, tmp_path)
    assert "2 without a mask: REC is measured, RES left out" in told
    assert "500 expressions profiled, 2 other forward passes, 0 pictures for SAM" in told


def test_a_study_has_no_paper_value_for_a_data_set_of_ones_own(tmp_path: Path) -> None:
    path = listed(tmp_path, BOX)
    study = Study("03_x", {"data": str(path), "seed": 0}, load_lvlm("specimen"))
    assert study.splits(PAPERS) == {"mine": ("all",)}
    assert study.reported("rec", "LLaVA-1.5-7B", "refcoco", "val") == 86.5
    assert math.isnan(study.reported("rec", "LLaVA-1.5-7B", "mine", "all"))


def test_boxes_alone_give_rec_and_the_same_as_with_masks() -> None:
    some = read_samples("specimen", "refcoco", "val", limit=4)
    lvlm, sam = load_lvlm("specimen"), load_segmenter("specimen")
    tables = []
    for samples in (some, [replace(one, segmentation=None) for one in some]):
        outcomes = evaluate(lvlm, sam, samples, (Head(4, 2), Head(3, 1))).assign(dataset="mine", split="all")
        tables.append(scores(outcomes))
    assert tables[0].metric.tolist() == ["rec_acc50", "res_ciou"]
    pd.testing.assert_frame_equal(tables[0][:1], tables[1])
    mixed = evaluate(lvlm, sam, [some[0], replace(some[1], segmentation=None)], (Head(4, 2),))
    assert np.isnan(mixed.union).tolist() == [False, True]
