"""Captions are put together from their phrases, and read at the words where these end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locheads.data import read_samples
from locheads.data.samples import Sample
from locheads.method.selection import Head
from locheads.model.loading import load_lvlm
from locheads.model.words import WordMaps
from locheads.studies import caption_words, several_objects

BOX = (0.0, 0.0, 4.0, 4.0)


def phrase(number: int, text: str, plural: bool = False, thing: bool = True) -> Sample:
    return Sample(
        f"png-val-7-{number}", Path("x"), "p", text, (10, 10), BOX, is_plural=plural, is_thing=thing
    )  # fmt: skip


PHRASES = [
    phrase(0, "the ring"),
    phrase(2, "the ring is above the star"),
    phrase(3, "the ring is above the star the two twins", plural=True),
    phrase(4, "the ring is above the star the two twins the sky", thing=False),
]


def test_a_caption_is_its_longest_phrase_and_has_its_single_things() -> None:
    (one,) = caption_words.captions_of(PHRASES, 5)
    assert one.text == PHRASES[3].expression and one.phrases == ("the ring", "the ring is above the star")
    assert one.boxes == (BOX, BOX) and caption_words.captions_of(PHRASES, 0) == []


def test_words_are_counted_up_to_the_end_of_a_phrase() -> None:
    found = WordMaps(("the", "ring", ",", "is", "above", "the", "star"), np.zeros((7, 1, 2, 2)))
    assert caption_words.words_before("the ring", found) == 2
    assert caption_words.words_before("the ring, is above the star", found) == 7


def test_both_readings_of_the_specimens_captions() -> None:
    lvlm, heads = load_lvlm("specimen"), (Head(3, 0), Head(5, 0))
    captions = caption_words.captions_of(read_samples("specimen", "png", "val"), 2)
    words, maps = several_objects.words_of(lvlm, captions, heads, frozenset({"ring"}))
    table = caption_words.readings(lvlm, captions, words, maps, heads)
    assert table.groupby("reading").size().to_dict() == {
        reading: sum(len(one.boxes) for one in captions)
        for reading in (caption_words.AT_WORD, caption_words.AT_PERIOD)
    }
    assert (table.place == caption_words.FIRST).sum() == 2 * 2


def test_the_gain_is_paired_by_hand() -> None:
    hits = {caption_words.AT_WORD: [True, True, False], caption_words.AT_PERIOD: [True, False, False]}
    rows = [
        {"image_id": name, "place": caption_words.LATER, "reading": reading, "hit": hit}
        for reading, some in hits.items()
        for name, hit in zip("abc", some, strict=True)
    ]
    row = caption_words.reading_table(pd.DataFrame(rows)).loc[caption_words.LATER]
    assert row.phrases == 3 and row.gain == pytest.approx(1 / 3) and row.low >= 0
