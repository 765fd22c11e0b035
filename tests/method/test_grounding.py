from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from locheads.method import criteria
from locheads.method.geometry import Window
from locheads.method.grounding import ground, pseudo_mask, smooth
from locheads.method.head_iou import iou_per_head, target_cells
from locheads.method.hulls import convex_hull, largest_component, polygon_area

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 7), st.integers(1, 7))).filter(np.any)


def picture(text: str) -> np.ndarray:
    """A map from rows of digits."""
    return np.array([[float(cell) for cell in row] for row in text.split()])


def square_window(maps: np.ndarray, cell: int = 10) -> Window:
    rows, columns = maps.shape[-2:]
    return Window.stretch((columns * cell, rows * cell), (rows, columns))


def monotone_chain(points: set[tuple[int, int]]) -> list[tuple[int, int]]:
    """Andrew's convex hull, collinear points left out: written down apart from Qhull."""

    def half(ordered):
        hull = []
        for x, y in ordered:
            while len(hull) > 1:
                (ax, ay), (bx, by) = hull[-2:]
                if (bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0:
                    break
                hull.pop()
            hull.append((x, y))
        return hull[:-1]

    ordered = sorted(points)
    return half(ordered) + half(ordered[::-1])


def cell_corners(mask: np.ndarray) -> set[tuple[int, int]]:
    return {(int(c) + i, int(r) + j) for r, c in np.argwhere(mask) for i in (0, 1) for j in (0, 1)}


@pytest.mark.parametrize(("kernel", "sigma"), [(3, 1.0), (7, 1.0), (7, 0.4), (5, 1.8), (11, 1.0)])
def test_smoothing_equals_scipys_gaussian_filter_of_the_same_kernel(kernel, sigma):
    maps = np.random.default_rng(0).random((2, 3, 18, 18))
    radius = (0, 0, kernel // 2, kernel // 2)
    expected = ndimage.gaussian_filter(maps, (0, 0, sigma, sigma), mode="mirror", radius=radius)
    np.testing.assert_allclose(smooth(maps, kernel, sigma), expected, atol=1e-14)


def test_smoothing_equals_a_dense_sum_over_the_mirrored_map():
    one = np.random.default_rng(1).random((6, 9))
    offset = np.arange(-3, 4)
    kernel = np.exp(-(offset[:, None] ** 2 + offset**2) / 2)
    kernel /= kernel.sum()
    padded = np.pad(one, 3, mode="reflect")
    expected = [[(padded[r : r + 7, c : c + 7] * kernel).sum() for c in range(9)] for r in range(6)]
    np.testing.assert_allclose(smooth(one), expected, atol=1e-14)


def test_smoothing_that_does_nothing():
    one = np.random.default_rng(1).random((5, 5))
    np.testing.assert_array_equal(smooth(one, kernel=1), one)
    np.testing.assert_array_equal(smooth(one, sigma=0.0), one)
    np.testing.assert_allclose(smooth(np.full((5, 5), 0.3)), 0.3)
    assert smooth(np.ones((1, 1))) == 1


@pytest.mark.parametrize(("kernel", "sigma"), [(4, 1.0), (0, 1.0), (-1, 1.0), (7, -0.5)])
def test_impossible_gaussians_are_refused(kernel, sigma):
    with pytest.raises(ValueError, match="odd"):
        smooth(np.ones((3, 3)), kernel, sigma)


def test_the_combined_map_is_the_sum_of_the_smoothed_maps():
    maps, window = np.random.default_rng(2).random((3, 8, 8)), Window.stretch((8, 8), (8, 8))
    np.testing.assert_allclose(ground(maps, window).map, smooth(maps[0]) + smooth(maps[1]) + smooth(maps[2]))
    np.testing.assert_allclose(ground(maps, window, kernel=1).map, maps.sum(axis=0))


def test_pseudo_mask_is_strictly_above_the_mean():
    np.testing.assert_array_equal(pseudo_mask(picture("0123 0123")), [[False, False, True, True]] * 2)
    assert not pseudo_mask(np.full((3, 3), 0.1)).any()


@pytest.mark.parametrize(
    ("rows", "area"),
    [("1", 1), ("111", 3), ("100 100 111", 9 - 2), ("100 010 001", 9 - 4), ("101 000 101", 9), ("10 01", 3)],
)
def test_hull_area_by_hand(rows, area):
    assert polygon_area(convex_hull(picture(rows).astype(bool))) == area


@given(masks)
def test_hull_equals_the_monotone_chain(mask):
    hull = convex_hull(mask)
    expected = monotone_chain(cell_corners(mask))
    assert set(map(tuple, hull.tolist())) == set(expected)
    assert polygon_area(hull) == polygon_area(np.array(expected, dtype=float))


@given(masks)
def test_the_hull_encloses_its_cells_tightly(mask):
    hull = convex_hull(mask)
    assert polygon_area(hull) >= mask.sum()
    row, column = np.nonzero(mask)
    np.testing.assert_array_equal(hull.min(axis=0), [column.min(), row.min()])
    np.testing.assert_array_equal(hull.max(axis=0), [column.max() + 1, row.max() + 1])
    edges = np.roll(hull, -1, axis=0) - hull
    for corner in cell_corners(mask):
        away = np.array(corner) - hull
        side = edges[:, 0] * away[:, 1] - edges[:, 1] * away[:, 0]
        assert (side >= 0).all() or (side <= 0).all()


def test_an_empty_mask_has_no_hull():
    with pytest.raises(ValueError, match="empty"):
        convex_hull(np.zeros((2, 2), bool))


def test_the_largest_hull_counts_and_not_the_most_cells():
    mask = picture("1110000 1110001 0000010 0000100 0001000").astype(bool)  # hulls of 6 and 10; cells 6 and 4
    assert largest_component(mask, np.zeros(mask.shape)).sum() == 4


def test_hulls_of_equal_area_go_to_more_attention_then_to_the_first():
    mask = picture("101 000 001").astype(bool)
    np.testing.assert_array_equal(np.argwhere(largest_component(mask, picture("101 000 002"))), [[2, 2]])
    np.testing.assert_array_equal(np.argwhere(largest_component(mask, picture("101 000 001"))), [[0, 0]])


def test_ground_by_hand_on_a_padded_image():
    maps = np.stack([picture("0000 0110 0110 0000"), picture("0000 0110 0010 0000")])
    window = Window.pad_to_square((40, 20), (4, 4))  # cells of 10 pixels; the image is rows 1 and 2
    grounding = ground(maps, window, kernel=1)
    np.testing.assert_array_equal(grounding.map, maps.sum(axis=0))
    np.testing.assert_array_equal(grounding.mask, maps[0] > 0)
    np.testing.assert_array_equal(grounding.box_cells, [1, 1, 3, 3])
    np.testing.assert_array_equal(grounding.box, [10, 0, 30, 20])
    assert set(map(tuple, grounding.hull.tolist())) == {(10, 0), (30, 0), (30, 20), (10, 20)}
    assert grounding.found


def test_ground_clips_the_box_to_the_image_and_leaves_the_hull():
    maps = picture("0110 0110 0000 0000")[None]
    grounding = ground(maps, Window.pad_to_square((40, 20), (4, 4)), kernel=1)
    np.testing.assert_array_equal(grounding.box, [10, 0, 30, 10])
    assert grounding.hull[:, 1].min() == -10


def test_ground_keeps_the_largest_component_or_all_cells():
    maps = picture("9900 9900 0000 0009")[None]
    window = square_window(maps)
    np.testing.assert_array_equal(ground(maps, window, kernel=1).box, [0, 0, 20, 20])
    np.testing.assert_array_equal(ground(maps, window, kernel=1, keep="all").box, [0, 0, 40, 40])


def test_ground_with_a_level_of_twice_the_mean():
    maps = picture("090 040 000")[None]  # mean 1.44: both cells are above it, and above 2.89; 4.33 leaves one
    window = square_window(maps)
    np.testing.assert_array_equal(ground(maps, window, kernel=1, level=2.0).box_cells, [1, 0, 2, 2])
    np.testing.assert_array_equal(ground(maps, window, kernel=1, level=3.0).box_cells, [1, 0, 2, 1])


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_nothing_above_the_mean_gives_the_whole_image(value):
    grounding = ground(np.full((3, 4, 4), value), Window.pad_to_square((41, 20), (4, 4)))
    assert not grounding.found
    assert not grounding.mask.any()
    np.testing.assert_array_equal(grounding.box, [0, 0, 41, 20])
    np.testing.assert_array_equal(grounding.box_cells, [0, 0, 4, 4])


def test_a_region_in_the_padding_gives_the_whole_image():
    maps = picture("0990 0000 0000 0000")[None]
    grounding = ground(maps, Window.pad_to_square((40, 20), (4, 4)), kernel=1)
    assert not grounding.found
    np.testing.assert_array_equal(grounding.box, [0, 0, 40, 20])
    np.testing.assert_array_equal(grounding.box_cells, [1, 0, 3, 1])


def test_maps_that_do_not_fit_the_window_are_refused():
    with pytest.raises(ValueError, match="grid"):
        ground(np.ones((3, 4, 5)), Window.stretch((50, 40), (5, 4)))


@given(
    hnp.arrays(np.float64, (2, 6, 5), elements=st.sampled_from([0.0, 0.1, 0.5, 1.0])),
    st.sampled_from([Window.stretch, Window.pad_to_square, Window.resize_and_crop]),
)
def test_grounding_is_consistent(maps, make):
    window = make((64, 37), (6, 5))
    grounding = ground(maps, window)
    x0, y0, x1, y1 = grounding.box
    assert 0 <= x0 < x1 <= 64 and 0 <= y0 < y1 <= 37
    assert (grounding.region <= grounding.mask).all() or not grounding.mask.any()
    if grounding.found:
        labels, count = ndimage.label(grounding.mask, np.ones((3, 3)))
        areas = [polygon_area(convex_hull(labels == label)) for label in range(1, count + 1)]
        assert polygon_area(grounding.hull_cells) == max(areas)
        np.testing.assert_allclose(
            window.box_to_cells(window.clip(window.box_to_pixels(grounding.box_cells))),
            window.box_to_cells(grounding.box),
        )


def test_target_cells_at_least_half_or_else_the_fullest():
    coverage = np.stack([picture("00 00"), picture("00 00"), picture("00 00")])
    coverage[0, 0] = [0.5, 0.49]
    coverage[1] = [[0.1, 0.2], [0.2, 0.0]]
    expected = [[[1, 0], [0, 0]], [[0, 1], [1, 0]], [[0, 0], [0, 0]]]
    np.testing.assert_array_equal(target_cells(coverage), expected)


def test_iou_per_head_by_hand():
    coverage = np.stack([picture("1100 0000"), picture("0000 0011")])
    right, half, wrong = picture("9900 0000"), picture("9000 0000"), picture("0009 0000")
    maps = np.stack([[[right, half, wrong]]] * 2)  # sample, layer, head
    ious = iou_per_head(maps, coverage, kernel=1)
    np.testing.assert_array_equal(ious, [[[1, 0.5, 0]], [[0, 0, 0]]])
    assert iou_per_head(np.zeros((2, 4)), np.zeros((2, 4))) == 0


def test_iou_per_head_equals_a_loop():
    rng = np.random.default_rng(5)
    maps, coverage = rng.random((3, 2, 4, 9, 8)) ** 3, rng.random((3, 9, 8))
    ious = iou_per_head(maps, coverage)
    for sample, layer, head in np.ndindex(3, 2, 4):
        smoothed = ndimage.gaussian_filter(maps[sample, layer, head], 1.0, mode="mirror", radius=3)
        predicted, target = smoothed > smoothed.mean(), coverage[sample] >= 0.5
        assert ious[sample, layer, head] == pytest.approx(
            (predicted & target).sum() / (predicted | target).sum()
        )


@pytest.mark.parametrize(
    ("kernel", "sigma", "level"), [(7, 1.0, 1.0), (11, 1.8, 2.0), (1, 1.0, 1.0), (3, 0.0, 0.5)]
)
@pytest.mark.parametrize("cells", [1, 70, 2**22])
def test_iou_per_head_is_that_of_the_smoothed_map_however_many_at_a_time(
    kernel, sigma, level, cells, monkeypatch
):
    monkeypatch.setattr(criteria, "CELLS", cells)
    rng = np.random.default_rng(6)  # maps smaller than the kernel too
    maps, coverage = rng.random((25, 60, 5, 4)).astype(np.float32) ** 3, rng.random((25, 5, 4))
    predicted = pseudo_mask(smooth(maps, kernel, sigma), level)
    target = target_cells(coverage)[:, None]
    expected = (predicted & target).sum((-2, -1)) / (predicted | target).sum((-2, -1))
    np.testing.assert_array_equal(iou_per_head(maps, coverage, kernel, sigma, level), expected)


def test_confidence_is_the_agreement_of_the_boxes_of_single_heads_by_hand():
    # boxes of 2 x 1, 2 x 2 and 1 x 2 cells: IoU 2/4, 1/3 (one common cell of three) and 2/4
    maps = np.stack([picture("0000 0990 0000"), picture("0000 0990 0990"), picture("0000 0090 0090")])
    found = ground(maps, square_window(maps), kernel=1)
    assert found.head_boxes.tolist() == [[1, 1, 3, 2], [1, 1, 3, 3], [2, 1, 3, 3]]
    assert found.confidence == pytest.approx((1 / 2 + 1 / 3 + 1 / 2) / 3)


def test_heads_are_boxed_as_their_sum_is():
    maps = np.stack([picture("9009 0000"), picture("9000 0000")])
    largest = ground(maps, square_window(maps), kernel=1)
    every = ground(maps, square_window(maps), kernel=1, keep="all")
    assert largest.confidence == 1 and every.confidence == pytest.approx(1 / 4)
    low = np.stack([picture("9300 0000"), picture("9000 0000")])  # 3 is above the mean, 1.5, not above 3
    assert ground(low, square_window(low), kernel=1).confidence == 0.5
    assert ground(low, square_window(low), kernel=1, level=2.0).confidence == 1
    single = [ground(one[None], square_window(low)).box_cells for one in low]
    np.testing.assert_array_equal(ground(low, square_window(low)).head_boxes, single)


def test_a_head_that_marks_nothing_agrees_with_none_and_one_head_has_no_confidence():
    maps = np.stack([picture("0900"), picture("0000"), picture("0900")])
    assert ground(maps, square_window(maps), kernel=1).confidence == pytest.approx(1 / 3)
    assert ground(np.ones((3, 4, 4)), square_window(np.ones((4, 4)))).confidence == 0
    assert np.isnan(ground(maps[:1], square_window(maps)).confidence)


@given(
    hnp.arrays(
        np.float64,
        st.tuples(st.integers(2, 4), st.integers(2, 6), st.integers(2, 6)),
        elements=st.floats(0, 1, width=32),
    )
)
def test_confidence_is_a_share_and_one_for_equal_maps(maps):
    window = square_window(maps)
    found = ground(maps, window)
    assert 0 <= found.confidence <= 1 + 1e-12
    same = ground(np.repeat(maps[:1], 3, axis=0), window)
    assert same.confidence == pytest.approx(1 if pseudo_mask(smooth(maps[0])).any() else 0)
    np.testing.assert_array_equal(found.head_maps.sum(axis=0), found.map)
