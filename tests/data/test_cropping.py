"""Cuts of square pictures are exact, and so are the ways of making them square again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from locheads.data.cropping import band, central_square, cut, oblong
from locheads.data.samples import Sample, encode_mask, tight_box
from locheads.evaluation.evaluate import Variant
from locheads.method.geometry import Window
from locheads.method.selection import Head
from locheads.model.lvlm import Lvlm

SIDE = 20


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    pixels = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    mask = np.zeros((SIDE, SIDE), bool)
    mask[12:17, 3:9] = True
    box = tight_box(mask)
    return Sample("s", tmp_path / "noise.png", "noise", "the object", (SIDE, SIDE), box, encode_mask(mask))


@pytest.mark.parametrize(("wide", "region"), [(True, (0, 6, 20, 18)), (False, (2, 0, 14, 20))])
def test_a_band_holds_the_object_and_its_very_pixels(sample, wide, region):
    part = oblong(sample, 0.6, wide)
    x0, y0, x1, y1 = region
    assert part.size == (x1 - x0, y1 - y0) and part.sample_id != sample.sample_id
    np.testing.assert_array_equal(np.asarray(part.image), np.asarray(sample.image)[y0:y1, x0:x1])
    np.testing.assert_array_equal(part.mask, sample.mask[y0:y1, x0:x1])
    assert part.mask.sum() == sample.mask.sum() and tight_box(part.mask) == part.box
    assert part.checked() is part and oblong(part) is part


@given(st.integers(1, 60), st.data(), st.floats(0.05, 1.0))
def test_a_band_lies_inside_the_edge_and_around_the_object(edge, data, share):
    low = data.draw(st.floats(0, edge - 0.5))
    high = data.draw(st.floats(low + 0.25, edge))
    start, stop = band(low, high, edge, share)
    assert 0 <= start <= low and high <= stop <= edge
    assert stop - start >= round(share * edge)


def test_what_a_cut_leaves_out_is_gone_from_box_and_mask(sample):
    part = cut(sample, (5, 0, 20, 14))
    assert part.box == (0.0, 12.0, 4.0, 14.0) and part.mask.sum() == 4 * 2


def test_a_cut_without_the_object_has_neither_box_nor_mask(sample):
    assert (part := cut(sample, (9, 0, 20, 20))).box is None and part.mask is None
    boxed = replace(sample, segmentation=None)
    assert cut(boxed, (9, 0, 20, 20)).box is None and cut(boxed, (8, 0, 20, 20)).box == (0, 12, 1, 17)


def test_an_object_larger_than_the_share_is_kept_whole(sample):
    part = oblong(sample, 0.2, wide=False)
    assert part.size == (6, 20) and part.mask.sum() == sample.mask.sum()


@pytest.mark.parametrize(
    ("region", "square"), [((0, 0, 20, 12), (4, 0, 16, 12)), ((1, 0, 8, 20), (0, 6, 7, 13))]
)
def test_the_central_square_is_what_a_centre_crop_leaves(sample, region, square):
    part = cut(sample, region)
    x0, y0, x1, y1 = central_square(part)
    assert (x0, y0, x1, y1) == square and x1 - x0 == y1 - y0 == min(part.size)


@pytest.mark.parametrize("size", [(20, 12), (12, 20), (21, 12), (7, 7)])
@pytest.mark.parametrize("fit", ["pad", "crop", "stretch"])
def test_the_window_is_the_part_that_the_model_gets(size, fit):
    lvlm = Fitted(fit)
    width, height = size
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    image = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))
    square, window = np.asarray(lvlm._fitted(image)), lvlm.window(size)
    assert square.shape[0] == square.shape[1]
    if fit != "stretch":
        assert (window.x1 - window.x0, window.y1 - window.y0) == square.shape[1::-1]
        inside = square[max(0, -int(window.y0)) :, max(0, -int(window.x0)) :]
        assert tuple(inside[0, 0, :2]) == (max(0, window.x0), max(0, window.y0))
    if fit == "crop":
        assert square.shape[0] == min(size)


class Fitted(Lvlm):
    """A model of which only the way pictures are made square is asked for."""

    def __init__(self, fit: str) -> None:
        object.__setattr__(self, "fit", fit)
        object.__setattr__(self, "image_size", None)
        object.__setattr__(self, "processor", type("P", (), {"image_processor": Mean}))

    def _grid_of(self, size: tuple[int, int]) -> tuple[int, int]:
        return 4, 4


class Mean:
    image_mean = (0.5, 0.5, 0.5)


def test_scaled_as_if_stretched_by_hand():
    maps = np.zeros((1, 1, 4, 4))
    maps[0, 0, 1:3, 0:2] = 1.0  # the left half of the picture, which fills the two middle rows of the pad
    window = Window.pad_to_square((40, 20), (4, 4))
    right, wrong = (
        Variant((Head(0, 0),), kernel=1, scaled_as=way).ground(maps, window, 0).box
        for way in ("window", "stretch")
    )
    np.testing.assert_allclose(right, [0, 0, 20, 20])
    np.testing.assert_allclose(wrong, [0, 5, 20, 15])
