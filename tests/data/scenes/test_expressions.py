"""Every expression fits its object and no other, by a reading that knows nothing of its making."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locheads.data.scenes.expressions import ATTRIBUTES, STYLES, answer, refer
from locheads.data.scenes.scenes import COLORS, RADII, SHAPES, TEXTURES, Scene, Thing, draw_scene
from locheads.specimen.vocabulary import words

SAID = {"color": COLORS, "shape": SHAPES, "texture": TEXTURES, "size": RADII}
TOWARDS = {
    "left": lambda t: t.x,
    "right": lambda t: -t.x,
    "top": lambda t: t.y,
    "bottom": lambda t: -t.y,
    "to the left of": lambda t: t.x,
    "to the right of": lambda t: -t.x,
    "above": lambda t: t.y,
    "below": lambda t: -t.y,
}


def described(phrase: str, things: list[Thing]) -> list[Thing]:
    """The objects that have every attribute named in the phrase."""
    named = [(kind, word) for kind, known in SAID.items() for word in phrase.split() if word in known]
    return [t for t in things if all(getattr(t, kind) == word for kind, word in named)]


def read(text: str, things: list[Thing]) -> Thing:
    """The one object that a text of the first three styles refers to; fails where there are several."""
    if relation := re.search(r"(.+) that is (to the left of|to the right of|above|below) (.+)", text):
        own, word, other = relation.groups()
        (anchor,) = described(other, things)
        key = TOWARDS[word]
        (found,) = [t for t in described(own, things) if t is not anchor and key(t) < key(anchor)]
        return found
    if ordinal := re.search(r"(first|second|third|fourth) (.+) from the (\w+)$", text):
        rank, phrase, side = ordinal.groups()
        along = sorted(described(phrase, things), key=TOWARDS[side])
        return along[("first", "second", "third", "fourth").index(rank)]
    if side := re.search(r"on the (\w+)$|^(left|right|top|bottom)\b", text):
        return min(described(text, things), key=TOWARDS[side.group(1) or side.group(2)])
    (found,) = described(text, things)
    return found


@settings(max_examples=60)
@given(st.integers(0, 100_000), st.sampled_from(STYLES[:3]))
def test_an_expression_singles_out_its_object(seed: int, style: str) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    for index, thing in enumerate(scene.things):
        expression = refer(scene, index, style, rng)
        if expression is not None:
            assert read(expression.text, list(scene.things)) is thing, expression.text


@settings(max_examples=60)
@given(st.integers(0, 100_000), st.sampled_from(STYLES))
def test_the_answer_is_what_the_text_leaves_open(seed: int, style: str) -> None:
    rng = np.random.default_rng(seed)
    scene = draw_scene(rng)
    index = int(rng.integers(len(scene.things)))
    expression = refer(scene, index, style, rng)
    if expression is None:
        return
    *said, _row, _column = answer(scene.things[index], expression.given).split()
    assert said == [getattr(scene.things[index], k) for k in ATTRIBUTES if k not in expression.given]
    assert set(expression.text.split()) <= set(words())
    if style != "reasonseg":
        own = expression.text.split(" that is ")[0].split()
        assert expression.given == {kind for kind, known in SAID.items() if set(own) & set(known)}


def thing(shape: str, color: str, x: float, y: float = 100.0) -> Thing:
    return Thing(shape, color, "plain", "small", x, y, 50.0, 0.0)


def test_appearance_cannot_tell_twins_apart() -> None:
    scene = Scene((thing("ring", "red", 60.0), thing("ring", "red", 180.0)), np.empty(0), np.empty(0))
    assert refer(scene, 0, "refcoco+", np.random.default_rng(0)) is None
    assert "left" in refer(scene, 0, "refcoco", np.random.default_rng(0)).text


def test_the_odd_one_out_is_found() -> None:
    things = (thing("ring", "red", 60.0), thing("ring", "red", 180.0), thing("star", "red", 120.0, 200.0))
    scene = Scene(things, np.empty(0), np.empty(0))
    texts = {refer(scene, 2, "reasonseg", np.random.default_rng(seed)).text for seed in range(30)}
    assert texts == {"the odd one out", "the one that belongs in the night sky"}
    rivals = {refer(scene, 0, "reasonseg", np.random.default_rng(seed)).text for seed in range(30)}
    assert "the odd one out" not in rivals


def test_ordinals_need_a_row_of_three() -> None:
    three = tuple(thing("crescent", "blue", x) for x in (50.0, 120.0, 200.0))
    texts = {
        refer(Scene(three, np.empty(0), np.empty(0)), 2, "refcoco", np.random.default_rng(seed)).text
        for seed in range(60)
    }
    assert any(text.startswith("the third") and text.endswith("from the left") for text in texts)


@pytest.mark.parametrize(("x", "column"), [(20.0, "left"), (128.0, "center"), (240.0, "right")])
def test_the_place_in_words(x: float, column: str) -> None:
    assert answer(thing("ring", "red", x), frozenset(ATTRIBUTES)) == f"top {column}"
