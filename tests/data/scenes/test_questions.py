"""Both questions of a pair are answered differently, and only by a look at the right object."""

from __future__ import annotations

from locheads.data.scenes.expressions import ATTRIBUTES, answer, column_word, row_word
from locheads.data.scenes.questions import draw_pairs

PAIRS = draw_pairs(12)


def test_the_answer_is_a_word_of_the_object_that_the_expression_leaves_open() -> None:
    for pair in PAIRS:
        for question in pair.questions:
            thing = pair.scene.things[question.thing]
            words = [*(getattr(thing, name) for name in ATTRIBUTES), row_word(thing), column_word(thing)]
            assert question.answer in words and question.answer not in question.text.split()
            given = frozenset(name for name in ATTRIBUTES if getattr(thing, name) in question.text.split())
            assert answer(thing, given).split()[0] == question.answer


def test_the_two_differ_in_object_and_answer_but_not_in_length() -> None:
    for pair in PAIRS:
        one, other = pair.questions
        assert one.thing != other.thing and one.answer != other.answer and one.text != other.text
        assert len(one.text.split()) == len(other.text.split())


def test_fewer_pairs_are_the_first_of_more_and_another_seed_gives_others() -> None:
    assert [p.questions for p in draw_pairs(3)] == [p.questions for p in PAIRS[:3]]
    assert draw_pairs(3, seed=1)[0].questions != PAIRS[0].questions
