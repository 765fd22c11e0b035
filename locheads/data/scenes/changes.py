"""Redraws a scene with one thing changed: an object moved, or all objects taken away; the floor stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from locheads.data.scenes.scenes import SIDE, Scene, Thing

APART = 0.82
"""Least distance of two centres, in sums of their radii, as in `draw_scene`."""
AWAY = 1.6
"""Least distance of a move, in radii of the object: its places before and after hardly overlap."""
TRIES = 400


def redrawn(scene: Scene, things: Sequence[Thing]) -> Scene:
    """Returns a scene on the same floor with other things, from far to near; hidden parts are left out."""
    whole = np.array([thing.indicator() for thing in things]).reshape(-1, SIDE, SIDE)
    masks = whole.copy()
    for number in range(len(things) - 1):
        masks[number] &= ~whole[number + 1 :].any(0)
    return Scene(tuple(things), scene.background, masks)


def emptied(scene: Scene) -> Scene:
    """Returns the floor of a scene, without any object."""
    return redrawn(scene, ())


def moved(scene: Scene, index: int, rng: np.random.Generator) -> Scene | None:
    """Moves one object to a free place; None where there is none.

    Args:
        scene: The scene.
        index: The object's number in it.
        rng: Source of the place.

    Returns:
        The scene with the object at least `AWAY` radii from where it was, as far from the others as in any
        scene, and wholly in the picture but for its outermost twelfth.
    """
    thing, others = scene.things[index], [t for i, t in enumerate(scene.things) if i != index]
    for _ in range(TRIES):
        x, y = rng.uniform(0.92 * thing.radius, SIDE - 0.92 * thing.radius, 2)
        far = np.hypot(x - thing.x, y - thing.y) >= AWAY * thing.radius
        free = all(np.hypot(x - o.x, y - o.y) > APART * (thing.radius + o.radius) for o in others)
        if far and free:
            things = [replace(thing, x=x, y=y) if i == index else t for i, t in enumerate(scene.things)]
            return redrawn(scene, things)
    return None
