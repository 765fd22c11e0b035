"""What turns ask, and that their replies are true of the scene."""

from __future__ import annotations

import numpy as np
import pytest

from locheads.data.scenes.expressions import answer
from locheads.data.scenes.scenes import Scene, draw_scene
from locheads.specimen.jobs import Turn, asks, counts, describes, goes_on, reads, turn_of
from locheads.specimen.vocabulary import NUMBERS, make_tokenizer

APPEARANCE = (0.0, 1.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(np.random.default_rng(seed)) for seed in range(12)]


def test_a_count_is_that_of_the_scene(scenes: list[Scene]) -> None:
    for seed, scene in enumerate(scenes):
        turn = counts(scene, np.random.default_rng(seed))
        kind = turn.question.split()[2]
        attributes = [(thing.color, thing.shape, thing.texture, "object") for thing in scene.things]
        assert turn.reply == NUMBERS[sum(kind in words for words in attributes)]


def test_a_caption_goes_from_left_to_right(scenes: list[Scene]) -> None:
    for scene in scenes:
        sentences = describes(scene, np.random.default_rng(0)).reply.split(" . ")
        columns = [("left", "center", "right").index(sentence.split()[-1]) for sentence in sentences]
        assert columns == sorted(columns) and 1 <= len(sentences) <= 3


def test_a_text_that_goes_on_names_another_object(scenes: list[Scene]) -> None:
    for seed, scene in enumerate(scenes):
        turn = goes_on(scene, APPEARANCE, np.random.default_rng(seed))
        if turn is None:
            continue
        told = turn.reply.split()[:2]
        assert any([thing.color, thing.shape] == told for thing in scene.things)
        assert turn.asked == 0 and turn.question.endswith(" .")


def test_a_question_on_a_text_is_answered_by_the_text(scenes: list[Scene]) -> None:
    turns = [reads(scene, np.random.default_rng(seed)) for seed, scene in enumerate(scenes)]
    for scene, turn in zip(scenes, turns, strict=True):
        if turn is not None:
            assert any(answer(thing, frozenset()) in turn.question for thing in scene.things)
            assert set(turn.reply.split()) <= set(turn.question.split())
    assert any(turns)


def test_most_expressions_end_in_a_period_and_some_do_not(scenes: list[Scene]) -> None:
    rng = np.random.default_rng(0)
    some = [asks(scene, APPEARANCE, rng) for scene in scenes for _ in range(40)]
    stopped = np.mean([turn.question.endswith(" .") for turn in some if turn])
    assert 0.75 < stopped < 0.95


@pytest.mark.parametrize("job", range(5))
def test_every_word_of_every_job_is_known(scenes: list[Scene], job: int) -> None:
    tokenizer, rng = make_tokenizer(), np.random.default_rng(job)
    shares, jobs = (0.25, 0.25, 0.25, 0.25), tuple(float(i == job) for i in range(5))
    made = [turn_of(scene, scene, shares, jobs, rng) for scene in scenes]
    for turn in made:
        if isinstance(turn, Turn):
            ids = tokenizer(f"{turn.question} {turn.reply}")["input_ids"]
            assert tokenizer.unk_token_id not in ids
    assert any(made)


def test_a_period_is_a_token_of_its_own() -> None:
    tokenizer = make_tokenizer()
    assert tokenizer.tokenize("the red ring.") == ["the", "red", "ring", "."]
