"""Only what is to change changes."""

from __future__ import annotations

import numpy as np

from locheads.data.scenes.changes import AWAY, emptied, moved, redrawn
from locheads.data.scenes.scenes import draw_scene

SCENES = [draw_scene(np.random.default_rng([9, i]), most=3) for i in range(8)]


def test_a_scene_redrawn_with_its_own_things_is_the_scene() -> None:
    for scene in SCENES:
        again = redrawn(scene, scene.things)
        hidden = scene.masks.sum((1, 2)) - again.masks.sum((1, 2))
        assert np.array_equal(again.masks[-1], scene.masks[-1]) and (hidden >= 0).all()
        assert (again.image != scene.image).any(-1).sum() == 0


def test_the_empty_scene_is_the_floor() -> None:
    for scene in SCENES:
        empty, objects = emptied(scene).image, scene.masks.any(0)
        assert np.array_equal(empty[~objects], scene.image[~objects])
        assert (empty[objects] != scene.image[objects]).any(-1).mean() > 0.95


def test_a_moved_object_lies_elsewhere_and_all_else_stays() -> None:
    found = [(scene, moved(scene, 0, np.random.default_rng(i))) for i, scene in enumerate(SCENES)]
    assert sum(after is not None for _, after in found) >= 4
    for scene, after in ((scene, after) for scene, after in found if after is not None):
        old, new = scene.things[0], after.things[0]
        assert np.hypot(old.x - new.x, old.y - new.y) >= AWAY * old.radius
        assert (old.shape, old.color, old.size, old.radius) == (new.shape, new.color, new.size, new.radius)
        assert after.things[1:] == scene.things[1:]
        untouched = ~(old.indicator() | new.indicator())
        assert np.array_equal(after.image[untouched], scene.image[untouched])
        assert after.masks[0].sum() > 0.6 * new.indicator().sum()


def test_where_no_place_is_free_there_is_none() -> None:
    crowded = next(
        s for i in range(99) if len((s := draw_scene(np.random.default_rng([8, i]), 5)).things) == 5
    )
    assert [moved(crowded, i, np.random.default_rng(0)) for i in range(5)].count(None) >= 1
