"""All arms ask the same and differ only in what their answers say of a place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from locheads.data.scenes.expressions import ORDINALS
from locheads.data.scenes.scenes import Scene, Thing, draw_scene
from locheads.specimen import arms
from locheads.specimen.arms import ARMS, COORDINATES, arm_turn, box_words
from locheads.specimen.vocabulary import make_tokenizer
from locheads.studies.arms import BINS, STEPS

PLACES = {"left", "right", "top", "bottom", "middle", "center", "above", "below", *ORDINALS}


def turns(arm: str, number: int = 150) -> list[tuple[str, str]]:
    """Questions and replies of an arm about drawn scenes."""
    made = []
    for i in range(number):
        scene: Scene = draw_scene(np.random.default_rng([5, i]))
        turn = arm_turn(arm, scene, scene, rng=np.random.default_rng([6, i]))
        if turn is not None:
            made.append((turn.question, turn.reply))
    return made


@pytest.mark.slow
def test_no_arm_reads_a_place_and_words_says_none() -> None:
    for arm in ARMS:
        assert not PLACES & {word for question, _ in turns(arm) for word in question.split()}
    replies = [reply.split() for _, reply in turns("words")]
    assert not (PLACES | set(COORDINATES)) & {word for reply in replies for word in reply}


@pytest.mark.slow
def test_arms_ask_the_same_and_answer_the_same_of_looks() -> None:
    words, places, boxes = (turns(arm) for arm in ("words", "places", "boxes"))
    assert [q for q, _ in words] == [q for q, _ in places] == [q for q, _ in boxes]
    for (_, looks), (_, placed), (_, boxed) in zip(words, places, boxes, strict=True):
        assert placed.split()[:-2] == looks.split() == boxed.split()[:-4]


def test_the_box_of_a_square_in_patches() -> None:
    """Half a side is 0.84 of 50 pixels, 42: x from 58 to 142, y from 86 to 170; a patch has 10.67."""
    thing = Thing("square", "red", "plain", "small", 100.0, 128.0, 50.0, 0.0)
    assert box_words(thing) == "5 8 14 16"


def test_the_tokenizer_knows_every_word_of_every_arm() -> None:
    tokenizer = make_tokenizer(COORDINATES)
    texts = [f"{question} {reply}" for arm in ARMS for question, reply in turns(arm, 60)]
    assert tokenizer.unk_token_id not in {token for text in texts for token in tokenizer(text).input_ids}
    first = make_tokenizer()
    assert {
        word: i for word, i in tokenizer.get_vocab().items() if word in first.get_vocab()
    } == first.get_vocab()


def test_missing_names_runs_without_a_last_record(tmp_path: Path) -> None:
    assert arms.missing(tmp_path) == [(arm, s) for s in arms.SEEDS for arm in ARMS] + [("text", 0)]
    (tmp_path / f"places-1-{STEPS:05}.npz").touch()
    (tmp_path / "words-0-00250.npz").touch()
    assert ("places", 1) not in arms.missing(tmp_path) and len(arms.missing(tmp_path)) == 9


def test_a_box_is_inside_the_grid() -> None:
    for i in range(40):
        for thing in draw_scene(np.random.default_rng([8, i])).things:
            x0, y0, x1, y1 = map(int, box_words(thing).split())
            assert 0 <= x0 < x1 <= BINS and 0 <= y0 < y1 <= BINS
