"""Reads scenes four times: as they are, with another expression, with the object moved, emptied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from locheads.data.scenes.changes import emptied, moved
from locheads.data.scenes.expressions import ORDINALS
from locheads.data.scenes.questions import Pair, draw_pairs
from locheads.data.scenes.scenes import Scene
from locheads.model.attention import Wanted, forward
from locheads.model.carrier import Carrier
from locheads.model.lvlm import Lvlm

PLACES = {"left", "right", "top", "bottom", *ORDINALS}


@dataclass(frozen=True, eq=False)
class Looks:
    """Where the query token looks: `first`, the first token of the text, and `maps`, the cells."""

    first: Float[np.ndarray, "n layer head"]
    maps: Float[np.ndarray, "n layer head row column"]


def looks(lvlm: Lvlm, pictures: Sequence[np.ndarray], expressions: Sequence[str], batch: int = 8) -> Looks:
    """Captures the attention to the first token and to every cell, of all heads.

    Args:
        lvlm: The model; all pictures have one grid.
        pictures: `height × width × 3` unsigned bytes, one per expression.
        expressions: The expressions.
        batch: Pictures in one pass.
    """
    wanted, found, maps = Wanted.of(lvlm, None), [], []
    for start in range(0, len(pictures), batch):
        some = slice(start, start + batch)
        encoded = lvlm.encode([Image.fromarray(one) for one in pictures[some]], expressions[some])
        first = torch.zeros(len(encoded.image_tokens), 1, dtype=torch.long)
        at = torch.cat([first, encoded.image_tokens], 1)
        with Carrier(lvlm) as carrier:
            rows = wanted.stack(lvlm, forward(lvlm, encoded.inputs, wanted, encoded.query, at)).float()
        found.append(rows[..., 0].cpu())
        maps += [one.cpu() for one in carrier.maps(rows[..., 1:], encoded.grids)]
    return Looks(torch.cat(found).numpy(), torch.stack(maps).numpy())


@dataclass(frozen=True, eq=False)
class Cases:
    """Scenes read four times; `here` and `there` are the shares of each cell that an object covers.

    Attributes:
        plain, word, move, blank: The scene as it is, with the other expression, with the object moved, empty.
        here: The named object, `case × row × column`.
        there: The object of the other expression.
        after: The named object where it was moved to.
    """

    plain: Looks
    word: Looks
    move: Looks
    blank: Looks
    here: Float[np.ndarray, "case row column"]
    there: Float[np.ndarray, "case row column"]
    after: Float[np.ndarray, "case row column"]


def drawn(cases: int, seed: int = 0) -> list[tuple[Pair, Scene]]:
    """Draws pairs of expressions without places, each with the scene in which the first's object moved.

    Returns:
        At most `cases` pairs; fewer if `6 * cases` drawn pairs do not contain as many that qualify.
    """
    found: list[tuple[Pair, Scene]] = []
    pairs = draw_pairs(6 * cases, seed)
    for number, pair in enumerate(pairs):
        one = pair.questions[0]
        if PLACES & {*one.text.split()}:
            continue
        after = moved(pair.scene, one.thing, np.random.default_rng([seed, number]))
        if after is not None:
            found.append((pair, after))
    return found[:cases]


def read(lvlm: Lvlm, scenes: Sequence[tuple[Pair, Scene]], batch: int = 8) -> Cases:
    """Reads each scene four times and captures all heads."""
    plain, after = [pair.scene.image for pair, _ in scenes], [scene.image for _, scene in scenes]
    empty = [emptied(pair.scene).image for pair, _ in scenes]
    asked, other = ([pair.questions[i].text for pair, _ in scenes] for i in range(2))
    first, second = ([pair.questions[i].thing for pair, _ in scenes] for i in range(2))
    before = [pair.scene for pair, _ in scenes]
    return Cases(
        plain=looks(lvlm, plain, asked, batch),
        word=looks(lvlm, plain, other, batch),
        move=looks(lvlm, after, asked, batch),
        blank=looks(lvlm, empty, asked, batch),
        here=_covered(lvlm, before, first),
        there=_covered(lvlm, before, second),
        after=_covered(lvlm, [scene for _, scene in scenes], first),
    )


def _covered(
    lvlm: Lvlm, scenes: Sequence[Scene], things: Sequence[int]
) -> Float[np.ndarray, "case row column"]:
    """Returns the share of each cell that an object of each scene covers."""
    masks = [scene.masks[thing] for scene, thing in zip(scenes, things, strict=True)]
    return np.stack([lvlm.window(mask.shape[::-1]).mask_to_grid(mask) for mask in masks])
