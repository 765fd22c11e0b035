"""Texts of none, one and two objects, and scores of words taken for names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locheads.data import Annotated, annotated_of, read_samples
from locheads.data.samples import Sample
from locheads.errors import NothingToMeasure
from locheads.method.selection import Head
from locheads.model.loading import load_lvlm
from locheads.studies import several_objects as several

BOX, OTHER = (0.0, 0.0, 4.0, 4.0), (5.0, 5.0, 9.0, 9.0)
OBJECTS = {
    "one": [Annotated(BOX, "ring", False), Annotated(OTHER, "dining table", False)],
    "two": [Annotated(BOX, "cross", False)],
}


def sample(image: str, text: str, box: tuple[float, float, float, float] = BOX) -> Sample:
    return Sample(f"{image}-{text}", Path("x"), image, text, (10, 10), box)


SAMPLES = [sample("one", "the Ring."), sample("one", "dining table", OTHER), sample("two", "left cross.")]


def test_three_texts_for_a_picture_with_two_named_objects() -> None:
    both, single, none = several.texts_of(SAMPLES, OBJECTS, 5)
    assert both.text in ("the Ring and dining table", "dining table and the Ring")
    assert both.phrases == tuple(both.text.split(" and ")) and set(both.boxes) == {BOX, OTHER}
    assert (single.text, single.boxes) == (both.phrases[0], both.boxes[:1])
    assert (none.text, none.boxes) == ("left cross", ())
    assert {one.sample.image_id for one in (both, single, none)} == {"one"}
    with pytest.raises(NothingToMeasure, match="no picture has two objects"):
        several.texts_of(SAMPLES[:1], OBJECTS, 5)
    assert several.categories_of(OBJECTS) == {"ring", "table", "cross"}


def test_what_a_text_of_the_scenes_names_is_there_and_what_it_does_not_is_not() -> None:
    objects = annotated_of("specimen", "refcoco+")
    texts = several.texts_of(read_samples("specimen", "refcoco+", "val"), objects, 8)
    assert len(texts) == 24 and len({one.name for one in texts}) == 24
    nouns = several.categories_of(objects)
    for one in texts:
        there = {other.box: other.category for other in objects[one.sample.image_id]}
        for phrase, box in zip(one.phrases, one.boxes, strict=False):
            assert there[box] in phrase.split()
        if not one.boxes:
            assert not nouns & set(one.text.split()) & set(there.values())
        assert len(one.boxes) == one.text.count(" and ") + bool(one.boxes)


def test_words_of_the_specimen() -> None:
    lvlm, objects = load_lvlm("specimen"), annotated_of("specimen", "refcoco+")
    texts = several.texts_of(read_samples("specimen", "refcoco+", "val"), objects, 1)
    heads = (Head(3, 0), Head(5, 0))
    words, maps = several.words_of(lvlm, texts, heads, several.categories_of(objects))
    assert [" ".join(some.word) for _, some in words.groupby("text", sort=False)] == [t.text for t in texts]
    assert words[words.noun].groupby("text").size().to_dict() == {
        one.name: max(1, len(one.boxes)) for one in texts
    }
    assert words.targets.unique().tolist() == [2, 1, 0] and words[several.AGREEMENT].between(0, 1).all()
    some = maps[texts[0].name]
    assert some.words[-1] == "." and some.maps.shape[1:] == (2, *lvlm.grid)
    assert words[several.SUM][0] == pytest.approx(some.maps[0].sum(axis=(1, 2)).mean(), abs=1e-5)


def words(scores: list[float], nouns: list[bool]) -> pd.DataFrame:
    return pd.DataFrame({"s": scores, "noun": nouns, "image_id": [f"p{i // 2}" for i in range(len(nouns))]})


def test_f1_by_hand() -> None:
    table = words([0.9, 0.8, 0.3, 0.1], [True, False, True, False])
    found = several.f1(table, table.s >= 0.8)
    assert (found["precision"], found["recall"], found["F1"]) == (0.5, 0.5, 0.5)
    assert found["low"] == 0 and found["high"] == pytest.approx(2 / 3)  # one picture: 1 of 2 found; or none
    assert several.f1(table, table.noun)["F1"] == 1 and several.f1(table, table.s > 1)["F1"] == 0


def test_the_best_threshold_by_hand() -> None:
    # F1 at 0.9: 2/3; at 0.8: 1/2; at 0.3: 4/5; at 0.1: 2/3
    assert several.best_threshold(words([0.9, 0.8, 0.3, 0.1], [True, False, True, False]), "s") == 0.3
    assert several.best_threshold(words([0.5, 0.5, 0.2], [True, True, False]), "s") == 0.5


def test_spacy_is_left_out_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(several, "find_spec", lambda name: None)
    assert several.spacy_nouns([], pd.DataFrame()) is None
    assert capsys.readouterr().out.count("\n") == 1


def test_cases_show_an_exact_text_first() -> None:
    texts = [several.Text(name, Drawn(SAMPLES[0]), name, (BOX,), (name,)) for name in "abc"]
    outcome = pd.DataFrame({"text": list("abc"), "targets": 1, "exact": [False, False, True]})
    cases = several.box_cases(texts, {name: [OTHER] for name in "abc"}, outcome)
    assert [text for _, text, *_ in cases] == ["c", "a"]
    assert cases[0][2:] == ([OTHER], [BOX])


class Drawn(Sample):
    def __init__(self, one: Sample) -> None:
        super().__init__(one.sample_id, one.image_path, one.image_id, one.expression, one.size, one.box)

    @property
    def image(self):  # type: ignore[no-untyped-def]
        from PIL import Image

        return Image.fromarray(np.zeros((10, 10, 3), np.uint8))
