"""Scenes: what is drawn, what is seen of it, and that a seed decides everything."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from locheads.data.scenes.scenes import COLORS, RADII, ROUND, SHAPES, SIDE, Thing, draw_scene, mask_box

seeds = st.integers(0, 10_000)


@settings(max_examples=15)
@given(seeds)
def test_the_seed_decides_every_byte(seed: int) -> None:
    one, two = (draw_scene(np.random.default_rng(seed)) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert one.things == two.things
    assert one.image.shape == (SIDE, SIDE, 3)


@settings(max_examples=25)
@given(seeds, st.integers(2, 5))
def test_masks_are_the_visible_parts(seed: int, most: int) -> None:
    scene = draw_scene(np.random.default_rng(seed), most)
    assert 2 <= len(scene.things) <= most
    assert (scene.masks.sum(0) <= 1).all(), "no pixel belongs to two objects"
    for i, (thing, mask) in enumerate(zip(scene.things, scene.masks, strict=True)):
        whole = thing.indicator()
        nearer = scene.masks[i + 1 :].any(0)
        assert not (mask & ~whole).any()
        assert (mask | nearer | ~whole).all(), "what is missing is hidden by something nearer"
        assert mask.sum() >= 0.7 * whole.sum()


@settings(max_examples=15)
@given(seeds)
def test_boxes_are_tight_and_half_open(seed: int) -> None:
    scene = draw_scene(np.random.default_rng(seed))
    for mask, (x0, y0, x1, y1) in zip(scene.masks, scene.boxes, strict=True):
        assert mask[y0:y1, x0:x1].sum() == mask.sum()
        assert mask[y0].any() and mask[y1 - 1].any() and mask[:, x0].any() and mask[:, x1 - 1].any()


def test_a_box_by_hand() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:6] = True
    assert mask_box(mask) == (2, 1, 6, 3)


def test_a_plain_object_has_its_colour_and_a_striped_one_two() -> None:
    plain = Thing("square", "red", "plain", "large", 128.0, 128.0, 70.0, 0.0).paint()
    striped = Thing("square", "red", "striped", "large", 128.0, 128.0, 70.0, 0.0).paint()
    assert set(map(tuple, plain.reshape(-1, 3))) == {COLORS["red"]}
    assert len(set(map(tuple, striped.reshape(-1, 3)))) == 2


def test_shapes_can_be_restricted() -> None:
    for seed in range(10):
        assert {t.shape for t in draw_scene(np.random.default_rng(seed), shapes=ROUND).things} <= set(ROUND)


def test_areas_of_shapes_by_hand() -> None:
    """Areas in units of the squared radius: π·0.92 for the circle, (2·0.84)² for the square."""
    areas = {
        shape: Thing(shape, "red", "plain", "large", 128.0, 128.0, 100.0, 0.0).indicator().sum() / 1e4
        for shape in SHAPES
    }
    assert np.isclose(areas["circle"], np.pi * 0.92, rtol=0.01)
    assert np.isclose(areas["square"], 1.68**2, rtol=0.01)
    assert np.isclose(areas["ring"], np.pi * (0.95 - 0.26), rtol=0.01)
    assert np.isclose(areas["bracket"], 1.68**2 - 1.04**2, rtol=0.02)
    assert np.isclose(areas["triangle"], 1.72 * 0.55 * 1.72, rtol=0.02)
    assert RADII["small"][1] < RADII["large"][0]
