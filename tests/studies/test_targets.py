"""Sets of boxes and their scores, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from locheads.data.samples import Sample
from locheads.studies import targets
from locheads.studies.several_objects import Text

A, NEAR_A, B = (0.0, 0.0, 4.0, 4.0), (0.0, 0.0, 4.0, 3.0), (5.0, 5.0, 9.0, 9.0)


def text(name: str, *boxes: tuple[float, float, float, float]) -> Text:
    return Text(name, Sample(name, Path("x"), f"picture-{name}", name, (10, 10)), name, boxes, ())


def test_one_box_for_each_place_that_of_the_highest_score() -> None:
    assert targets.merged([A, NEAR_A, B], [0.5, 0.9, 0.1]) == [NEAR_A, B]
    assert targets.merged([], []) == []


coordinates = st.integers(0, 9)


@given(st.lists(st.tuples(coordinates, coordinates), max_size=6))
def test_merged_boxes_lie_apart(corners: list[tuple[int, int]]) -> None:
    boxes = [(float(x), float(y), x + 4.0, y + 4.0) for x, y in corners]
    kept = targets.merged(boxes, [1.0] * len(boxes))
    ious = targets.iou_matrix(np.array(kept).reshape(-1, 4), np.array(kept).reshape(-1, 4))
    assert (ious[~np.eye(len(kept), dtype=bool)] < targets.SAME).all()
    assert set(kept) <= set(boxes) and bool(kept) == bool(boxes)


def test_boxes_are_matched_one_to_one() -> None:
    assert targets.right_boxes([A, NEAR_A], [A, B]) == 1  # both are at A
    assert targets.right_boxes([NEAR_A, B], [A, B]) == 2
    assert targets.right_boxes([], [A]) == targets.right_boxes([A], []) == 0


def test_areas_by_hand() -> None:
    assert targets.region_iou([NEAR_A], [A], (10, 10)) == 12 / 16
    assert targets.region_iou([A], [A, B], (10, 10)) == 0.5
    assert targets.region_iou([], [], (10, 10)) == 1 and targets.region_iou([], [A], (10, 10)) == 0
    assert targets.region_iou([(-3.0, -3.0, 4.0, 4.0)], [A], (10, 10)) == 1


TEXTS = [text("none"), text("other none"), text("one", A), text("two", A, B)]
FOUND = {"none": [], "other none": [A], "one": [NEAR_A], "two": [A]}


def test_exact_and_region_by_hand() -> None:
    table = targets.outcomes(FOUND, TEXTS)
    assert table.exact.tolist() == [True, False, True, False]
    assert table.region.tolist() == [1, 0, 0.75, 0.5]
    assert targets.outcomes({**FOUND, "one": [NEAR_A, B]}, TEXTS).exact[2] == False  # noqa: E712
    rates = targets.by_targets({"mine": table}, "exact").set_index("group")
    assert rates.value.to_dict() == {"no target": 0.5, "one target": 1, "two targets": 0, "all": 0.5}
    assert rates.samples["no target"] == 2 and rates.low["no target"] == 0 and rates.high["no target"] == 1


def word_table() -> pd.DataFrame:
    rows = [("one", A, 0.9), ("one", B, 0.2), ("two", A, 0.8), ("two", B, 0.7), ("none", B, 0.5)]
    return pd.DataFrame(rows, columns=["text", "box", "s"])


def test_boxes_of_named_words_by_text() -> None:
    words = word_table()
    found = targets.targets_of(words, words.s >= 0.7, "s", TEXTS)
    assert found == {"none": [], "other none": [], "one": [A], "two": [A, B]}


def test_the_threshold_at_which_most_texts_are_exact() -> None:
    at = targets.best_exact_threshold(word_table(), "s", TEXTS, steps=5)
    assert at == pytest.approx(0.7)  # all four are exact; 0.8 loses the second of two, 0.5 boxes none
