from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from locheads.data.samples import Sample
from locheads.method.selection import Head
from locheads.model.loading import load_lvlm
from locheads.studies import own_answer
from locheads.studies.own_answer import (
    BEST,
    HEADS,
    OWN,
    Answers,
    apart,
    beside_table6,
    box_scores,
    regions_of,
)

BOXES = {"top left": (0.0, 0.0, 40.0, 40.0), "middle": (40.0, 40.0, 60.0, 60.0)}


def answers(said: list[str | None], looked: list[str], true: list[str], images: str = "abcd") -> Answers:
    """Boxes that are regions of a picture of 100 × 100 pixels, by name."""
    samples = [
        Sample(str(i), Path("unread.png"), images[i], f"thing {i}", (100, 100), BOXES[name])
        for i, name in enumerate(true)
    ]
    return Answers(
        samples,
        [str(name) for name in said],
        np.array([name is not None for name in said]),
        np.array([BOXES[name] if name else (0, 0, 0, 0) for name in said], float),
        np.array([BOXES[name] for name in looked], float),
        np.array([BOXES[name] for name in true], float),
        np.full((len(true), 2), 100.0),
    )


MIXED = answers(
    said=["top left", None, "middle", "middle"],
    looked=["top left", "middle", "top left", "middle"],
    true=["top left", "middle", "middle", "top left"],
)


def test_boxes_of_answers_heads_and_the_best_region():
    ious = MIXED.ious(places=True)
    assert {name: values.tolist() for name, values in ious.items()} == {
        OWN: [1, 0, 1, 0],
        HEADS: [1, 1, 0, 0],
        BEST: [1, 1, 1, 1],
    }
    assert BEST not in MIXED.ious(places=False)
    scores = box_scores(MIXED, places=True)
    assert scores["Acc@0.5"].to_dict() == {HEADS: 0.5, OWN: 0.5, BEST: 1}
    saved = own_answer.named(scores)
    assert len(saved) == 9 and saved["rec_acc50_own_text"] == 0.5 and saved["rec_acc50_nine_regions_low"] == 1
    assert scores.loc[BEST, ["low", "high", "median IoU"]].to_list() == [1, 1, 1]


def test_regions_by_hand():
    regions = regions_of(MIXED)
    assert regions.said.tolist() == [True, False, True, False]
    assert regions.looked.tolist() == [True, True, False, False]
    assert (regions.gap, regions.commonest) == (0, 0.5)
    assert regions.ahead == "neither, beyond the choice of samples"
    assert regions.table.to_numpy().tolist() == [[1, 1], [1, 1]]


def test_heads_that_are_always_right_are_ahead():
    ahead = regions_of(answers([None] * 4, ["middle"] * 4, ["middle"] * 4))
    assert ahead.ahead == HEADS and ahead.gap == 1


def test_no_picture_is_shown_twice_and_no_answer_without_a_box(monkeypatch):
    monkeypatch.setattr(Sample, "image", property(lambda sample: Image.new("RGB", sample.size)))
    said, looked = ["top left", "top left", None, "middle"], ["middle", "middle", "middle", "top left"]
    some = answers(said, looked, ["middle"] * 4, images="aabc")
    cases = apart(some, regions_of(some))
    assert [case[1] for case in cases] == ["thing 0 → top left", "thing 3 → middle"]


def test_an_answer_is_read_and_grounded(monkeypatch):
    sample = Sample("0", Path("unread.png"), "a", "thing", (100, 100), BOXES["top left"])
    maps = np.zeros((1, 1, 24, 24), np.float32)
    maps[0, 0, :10, :10] = 1
    monkeypatch.setattr(own_answer, "maps_of", lambda *_: iter([maps, maps]))
    texts = ["at the top left", "no idea"]
    found = own_answer.answers_of(load_lvlm(), [sample] * 2, texts, (Head(0, 0),), "place")
    assert found.answered.tolist() == [True, False]
    assert found.said.tolist() == [[0, 0, 40, 40], [0, 0, 0, 0]]
    assert found.looked[0, 0] == 0 and 40 <= found.looked[0, 2] <= 60


def test_table_6_beside_a_model():
    boxes = pd.DataFrame({"Acc@0.5": [0.25, 0.75]}, index=[OWN, HEADS])
    beside = beside_table6(boxes, regions_of(MIXED), "toy")
    assert beside.loc["LLaVA-1.5-7B, paper"].to_list() == pytest.approx([2.92, 82.3])
    assert beside.loc["toy, box"].to_list() == [25, 75] and beside.loc["toy, region"].to_list() == [50, 50]
