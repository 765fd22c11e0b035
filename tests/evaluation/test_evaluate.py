"""Evaluation against a naive loop, with rectangles for a segmenter and random maps for a model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from locheads.data.samples import Sample, encode_mask
from locheads.evaluation import evaluate as evaluation
from locheads.evaluation.evaluate import BLOCK, Variant, evaluate, evaluate_variants, stored_maps
from locheads.evaluation.metrics import box_iou, mask_iou
from locheads.method.geometry import Window
from locheads.method.grounding import ground
from locheads.method.selection import Head
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import Segmenter

SIZE = (24, 18)
GRID = (6, 6)


class Stretched(Lvlm):
    """A model of which only the geometry is asked for."""

    def __init__(self) -> None: ...

    def window(self, size: tuple[int, int]) -> Window:
        return Window.stretch(size, GRID)


class Rectangles(Segmenter):
    """Takes the box itself for the mask, and counts what it is asked."""

    def __init__(self) -> None:
        object.__setattr__(self, "asked", [])

    def masks(self, image: Image.Image, boxes: np.ndarray) -> np.ndarray:
        self.asked.append(len(boxes))
        return np.stack([rectangle(box) for box in boxes])


def rectangle(box: np.ndarray) -> np.ndarray:
    x, y = np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5
    inside = (y[:, None] > box[1]) & (y[:, None] < box[3]) & (x > box[0]) & (x < box[2])
    return np.asarray(inside, bool)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    Image.new("RGB", SIZE).save(tmp_path / "grey.png")
    boxes = [(4.0, 3.0, 12.0, 9.0), (0.0, 0.0, 8.0, 6.0), (12.0, 9.0, 24.0, 18.0)]
    return [
        Sample(
            f"s{number}",
            tmp_path / "grey.png",
            "grey",
            "the object",
            SIZE,
            box,
            [[box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]],
        )
        for number, box in enumerate(boxes)
    ]


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(1).random((3, 2, 4, *GRID)) ** 6


OWN = np.array([[[0, 1], [1, 3]], [[1, 0], [1, 1]], [[0, 0], [-1, -1]]])
VARIANTS = {
    "two": Variant((Head(0, 1), Head(1, 2))),
    "sharp": Variant((Head(0, 1), Head(1, 2)), kernel=3, sigma=0.5),
    "high": Variant((Head(0, 1),), level=1.5, keep="all"),
    "own": Variant(OWN),
}


def test_every_sample_and_variant_equals_a_naive_loop(samples, maps):
    outcomes = evaluate_variants(Stretched(), Rectangles(), samples, maps, VARIANTS)
    assert list(outcomes.variant) == list(VARIANTS) * 3
    assert list(outcomes.sample_id) == [f"s{number}" for number in range(3) for _ in VARIANTS]
    for (number, sample), (name, variant) in [(s, v) for s in enumerate(samples) for v in VARIANTS.items()]:
        heads = variant.heads if name != "own" else [tuple(head) for head in OWN[number] if head[0] >= 0]
        some = np.stack([maps[number, layer, head] for layer, head in heads])
        window = Window.stretch(SIZE, GRID)
        box = ground(some, window, variant.kernel, variant.sigma, variant.level, variant.keep).box
        row = outcomes[(outcomes.sample_id == sample.sample_id) & (outcomes.variant == name)].iloc[0]
        np.testing.assert_allclose(row.box, box)
        assert row.box_iou == pytest.approx(box_iou(np.array([sample.box]), box[None])[0])
        assert row.intersection / row.union == pytest.approx(float(mask_iou(rectangle(box), sample.mask)))


def test_equal_boxes_are_segmented_once(samples, maps):
    sam = Rectangles()
    same = dict.fromkeys("abc", VARIANTS["two"]) | {"own": VARIANTS["own"]}
    outcomes = evaluate_variants(Stretched(), sam, samples, maps, same)
    assert len(sam.asked) == 3
    assert sum(sam.asked) == outcomes.drop_duplicates(["sample_id", "box"]).shape[0] <= 6


def test_each_variant_gets_its_own_prompt_of_the_segmenter(samples, maps):
    asked = []

    class Listening(Rectangles):
        def masks(self, image, boxes, found=(), window=None, prompt="box", cascade=0):
            asked.append((prompt, cascade, len(boxes), [one.box.tolist() for one in found]))
            return np.stack([rectangle(box / (1 + cascade)) for box in boxes])

    two = VARIANTS["two"]
    variants = {
        "point": replace(two, prompt="box+point"),
        "plain": two,
        "again": replace(two, cascade=1),
    }
    outcomes = evaluate_variants(Stretched(), Listening(), samples[:1], maps[:1], variants)
    box = outcomes.box[0]
    assert set(outcomes.box) == {box} and list(outcomes.variant) == list(variants)
    assert asked == [("box", 0, 1, []), ("box", 1, 1, [list(box)]), ("box+point", 0, 1, [list(box)])]
    own = [rectangle(np.array(box) / by) for by in (1, 1, 2)]
    assert list(outcomes.intersection) == [int((mask & samples[0].mask).sum()) for mask in own]


def test_as_many_maps_as_samples_are_wanted(samples, maps):
    with pytest.raises(ValueError):
        evaluate_variants(Stretched(), Rectangles(), samples, maps[:2], VARIANTS)


def test_heads_and_rivals_are_variants_of_fresh_maps(samples, maps, monkeypatch):
    samples[2] = replace(samples[2], image_id="another")
    samples.insert(1, replace(samples[2], sample_id="s3", box=(0.0, 3.0, 8.0, 9.0)))
    maps = np.concatenate([maps[:1], maps[2:] ** 2, maps[1:]])  # those of the samples' order
    number = {sample.sample_id: place for place, sample in enumerate(samples)}
    asked = []

    def captured(lvlm, some, heads):
        asked.append(([sample.sample_id for sample in some], heads))
        layer, head = np.array(heads).T
        return iter([maps[number[sample.sample_id], layer, head] for sample in some])

    monkeypatch.setattr(evaluation, "maps_of", captured)
    rivals = [(Head(0, 0),), (Head(1, 1),)]
    outcomes = evaluate(Stretched(), Rectangles(), samples, (Head(0, 1), Head(1, 2)), rivals)
    order = ["s0", "s1", "s3", "s2"]  # an image's samples together
    assert asked == [(order, [Head(0, 0), Head(0, 1), Head(1, 1), Head(1, 2)])]
    assert list(outcomes.heads) == ["localization", "random", "random"] * 4
    assert list(outcomes.draw) == [0, 0, 1] * 4
    variants = {"two": VARIANTS["two"], "first": Variant(rivals[0]), "second": Variant(rivals[1])}
    expected = evaluate_variants(Stretched(), Rectangles(), samples, maps, variants)
    boxes = ["sample_id", "box", "box_iou"]
    pd.testing.assert_frame_equal(outcomes[boxes], expected[boxes])
    own = outcomes.heads == "localization"
    pd.testing.assert_series_equal(outcomes[own]["union"], expected[own]["union"])
    assert outcomes[~own][["intersection", "union"]].isna().all(axis=None), "rivals are scored by their boxes"


def test_stored_maps_come_in_order_over_all_blocks():
    maps = np.arange(2 * BLOCK + 3, dtype=np.float32).reshape(-1, 1, 1, 1, 1)
    profiled = xr.Dataset({"maps": (("sample", "layer", "head", "row", "column"), maps)})
    assert [float(one[0, 0, 0, 0]) for one in stored_maps(profiled)] == list(range(2 * BLOCK + 3))


def test_ignored_pixels_count_neither_as_found_nor_as_missed(samples, maps):
    """Of mask and object the part outside the left half counts, as in a naive loop."""
    left = np.zeros(SIZE[::-1], bool)
    left[:, :12] = True
    sample = replace(samples[2], box=(6.0, 9.0, 24.0, 18.0), ignored=encode_mask(left))
    sample = replace(sample, segmentation=encode_mask(rectangle(np.array(sample.box))))
    row = evaluate_variants(Stretched(), Rectangles(), [sample], maps[:1], {"two": VARIANTS["two"]}).iloc[0]
    found, true = rectangle(np.array(row.box))[:, 12:], sample.mask[:, 12:]
    assert true.sum() == 12 * 9 and (row.intersection, row.union) == (
        (found & true).sum(),
        (found | true).sum(),
    )


def test_without_a_segmenter_boxes_alone_are_scored(samples, maps):
    variants = {"two": VARIANTS["two"]}
    alone = evaluate_variants(Stretched(), None, samples, maps, variants)
    both = evaluate_variants(Stretched(), Rectangles(), samples, maps, variants)
    assert alone[["intersection", "union"]].isna().all(axis=None)
    pd.testing.assert_series_equal(alone.box_iou, both.box_iou)
