from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from locheads.data.samples import Sample
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import Segmenter
from locheads.studies import reasoning


class NoModel(Lvlm):
    """Stands for a model that is not asked."""

    def __init__(self) -> None: ...


class NoSegmenter(Segmenter):
    """Stands for a segmenter that is not asked."""

    def __init__(self) -> None: ...


def query(name: str, text: str, image: str = "p", long: bool = False) -> Sample:
    return Sample(name, Path("x"), image, text, (8, 8), (0.0, 0.0, 4.0, 4.0), is_sentence=long)


def outcome(name: str, split: str, length: str, inter: float, union: float, image: str = "p") -> dict:
    return {
        "sample_id": name, "image_id": image, "split": split, "query": length, "heads": "localization",
        "draw": 0, "box": (0, 0, 4, 4), "box_iou": inter / union, "intersection": inter, "union": union,
    }  # fmt: skip


def test_queries_are_counted_by_length():
    queries = {"val": [query("a", "z", "p", True), query("b", "y", "p", True), query("c", "x")], "test": []}
    table = reasoning.sizes(queries)
    assert table.loc[("val", "long")].tolist() == [2, 1, "y"]
    assert table.loc[("val", "short"), "queries"] == 1


def test_scores_of_short_and_long_queries_and_of_all():
    rows = [outcome("a", "val", "short", 1, 2), outcome("b", "val", "long", 9, 10, "q")]
    table = reasoning.score_table(pd.DataFrame(rows)).set_index(["group", "metric"])
    assert table.value["val short", "res_ciou"] == 0.5 and table.samples["val short", "res_ciou"] == 1
    assert table.value["val all", "res_ciou"] == pytest.approx(10 / 12)
    assert (
        table.value["val all", "res_giou"] == pytest.approx(0.7) and table.samples["val all", "res_giou"] == 2
    )
    assert list(table.index.get_level_values(0).unique()) == ["val short", "val long", "val all"]


def test_the_best_come_before_the_worst_one_per_image(monkeypatch):
    monkeypatch.setattr(Sample, "image", property(lambda self: Image.new("RGB", self.size)))
    names = [("a", "p"), ("b", "q"), ("c", "q"), ("d", "r")]
    samples = [query(name, name, image) for name, image in names]
    rows = [
        outcome(name, "val", "short", inter, 10, image)
        for (name, image), inter in zip(names, (5, 1, 8, 9), strict=True)
    ]
    cases = reasoning.extremes(pd.DataFrame(rows), samples, most=1)
    assert [(case[1], case[4]) for case in cases] == [("d", 0.9), ("b", 0.1)]


def test_plain_words_are_paired_with_their_hints(monkeypatch):
    """The hint is missed, the plain word right; a comparison has no plain words."""
    hint = query("a", "the one that looks like a banana.")
    other = query("b", "the odd one out.", "q")
    rows = [outcome("a", "val", "short", 1, 10), outcome("b", "val", "short", 5, 10, "q")]
    asked: list[str] = []

    def evaluate(lvlm, segmenter, samples, heads):
        asked.extend(one.expression for one in samples)
        again = [outcome(one.sample_id, "val", "short", 9, 10, one.image_id) for one in samples]
        return pd.DataFrame(again).drop(columns=["split", "query"])

    monkeypatch.setattr(reasoning, "evaluate", evaluate)
    found = reasoning.plain_against_hints(NoModel(), NoSegmenter(), [hint, other], pd.DataFrame(rows), ())
    assert asked == ["the crescent"]
    assert found.gain.value["res_ciou"] == pytest.approx(0.8) and found.gain.value["rec_acc50"] == 1
    assert "res_ciou: plain words gain +80.0 points" in str(found)
    assert found.scores.groupby("kind").queries.first().to_dict() == dict.fromkeys(
        (reasoning.HINT, reasoning.OTHER, reasoning.PLAIN), 1
    )
    alone = reasoning.plain_against_hints(NoModel(), NoSegmenter(), [other], pd.DataFrame(rows[1:]), ())
    assert str(alone) == "no query is a hint" and alone.gain.empty


def test_table_3_beside_this_model():
    rows = [outcome("a", "val", "short", 1, 2)]
    table = reasoning.beside_the_paper(reasoning.score_table(pd.DataFrame(rows)), "mine")
    assert table.loc["LLaVA-1.5-7B, paper", ["val", "test"]].tolist() == [52.4, 48.7]
    assert table.loc["mine, cIoU here", "val"] == 50 and np.isnan(table.loc["mine, cIoU here", "test"])
