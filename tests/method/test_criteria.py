from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from locheads.method import criteria
from locheads.method.criteria import (
    attention_sum,
    binarise,
    bottom_row_peak,
    count_components,
    curvature_threshold,
    label_components,
    sample_thresholds,
    spatial_entropy,
)

# Few distinct values, so that ties with the mean and neighbouring components are frequent.
small_maps = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    elements=st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]),
)


def picture(text: str) -> np.ndarray:
    """A map from rows of digits."""
    return np.array([[float(cell) for cell in row] for row in text.split()])


def naive_entropy(one: np.ndarray, level=1.0, floor=0.0, weight="area", connectivity=8) -> float:
    """The definition, map by map and component by component."""
    structure = np.ones((3, 3)) if connectivity == 8 else None
    excess, rounding = one - level * one.mean(), 1e-9 * level * one.mean()
    labels, count = ndimage.label(excess > floor + rounding, structure)
    by_mass = weight == "mass"
    sizes = [(excess if by_mass else np.ones_like(one))[labels == n].sum() for n in range(1, count + 1)]
    total = excess[excess > rounding].sum() if by_mass else sum(sizes)
    if not total:
        return np.inf
    shares = np.array(sizes) / total
    return float(-(shares * np.log(shares)).sum())


def test_attention_sum_by_hand_and_in_double_precision():
    maps = np.zeros((2, 1, 2, 2), np.float32)
    maps[1, 0] = [[0.25, 0.25], [0.0, 0.125]]
    np.testing.assert_array_equal(attention_sum(maps), [[0.0], [0.625]])
    assert attention_sum(np.full((64, 64), 1 / 4096, np.float16)) == 1.0


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("000 000 000", np.inf),  # empty
        ("333 333 333", np.inf),  # uniform
        ("000 010 000", 0.0),  # one cell
        ("900 090 009", 0.0),  # diagonal neighbours touch
        ("909 000 000", np.log(2)),  # two equal components
        ("9090 9000 0009", -(0.5 * np.log(0.5) + 2 * 0.25 * np.log(0.25))),  # areas 2, 1, 1
        ("90909 00000 90900", np.log(5)),  # five equal ones: above 1
    ],
)
def test_spatial_entropy_by_hand(rows, expected):
    assert spatial_entropy(picture(rows)) == pytest.approx(expected, abs=1e-15)


def test_one_component_has_an_entropy_of_exactly_zero():
    maps = np.random.default_rng(0).random((50, 5, 5))
    maps[:, 1:3, 1:4] += 10
    assert (spatial_entropy(maps) == 0).all()
    assert (spatial_entropy(maps, weight="mass") == 0).all()


def test_four_connectivity_parts_diagonal_neighbours():
    assert spatial_entropy(picture("900 090 009"), connectivity=4) == pytest.approx(np.log(3))


def test_a_cell_equal_to_the_mean_is_not_above_it():
    # 0, 1, 2: the middle cell is the mean itself, also where the scaled mean is not exact.
    for scale in (1.0, 0.1, 1 / 3, 1e-7):
        np.testing.assert_array_equal(binarise(scale * picture("012")), [[False, False, True]])


@pytest.mark.parametrize("value", [0.1, 1 / 3, 1 / 576, 1e-12])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_no_cell_of_a_uniform_map_is_above_its_mean(value, dtype):
    uniform = np.full((24, 24), value, dtype)
    assert not binarise(uniform).any()
    assert spatial_entropy(uniform) == np.inf


def test_a_map_with_nan_is_never_chosen():
    assert spatial_entropy(np.array([[1.0, np.nan, 0.0]])) == np.inf


def test_level_floor_and_weight_by_hand():
    one = picture("80300")  # mean 2.2: 8 and 3 are above it, only 8 is above twice the mean
    assert spatial_entropy(one) == pytest.approx(np.log(2))
    assert spatial_entropy(one, level=2.0) == 0
    assert spatial_entropy(one, floor=1.0) == 0
    p, q = 5.8 / 6.6, 0.8 / 6.6
    assert spatial_entropy(one, weight="mass") == pytest.approx(-(p * np.log(p) + q * np.log(q)))


@given(
    small_maps,
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([0.0, 0.05]),
    st.sampled_from(["area", "mass"]),
    st.sampled_from([4, 8]),
)
@example(np.zeros((1, 3, 3)), 1.0, 0.0, "mass", 8)  # empty
@example(np.full((2, 3, 3), 1 / 3), 1.0, 0.0, "area", 8)  # uniform
@example(np.ones((3, 1, 1)), 0.5, 0.0, "mass", 4)  # a single cell, above half its mean
@example(picture("000 010 000")[None], 1.0, 0.0, "mass", 8)  # one cell above
@example(picture("101 000 101")[None], 2.0, 0.0, "mass", 8)  # four equal components
@example(np.stack([picture("111"), picture("909"), picture("000")]), 1.0, 0.0, "area", 8)  # none, two, none
def test_spatial_entropy_equals_the_naive_loop(maps, level, floor, weight, connectivity):
    expected = np.array([naive_entropy(one, level, floor, weight, connectivity) for one in maps])
    found = spatial_entropy(maps, level, floor, weight, connectivity)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    count = np.array([count_components(binarise(one, level, floor), connectivity) for one in maps])
    within = np.array([binarise(one, level, 0.0 if weight == "mass" else floor).any() for one in maps])
    np.testing.assert_array_equal(found == np.inf, ~within)
    assert (found[count == 1] == 0).all() or (weight == "mass" and floor > 0)
    bits = spatial_entropy(maps, level, floor, weight, connectivity, "2")
    np.testing.assert_allclose(bits, expected / np.log(2), rtol=0, atol=1e-12)
    normalised = spatial_entropy(maps, level, floor, weight, connectivity, "normalised")
    np.testing.assert_allclose(normalised, expected / np.log(np.maximum(count, 2)), rtol=0, atol=1e-12)


@pytest.mark.parametrize("cells", [1, 100, 10**9])
@pytest.mark.parametrize("weight", ["area", "mass"])
def test_how_many_maps_are_treated_at_a_time_changes_nothing(cells, weight, monkeypatch):
    maps = np.random.default_rng(8).random((3, 5, 6, 7)) ** 3
    maps[1] = 0  # whole blocks without a component
    expected = np.array([naive_entropy(one, weight=weight) for one in maps.reshape(-1, 6, 7)])
    monkeypatch.setattr(criteria, "CELLS", cells)
    np.testing.assert_allclose(spatial_entropy(maps, weight=weight).ravel(), expected, rtol=0, atol=1e-12)


def test_a_map_with_nan_or_infinity_leaves_its_neighbours_alone():
    maps = np.stack([picture("909"), picture("909"), picture("909"), picture("990")])
    maps[1, 0, 1], maps[2, 0, 1] = np.nan, np.inf
    for weight in ("area", "mass"):
        expected = [np.log(2), np.inf, np.inf, 0]
        np.testing.assert_allclose(spatial_entropy(maps, weight=weight), expected, rtol=0, atol=1e-12)


def test_components_are_counted_map_by_map():
    binary = np.stack([picture("909"), picture("000"), picture("990"), picture("000")]) > 0
    np.testing.assert_array_equal(count_components(binary.reshape(2, 2, 1, 3)), [[2, 0], [1, 0]])


def test_spatial_entropy_equals_the_naive_loop_on_many_noisy_maps():
    maps = ndimage.gaussian_filter(np.random.default_rng(1).random((3, 4, 5, 18, 18)), (0, 0, 0, 1, 1))
    expected = np.array([naive_entropy(one) for one in maps.reshape(-1, 18, 18)]).reshape(3, 4, 5)
    np.testing.assert_allclose(spatial_entropy(maps), expected, atol=1e-12)
    assert len(np.unique(expected)) > 10


@pytest.mark.parametrize("shape", [(1, 64), (5, 63), (4, 64), (3, 65), (6, 128), (30, 200), (70, 1)])
@pytest.mark.parametrize("weight", ["area", "mass"])
@pytest.mark.parametrize("connectivity", [4, 8])
def test_maps_of_any_shape_equal_the_naive_loop(shape, weight, connectivity):
    maps = np.random.default_rng(4).random((20, *shape)) ** np.linspace(0.2, 3, 20)[:, None, None]
    expected = [naive_entropy(one, weight=weight, connectivity=connectivity) for one in maps]
    entropy = spatial_entropy(maps, weight=weight, connectivity=connectivity)
    np.testing.assert_allclose(entropy, expected, atol=1e-12)


@pytest.mark.parametrize("weight", ["area", "mass"])
def test_one_large_component_has_an_entropy_of_exactly_zero(weight):
    maps = np.random.default_rng(5).random((200, 9, 9))
    maps[:, 1:8, 1:8] += 10
    assert (spatial_entropy(maps, weight=weight) == 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_many_maps_in_any_layout_equal_the_naive_loop(dtype):
    maps = np.random.default_rng(3).random((5, 7, 40, 40)).astype(dtype).transpose(2, 3, 0, 1)
    expected = [naive_entropy(one.astype(np.float64)) for one in maps.reshape(-1, 5, 7)]
    np.testing.assert_allclose(spatial_entropy(maps).ravel(), expected, atol=1e-12)
    assert maps[0, 0].strides[0] > maps[0, 0].itemsize * 7 and len(expected) == 1600


def test_winding_components_are_joined_wherever_they_meet():
    comb = picture("9090909 9090909 9999999")  # four teeth that only the last row joins
    assert spatial_entropy(comb) == 0 == spatial_entropy(comb, connectivity=4)
    spiral = picture("99999 00009 99909 90009 99999")
    assert spatial_entropy(spiral) == 0 == spatial_entropy(spiral[:, ::-1].copy())


@given(small_maps, st.sampled_from([1e-6, 0.1, 3.0, 1e4]))
def test_spatial_entropy_knows_no_scale_and_no_orientation(maps, scale):
    entropy = spatial_entropy(maps)
    np.testing.assert_allclose(spatial_entropy(scale * maps), entropy, atol=1e-12)
    np.testing.assert_allclose(spatial_entropy(maps[:, ::-1]), entropy, atol=1e-12)
    np.testing.assert_allclose(spatial_entropy(np.swapaxes(maps, 1, 2).copy()), entropy, atol=1e-12)


@given(small_maps)
def test_spatial_entropy_lies_between_zero_and_the_log_of_the_components(maps):
    entropy = spatial_entropy(maps)
    labels = label_components(binarise(maps))
    count = np.array([len(np.unique(one[one > 0])) for one in labels])
    assert ((entropy == np.inf) == (count == 0)).all()
    found = count > 0
    assert (entropy[found] >= 0).all()
    assert (entropy[found] <= np.log(count[found]) + 1e-12).all()


def test_components_do_not_reach_from_map_to_map():
    binary = np.ones((2, 3, 2, 2), bool)
    labels = label_components(binary)
    assert sorted(set(labels.ravel().tolist())) == [1, 2, 3, 4, 5, 6]
    assert all(len(np.unique(one)) == 1 for one in labels.reshape(6, 2, 2))


def test_no_maps_give_no_entropies():
    assert spatial_entropy(np.zeros((0, 4, 3, 3))).shape == (0, 4)


def test_threshold_is_the_point_farthest_from_the_chord():
    # Sorted 0, 1, 3, 10; the chord is 0, 3.33, 6.67, 10; the curve is 2.33 and 3.67 below it.
    threshold = curvature_threshold(np.array([[3.0, 0.0], [10.0, 1.0]]))
    assert (threshold.value, threshold.index) == (3.0, 2)
    np.testing.assert_array_equal(threshold.sums, [0, 1, 3, 10])
    expected = np.array([0, 1 / 3 - 0.1, 2 / 3 - 0.3, 0]) / np.sqrt(2)
    np.testing.assert_allclose(threshold.distances, expected, atol=1e-11)


def test_threshold_ties_go_to_the_lowest_sum():
    assert curvature_threshold(np.array([0.0, 1.0, 0.25, 0.75, 0.5])).index == 0  # a straight line
    assert curvature_threshold(np.full(7, 0.3)).value == 0.3
    assert curvature_threshold(np.array([0.4])).value == 0.4
    assert curvature_threshold(np.array([0.0, 0.1, 0.5, 0.9, 1.0])).value == 0.1  # S: 0.1 and 0.9 equally far


@given(
    hnp.arrays(np.float64, st.integers(3, 40), elements=st.floats(0, 1)), st.sampled_from([0.5, 3.0, 100.0])
)
def test_threshold_follows_the_scale_of_the_sums_and_not_their_order(sums, scale):
    sums = np.round(sums, 3)
    threshold = curvature_threshold(sums)
    assert threshold.value in sums
    assert curvature_threshold(sums[::-1].copy()).value == threshold.value
    assert curvature_threshold(scale * sums).index == threshold.index


@given(hnp.arrays(np.float64, st.integers(2, 30), elements=st.integers(0, 50).map(float)))
def test_distances_are_those_to_the_line_through_the_ends(sums):
    threshold = curvature_threshold(sums)
    if threshold.sums[0] == threshold.sums[-1]:
        return
    x, y = np.linspace(0, 1, len(sums)), np.interp(threshold.sums, threshold.sums[[0, -1]], [0, 1])
    for a, b, distance in zip(x, y, threshold.distances, strict=True):
        foot = (a + b) / 2  # the nearest point of the diagonal
        assert np.hypot(a - foot, b - foot) == pytest.approx(distance, abs=1e-11)


def test_one_threshold_a_sample_is_that_of_each_samples_sums():
    sums = np.random.default_rng(2).random((6, 4, 5)) ** 3
    np.testing.assert_array_equal(sample_thresholds(sums), [curvature_threshold(one).value for one in sums])


@pytest.mark.parametrize("sums", [np.array([]), np.array([0.1, np.nan]), np.array([np.inf, 1.0])])
def test_a_threshold_of_nothing_or_of_no_numbers_is_refused(sums):
    with pytest.raises(ValueError, match="finite"):
        curvature_threshold(sums)


def test_bottom_row_peak_by_hand():
    np.testing.assert_array_equal(bottom_row_peak(np.stack([picture("99 01"), picture("00 20")])), [1, 2])


@pytest.mark.parametrize(
    ("sums", "side"),
    [
        ([0, 1, 3, 10], "below"),
        ([0, 7, 9, 10], "above"),
        ([0, 1, 2, 3], "on"),
        ([2, 2, 2], "on"),
        ([5], "on"),
    ],
)
def test_threshold_says_on_which_side_of_the_chord_it_lies(sums, side):
    assert curvature_threshold(np.array(sums, dtype=float)).side == side
