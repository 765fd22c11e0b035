from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from locheads.method.geometry import Window
from locheads.model.families import FAMILIES, own_window

CONSTRUCTORS = [Window.stretch, Window.pad_to_square, Window.resize_and_crop]

windows = st.builds(
    lambda make, size, grid: make(size, grid),
    st.sampled_from(CONSTRUCTORS),
    st.tuples(st.integers(2, 40), st.integers(2, 40)),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
)


def region(window: Window) -> tuple[float, float, float, float]:
    return window.x0, window.y0, window.x1, window.y1


def test_constructors_cover_the_hand_computed_regions():
    size, grid = (60, 41), (6, 6)
    assert region(Window.stretch(size, grid)) == (0, 0, 60, 41)
    assert region(Window.pad_to_square(size, grid)) == (0, -9, 60, 51)  # 9 rows above, 10 below
    assert region(Window.resize_and_crop(size, grid)) == (9.5, 0, 50.5, 41)
    assert region(Window.pad_to_square((3, 8), grid)) == (-2, 0, 6, 8)  # 2 columns left, 3 right


def test_padding_is_what_llavas_processor_does():
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    padded = LlavaImageProcessorPil().pad_to_square(np.ones((3, 41, 60)), background_color=(0, 0, 0))
    inside = np.nonzero(padded[0])
    window = Window.pad_to_square((60, 41), (6, 6))
    assert padded.shape[-2:] == (60, 60)
    assert (inside[1].min(), inside[0].min()) == (-window.x0, -window.y0)


@cache
def processors():
    import transformers as t

    square = {"height": 32, "width": 32}
    return {
        "crop": t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=square),
        "crop of more": t.CLIPImageProcessor(size={"shortest_edge": 40}, crop_size=square),
        "pad": t.LlavaImageProcessor(size={"shortest_edge": 32}, crop_size=square, do_pad=True),
        "resize and pad": t.DeepseekVLImageProcessor(size=square),
        "stretch": t.SiglipImageProcessor(size=square),
        "stretch twice": t.Idefics3ImageProcessor(
            size={"longest_edge": 64}, max_image_size={"longest_edge": 32}, do_image_splitting=False
        ),
        "first of tiles": t.LlavaNextImageProcessor(
            size={"shortest_edge": 32}, crop_size=square, image_grid_pinpoints=[[32, 64], [64, 32], [64, 64]]
        ),
    }


@pytest.mark.parametrize("name", list(processors()))
@settings(max_examples=8)
@given(size=st.tuples(st.integers(36, 120), st.integers(36, 120)))
def test_windows_follow_the_processors_to_a_fraction_of_a_pixel(name, size):
    """A picture whose red and green tell x and y, read back behind the processor."""
    processor, width, height = processors()[name], *size
    y, x = np.mgrid[:height, :width]
    picture = np.stack([2 * x, 2 * y, np.full_like(x, 255)], -1).astype(np.uint8)
    values = np.asarray(processor(images=Image.fromarray(picture))["pixel_values"][0], float)
    values = values[0] if values.ndim == 4 else values
    mean, std = np.array(processor.image_mean), np.array(processor.image_std)
    red, green, blue = values * std[:, None, None] * 255 + mean[:, None, None] * 255
    family = FAMILIES["llava_next"] if name == "first of tiles" else None
    window = own_window(family, processor, size, (32, 32))
    rows, columns = np.mgrid[:32, :32]
    points = window.points_to_pixels(np.stack([columns + 0.5, rows + 0.5], -1))
    inner = (points > 6).all(-1) & (points < np.array(size) - 6).all(-1) & (blue > 250)  # away from edges
    assert inner.sum() > 50
    np.testing.assert_allclose(red[inner] / 2 + 0.5, points[inner, 0], atol=0.75)
    np.testing.assert_allclose(green[inner] / 2 + 0.5, points[inner, 1], atol=0.75)


@given(windows, st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_on_the_grid_and_back_errs_by_half_a_patch_at_most(window, shares):
    width, height = window.size
    low, high = np.sort(np.array(shares).reshape(2, 2), axis=0)
    box = np.concatenate([low, high]) * np.array([width, height, width, height])
    back = window.box_to_pixels(np.round(window.box_to_cells(box)))
    assert (np.abs(back - box) <= np.tile(np.array(window.cell_size) / 2, 2) + 1e-9).all()


def test_what_was_cropped_away_is_told():
    window = Window.resize_and_crop((8, 4), (2, 2))  # columns 2 to 6 are seen
    boxes = np.array(
        [[0, 0, 2, 4], [0, 0, 4, 2], [3, 1, 5, 3], [6, 0, 8, 4], [4, 1, 4, 3], [1, 1, 1, 3]], float
    )
    np.testing.assert_allclose(window.visible(boxes), [0, 0.5, 1, 0, 1, 0])
    assert (Window.pad_to_square((8, 4), (2, 2)).visible(boxes) == 1).all()


@given(windows, st.integers(0, 2**32 - 1))
def test_the_visible_share_is_that_of_the_mask(window, seed):
    width, height = window.size
    corners = np.random.default_rng(seed).integers(0, [width, height], (2, 2))
    low, high = corners.min(0), corners.max(0) + 1
    mask = np.zeros((height, width), bool)
    mask[low[1] : high[1], low[0] : high[0]] = True
    cell_width, cell_height = window.cell_size
    seen = window.mask_to_grid(mask).sum() * cell_width * cell_height / mask.sum()
    np.testing.assert_allclose(window.visible(np.concatenate([low, high]).astype(float)), seen, atol=1e-9)


def test_rounding_follows_transformers_by_hand():
    # 101×60 → 53×32 pixels (53.87 cut off), columns 10 to 42 of 53; one is 101/53 pixels wide
    window = Window.resize_and_crop((101, 60), (4, 4), side=32)
    np.testing.assert_allclose(region(window), (10 * 101 / 53, 0, 42 * 101 / 53, 60))
    # 100×45 → 32×14 pixels, which begin at row 9 of 32; one is 45/14 pixels high
    padded = Window.resize_and_pad((100, 45), (4, 4), side=32)
    np.testing.assert_allclose(region(padded), (0, -9 * 45 / 14, 100, 23 * 45 / 14))


def test_an_empty_window_is_refused():
    with pytest.raises(ValueError, match="not empty"):
        Window(0.0, 0.0, 0.0, 4.0, 2, 2, (4, 4))
    with pytest.raises(ValueError, match="not empty"):
        Window.stretch((4, 4), (0, 2))


def test_box_of_cells_in_pixels_by_hand():
    window = Window.pad_to_square((60, 30), (6, 6))  # a cell is 10 x 10 pixels, the image starts at row 1.5
    box = window.box_to_pixels(np.array([1.0, 1.0, 3.0, 2.0]))
    np.testing.assert_array_equal(box, [10, -5, 30, 5])
    np.testing.assert_array_equal(window.clip(box), [10, 0, 30, 5])
    outside = window.clip(window.box_to_pixels(np.array([0.0, 0.0, 6.0, 1.0])))
    assert (outside[3] - outside[1]) == 0


@given(windows, st.lists(st.floats(-50, 50), min_size=8, max_size=8))
def test_cells_and_pixels_are_inverse(window, numbers):
    boxes = np.array(numbers).reshape(2, 4)
    np.testing.assert_allclose(window.box_to_cells(window.box_to_pixels(boxes)), boxes, atol=1e-9)
    np.testing.assert_allclose(
        window.points_to_pixels(window.points_to_cells(boxes[:, :2])), boxes[:, :2], atol=1e-9
    )


@given(windows)
def test_clip_gives_boxes_inside_the_image(window):
    box = window.clip(window.box_to_pixels(np.array([0.0, 0.0, window.columns, window.rows])))
    width, height = window.size
    assert 0 <= box[0] < box[2] <= width
    assert 0 <= box[1] < box[3] <= height


def test_mask_to_grid_counts_cut_pixels_by_area():
    window = Window.stretch((3, 2), (1, 2))  # a cell is 1.5 pixels wide
    mask = np.array([[True, True, False], [False, True, False]])
    np.testing.assert_allclose(window.mask_to_grid(mask), [[(1 + 0.5 + 0.5) / 3, (0.5 + 0.5) / 3]])


def test_mask_to_grid_counts_padding_as_not_covered():
    window = Window.pad_to_square((4, 2), (2, 2))
    np.testing.assert_allclose(window.mask_to_grid(np.ones((2, 4), bool)), [[0.5, 0.5], [0.5, 0.5]])


def test_mask_to_grid_equals_averaging_a_finely_enlarged_mask():
    rng = np.random.default_rng(3)
    mask = rng.random((10, 14)) < 0.4
    window = Window.stretch((14, 10), (4, 3))
    fine = np.kron(mask, np.ones((12, 12)))  # 120 x 168: 4 rows of 30, 3 columns of 56
    expected = fine.reshape(4, 30, 3, 56).mean(axis=(1, 3))
    np.testing.assert_allclose(window.mask_to_grid(mask), expected, atol=1e-12)


@given(windows, st.integers(0, 2**32 - 1))
def test_mask_to_grid_keeps_the_area_inside_the_window(window, seed):
    width, height = window.size
    mask = np.random.default_rng(seed).random((2, height, width)) < 0.5
    coverage = window.mask_to_grid(mask)
    assert coverage.min() >= 0 and coverage.max() <= 1 + 1e-12
    if window.x0 <= 0 and window.y0 <= 0:  # nothing is cropped
        cell_width, cell_height = window.cell_size
        np.testing.assert_allclose(
            coverage.sum(axis=(1, 2)) * cell_width * cell_height, mask.sum(axis=(1, 2))
        )


def test_grid_to_pixels_equals_torchs_bilinear_interpolation():
    maps = np.random.default_rng(0).random((2, 5, 7))
    enlarged = Window.stretch((33, 20), (5, 7)).grid_to_pixels(maps)
    expected = torch.nn.functional.interpolate(torch.tensor(maps)[None], size=(20, 33), mode="bilinear")[0]
    np.testing.assert_allclose(enlarged, expected.numpy(), atol=1e-12)


def test_grid_to_pixels_is_zero_where_the_crop_does_not_reach():
    overlay = Window.resize_and_crop((8, 4), (2, 2)).grid_to_pixels(np.ones((2, 2)))
    np.testing.assert_allclose(overlay, np.repeat([[0, 0, 1, 1, 1, 1, 0, 0]], 4, axis=0))


@given(windows)
def test_a_constant_map_stays_constant_inside_the_window(window):
    overlay = window.grid_to_pixels(np.full((window.rows, window.columns), 0.25))
    assert set(np.unique(np.round(overlay, 12))) <= {0.0, 0.25}
    assert (overlay > 0).any()


def test_wrong_shapes_are_refused():
    window = Window.stretch((6, 4), (2, 3))
    with pytest.raises(ValueError, match="mask"):
        window.mask_to_grid(np.ones((6, 4), bool))
    with pytest.raises(ValueError, match="grid"):
        window.grid_to_pixels(np.ones((3, 2)))
