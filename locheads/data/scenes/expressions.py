"""Generates referring expressions that fit exactly one object, and answers with the other attributes.

Four styles mirror the benchmarks: `refcoco` (attributes and position words, ordinals),
`refcoco+` (appearance only), `refcocog` (longer, relational) and `reasonseg` (implicit).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from locheads.data.scenes.scenes import SHAPES, SIDE, Scene, Thing

STYLES = ("refcoco", "refcoco+", "refcocog", "reasonseg")
ATTRIBUTES = ("color", "shape", "texture", "size")
"""Attributes, in the order in which an answer names them."""
ORDINALS = ("first", "second", "third", "fourth")
MARGIN = 14.0
"""Minimum distance in pixels to the nearest rival for a place word to be unambiguous."""

_ADJECTIVES = ("size", "texture", "color")
_SIDES = {"left": (0, 1), "right": (0, -1), "top": (1, 1), "bottom": (1, -1)}
_RELATIONS = {
    "to the left of": (0, -1),
    "to the right of": (0, 1),
    "above": (1, -1),
    "below": (1, 1),
}
_HINTS = {
    "ring": "something to wear on a finger",
    "crescent": "the one that looks like a banana",
    "star": "the one that belongs in the night sky",
    "circle": "the one that could roll away",
    "triangle": "the one with three corners",
    "square": "the one with four equal sides",
    "cross": "the one that looks like a plus sign",
    "bracket": "the one that looks like a letter",
    "red": "the one that looks like a ripe tomato",
    "green": "the one that looks like fresh grass",
    "blue": "the one that looks like the sea",
    "yellow": "the one that looks like a lemon",
    "purple": "the one that looks like a plum",
    "orange": "the one that looks like a carrot",
    "white": "the one that looks like snow",
    "black": "the one that looks like coal",
}


@dataclass(frozen=True)
class Expression:
    """A text that fits one object, and the attributes that the text mentions."""

    text: str
    given: frozenset[str]


def refer(scene: Scene, index: int, style: str, rng: np.random.Generator) -> Expression | None:
    """Draws a random expression of a style for one object.

    Args:
        scene: The scene.
        index: Index of the object in `scene.things`.
        style: One of `STYLES`.
        rng: Random generator.

    Returns:
        The expression, or None if the style has none that fits this object alone.
    """
    options = list(_WAYS[style](scene, index))
    if not options:
        return None
    weights = np.array([weight for weight, _ in options])
    return options[rng.choice(len(options), p=weights / weights.sum())][1]


def answer(thing: Thing, given: frozenset[str]) -> str:
    """Returns the attributes that the text does not mention, then the object's place in the image."""
    words = [getattr(thing, name) for name in ATTRIBUTES if name not in given]
    return " ".join([*words, row_word(thing), column_word(thing)])


def column_word(thing: Thing) -> str:
    """Returns left, center or right: the object's place in the image."""
    return ("left", "center", "right")[int(np.digitize(thing.x / SIDE, (0.4, 0.6)))]


def row_word(thing: Thing) -> str:
    """Returns top, middle or bottom: the object's place in the image."""
    return ("top", "middle", "bottom")[int(np.digitize(thing.y / SIDE, (0.4, 0.6)))]


def word_of(thing: Thing, kind: str) -> str:
    """Returns the word for one of `ATTRIBUTES`, or for the object's row or column in the image."""
    return (
        {"row": row_word, "column": column_word}[kind](thing)
        if kind in ("row", "column")
        else getattr(thing, kind)
    )


def _subsets() -> Iterator[frozenset[str]]:
    for size in range(len(ATTRIBUTES) + 1):
        yield from map(frozenset, combinations(ATTRIBUTES, size))


def _alike(scene: Scene, index: int, keys: frozenset[str]) -> list[int]:
    """Returns the objects that share the attributes `keys` with object `index`, itself included."""
    it = scene.things[index]
    return [
        i for i, other in enumerate(scene.things) if all(getattr(other, k) == getattr(it, k) for k in keys)
    ]


def _noun_phrase(thing: Thing, keys: frozenset[str]) -> str:
    noun = thing.shape if "shape" in keys else "object"
    return " ".join([getattr(thing, k) for k in _ADJECTIVES if k in keys] + [noun])


def _positions(scene: Scene) -> np.ndarray:
    return np.array([(thing.x, thing.y) for thing in scene.things])


def _extreme_sides(scene: Scene, index: int, rivals: list[int]) -> list[str]:
    """Returns the sides on which the object lies farther out than every rival."""
    positions = _positions(scene)
    others = [i for i in rivals if i != index]
    return [
        side
        for side, (axis, sign) in _SIDES.items()
        if all(sign * (positions[i, axis] - positions[index, axis]) > MARGIN for i in others)
    ]


def _ordinals(scene: Scene, index: int, rivals: list[int]) -> list[str]:
    """Returns templates such as `second {} from the left`, to be filled with the noun phrase."""
    if len(rivals) < 3:
        return []
    phrases = []
    for side, (axis, sign) in _SIDES.items():
        along = sorted((sign * _positions(scene)[i, axis], i) for i in rivals)
        apart = all(b[0] - a[0] > MARGIN for a, b in zip(along, along[1:], strict=False))
        rank = [i for _, i in along].index(index)
        if apart and rank < len(ORDINALS):
            phrases.append(f"{ORDINALS[rank]} {{}} from the {side}")
    return phrases


def _by_place(scene: Scene, index: int) -> Iterator[tuple[float, Expression]]:
    """Yields RefCOCO expressions: attributes, and a place word or an ordinal if rivals remain."""
    thing = scene.things[index]
    for keys in _subsets():
        rivals, phrase = _alike(scene, index, keys), _noun_phrase(thing, keys)
        weight = (1 + len(keys)) ** -1.5
        if len(rivals) == 1:
            if keys:
                yield 0.5 * weight, Expression(f"the {phrase}", keys)
            if len(keys) == 1:
                yield 0.5 * weight, Expression(getattr(thing, *keys), keys)
            continue
        for side in _extreme_sides(scene, index, rivals):
            yield weight, Expression(f"the {phrase} on the {side}", keys)
            yield 0.5 * weight, Expression(f"{side} {phrase}", keys)
            if not keys:
                yield weight, Expression(side, keys)
        for pattern in _ordinals(scene, index, rivals):
            yield 0.1 * weight, Expression("the " + pattern.format(phrase), keys)


def _by_appearance(scene: Scene, index: int) -> Iterator[tuple[float, Expression]]:
    """Yields RefCOCO+ expressions: attributes only."""
    thing = scene.things[index]
    for keys in _subsets():
        if keys and len(_alike(scene, index, keys)) == 1:
            phrase, weight = _noun_phrase(thing, keys), (1 + len(keys)) ** -1.5
            yield weight, Expression(f"the {phrase}", keys)
            yield 0.5 * weight, Expression(phrase, keys)
            if len(keys) == 1:
                yield weight, Expression(getattr(thing, *keys), keys)


def _by_relation(scene: Scene, index: int) -> Iterator[tuple[float, Expression]]:
    """Yields RefCOCOg expressions: the object's position relative to another, uniquely described one."""
    thing, positions = scene.things[index], _positions(scene)
    for anchor, other in enumerate(scene.things):
        own = [k for k in _subsets() if k and len(k) <= 2 and len(_alike(scene, anchor, k)) == 1]
        if anchor == index or not own:
            continue
        landmark = _noun_phrase(other, own[0])
        for relation, (axis, sign) in _RELATIONS.items():
            ahead = set(np.flatnonzero(sign * (positions[:, axis] - positions[anchor, axis]) > MARGIN))
            behind = set(np.flatnonzero(sign * (positions[:, axis] - positions[anchor, axis]) < -MARGIN))
            for keys in _subsets():
                rivals = set(_alike(scene, index, keys)) - {anchor}
                if rivals & ahead == {index} and rivals - {index} <= behind:
                    text = f"the {_noun_phrase(thing, keys)} that is {relation} the {landmark}"
                    yield (2.0 if len(keys) in (1, 2) else 0.5), Expression(text, keys)


def _by_thought(scene: Scene, index: int) -> Iterator[tuple[float, Expression]]:
    """Yields ReasonSeg queries: hints at a shape or a colour, the odd one out, the twin on one side."""
    thing, things = scene.things[index], scene.things
    for key in ("shape", "color"):
        rivals = _alike(scene, index, frozenset([key]))
        values = [getattr(other, key) for other in things]
        rest = {value for i, value in enumerate(values) if i not in rivals}
        if len(rivals) == 1:
            yield 1.0, Expression(_HINTS[getattr(thing, key)], frozenset([key]))
            others_agree = [len({getattr(o, k) for o in things}) == 1 for k in ATTRIBUTES if k != key]
            if len(things) >= 3 and len(rest) == 1 and all(others_agree):
                yield 4.0, Expression("the odd one out", frozenset())
        counts = {value: values.count(value) for value in values}
        if len(rivals) == 2 and list(counts.values()).count(2) == 1:
            for side in _extreme_sides(scene, index, rivals):
                yield 1.0, Expression(f"the {key} that appears twice the one on the {side}", frozenset())


_WAYS = {
    "refcoco": _by_place,
    "refcoco+": _by_appearance,
    "refcocog": _by_relation,
    "reasonseg": _by_thought,
}

PHRASES = (
    *ORDINALS,
    *_SIDES,
    *_RELATIONS,
    *_HINTS.values(),
    "left center right top middle bottom",
    "the object on from that is",
    "the odd one out",
    "the shape that appears twice the one on the",
    "the color that appears twice the one on the",
)
"""All parts of the texts other than attribute words."""


def plain_words(query: str) -> str | None:
    """Returns the plain expression behind a hint, `the one that looks like a banana` → `the crescent`.

    None for a query that compares objects (`the odd one out`), and for any text without a hint.
    """
    for word, hint in _HINTS.items():
        if query.removesuffix(".") == hint:
            return f"the {word}" if word in SHAPES else f"the {word} object"
    return None
