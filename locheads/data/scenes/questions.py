"""Draws two questions about one scene whose answers differ, so that only a look at the right object answers.

Both expressions leave the same words open and have as many words: "the red object" and "the blue object" are
both answered with a shape. What a model computes for one can therefore be put in the place of what it
computes for the other, token by token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from locheads.data.scenes.expressions import STYLES, Expression, answer, refer
from locheads.data.scenes.scenes import Scene, draw_scene

STREAM = 1_005
"""First word of the seeds of these scenes; those of training and of the data sets differ."""
TRIES = 20
"""Expressions drawn for each other object."""


@dataclass(frozen=True)
class Question:
    """An expression without its period, its answer's first word, and the object's number in the scene."""

    text: str
    answer: str
    thing: int


@dataclass(frozen=True, eq=False)
class Pair:
    """A scene and two questions about different objects in it; the answer to one is the other's `rival`."""

    scene: Scene
    questions: tuple[Question, Question]


def draw_pairs(number: int, seed: int = 0) -> list[Pair]:
    """Draws pairs of questions, one pair per scene; scenes that have none are left out.

    Args:
        number: How many pairs.
        seed: Scene `i` is drawn from the seed `(STREAM, seed, i)`, so that fewer pairs are the first of more.

    Examples:
        >>> [pair] = draw_pairs(1)
        >>> for question in pair.questions:
        ...     print(question.text, "→", question.answer)
        plain → blue
        striped → white
    """
    drawn = (_pair(np.random.default_rng([STREAM, seed, i])) for i in count())
    return [pair for pair, _ in zip(filter(None, drawn), range(number), strict=False)]


def _pair(rng: np.random.Generator) -> Pair | None:
    scene, style = draw_scene(rng), STYLES[rng.integers(2)]
    first, *others = map(int, rng.permutation(len(scene.things)))
    expression = refer(scene, first, style, rng)
    if expression is None:
        return None
    asked = Question(expression.text, answer(scene.things[first], expression.given).split()[0], first)
    for other, found in _drawn(scene, others, style, rng):
        rival = answer(scene.things[other], found.given).split()[0]
        alike = found.given == expression.given and len(found.text.split()) == len(expression.text.split())
        if alike and rival != asked.answer:
            return Pair(scene, (asked, Question(found.text, rival, other)))
    return None


def _drawn(
    scene: Scene, things: list[int], style: str, rng: np.random.Generator
) -> Iterator[tuple[int, Expression]]:
    for thing in things:
        for _ in range(TRIES):
            if (found := refer(scene, thing, style, rng)) is not None:
                yield thing, found
