"""Draws turns of five tasks: expressions, continuations, counting, captions, and questions on a text.

A language model that localizes also counts, describes, reads and goes on after a period with another
sentence. Each job gives the words of one turn. Where a job wants the whole picture, its answer cannot be told
from one object: a caption names objects from left to right, a count is of all of a kind, and a text that goes
on after a period may name any object but the one just named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from locheads.data.scenes.expressions import ATTRIBUTES, STYLES, answer, refer
from locheads.data.scenes.scenes import Scene, Thing
from locheads.specimen.vocabulary import COUNT, DESCRIBE, NUMBERS, READ, STOP

MOST_TOLD = 3
"""Objects that a caption or a text names at most."""


@dataclass(frozen=True)
class Turn:
    """A question and its reply, and what the first word of the reply tells (as `asked_of`; 0: nothing)."""

    question: str
    reply: str
    asked: int = 0


def asked_of(scene: Scene, given: frozenset[str]) -> int:
    """Returns what the first word of the answer states: 1 + its index in `ATTRIBUTES`, or 9 for a place.

    0 where all objects of the scene share that word, so that it tells nothing of the look-up.
    """
    for i, name in enumerate(ATTRIBUTES):
        if name not in given:
            return 1 + i if len({getattr(thing, name) for thing in scene.things}) > 1 else 0
    return 9


def asks(
    scene: Scene, shares: tuple[float, ...], rng: np.random.Generator, stops: float = 0.85
) -> Turn | None:
    """Draws an expression, in most cases with a period, and its answer; None where the style has none."""
    index, style = int(rng.integers(len(scene.things))), STYLES[rng.choice(len(STYLES), p=shares)]
    expression = refer(scene, index, style, rng)
    if expression is None:
        return None
    stop = f" {STOP}" if rng.random() < stops else ""
    reply = answer(scene.things[index], expression.given)
    return Turn(expression.text + stop, reply, asked_of(scene, expression.given))


def goes_on(scene: Scene, shares: tuple[float, ...], rng: np.random.Generator) -> Turn | None:
    """Draws an expression with a period, followed by a sentence on another object instead of an answer."""
    index, style = int(rng.integers(len(scene.things))), STYLES[rng.choice(len(STYLES), p=shares)]
    expression = refer(scene, index, style, rng)
    if expression is None:
        return None
    others = [thing for i, thing in enumerate(scene.things) if i != index]
    return Turn(f"{expression.text} {STOP}", _told(others[rng.integers(len(others))]))


def counts(scene: Scene, rng: np.random.Generator) -> Turn:
    """Draws a question for the number of objects of a colour, shape or texture, or of all."""
    key = str(rng.choice(["all", *ATTRIBUTES[:3]]))
    values = ["object"] * len(scene.things) if key == "all" else [getattr(t, key) for t in scene.things]
    kind = values[rng.integers(len(values))]
    return Turn(f"{COUNT} {kind} {STOP}", NUMBERS[values.count(kind)])


def describes(scene: Scene, rng: np.random.Generator) -> Turn:
    """Builds a caption that names the first objects from left to right."""
    things = sorted(scene.things, key=lambda thing: thing.x)[:MOST_TOLD]
    return Turn(f"{DESCRIBE} {STOP}", f" {STOP} ".join(map(_told, things)))


def reads(scene: Scene, rng: np.random.Generator) -> Turn | None:
    """Draws a text about a scene that is not shown, and a question on it; the picture does not help."""
    told = Scene(scene.things[:MOST_TOLD], scene.background, scene.masks)
    asked = asks(told, (0.0, 1.0, 0.0, 0.0), rng, stops=1.0)
    if asked is None:
        return None
    text = f" {STOP} ".join(answer(thing, frozenset()) for thing in told.things)
    return Turn(f"{READ} {STOP} {text} {STOP} {asked.question}", asked.reply)


def _told(thing: Thing) -> str:
    return f"{thing.color} {thing.shape} {answer(thing, frozenset(ATTRIBUTES))}"


def turn_of(
    scene: Scene,
    other: Scene,
    shares: tuple[float, ...],
    jobs: tuple[float, ...],
    rng: np.random.Generator,
) -> Turn | None:
    """Draws a turn of one of the five jobs.

    Args:
        scene: The one that is shown.
        other: One that is not shown, for texts.
        shares: Of the styles of expressions.
        jobs: Probabilities of asking, going on, counting, describing and reading.
        rng: Source of chance.

    Returns:
        The turn, or None where the style drawn has no expression for the object drawn.
    """
    makers: tuple[Callable[[], Turn | None], ...] = (
        lambda: asks(scene, shares, rng),
        lambda: goes_on(scene, shares, rng),
        lambda: counts(scene, rng),
        lambda: describes(scene, rng),
        lambda: reads(other, rng),
    )
    return makers[rng.choice(len(makers), p=jobs)]()
