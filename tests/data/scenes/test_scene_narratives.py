"""The specimen's narratives as the published reader reads them, against the scenes they tell of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from locheads.data import read_samples
from locheads.data.scenes.dataset import _scene, write_dataset
from locheads.data.scenes.narratives import SKY, tell
from locheads.data.scenes.scenes import Scene
from locheads.specimen.vocabulary import words

SIZES = {"refcoco": {}, "refcoco+": {}, "refcocog": {}, "reasonseg": {}, "png": {"val": 12}}


def _told(seed: int, images: int) -> list[Scene]:
    """The first scenes that have a narrative."""
    scenes: list[Scene] = []
    index = 0
    while len(scenes) < images:
        scene = _scene(seed, "png val", index)
        if tell(scene, np.random.default_rng(0)):
            scenes.append(scene)
        index += 1
    return scenes


def test_phrases_have_the_masks_of_what_they_name(tmp_path: Path) -> None:
    samples = read_samples(write_dataset(tmp_path / "specimen", 5, SIZES), "png", "val")
    scenes = _told(5, 12)
    assert {(s.is_thing, s.is_plural) for s in samples} == {(True, False), (True, True), (False, False)}
    for sample in samples:
        scene = scenes[int(sample.image_id)]
        assert np.abs(np.asarray(sample.image, float) - scene.image).mean() < 4
        assert set(sample.expression.split()) <= set(words())
        assert sample.expression.endswith(str(sample.phrase))
        if sample.phrase == SKY:
            assert np.array_equal(sample.mask, ~scene.masks.any(0)) and not sample.is_thing
        elif sample.is_plural:
            key = str(sample.phrase).split()[1]
            values = [getattr(thing, key) for thing in scene.things]
            twins = [
                mask for mask, value in zip(scene.masks, values, strict=True) if values.count(value) == 2
            ]
            assert len(twins) == 2 and np.array_equal(sample.mask, twins[0] | twins[1])
        else:
            named = set(str(sample.phrase).split()) - {"the", "object"}
            fits = [
                mask
                for mask, thing in zip(scene.masks, scene.things, strict=True)
                if named <= {thing.shape, thing.color, thing.texture, thing.size}
            ]
            assert len(fits) == 1 and np.array_equal(sample.mask, fits[0])
    relations = [s for s in samples if s.sample_id.endswith("-2")]
    assert len(relations) == 12 and all(" is " in s.expression for s in relations)


def test_other_sets_are_the_same_bytes_with_and_without(tmp_path: Path) -> None:
    tiny = {"refcoco": {"val": 1}, "refcoco+": {}, "refcocog": {}, "reasonseg": {"val": 1}}
    without = write_dataset(tmp_path / "without", 0, tiny)
    along = write_dataset(tmp_path / "along", 0, tiny | {"png": {"val": 1}})
    for path in (p for p in without.rglob("*") if p.is_file() and p.name != "specimen.json"):
        assert (along / path.relative_to(without)).read_bytes() == path.read_bytes()
