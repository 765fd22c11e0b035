"""Criteria and overlap in torch are those of `locheads.method.criteria` and `locheads.method.grounding`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from locheads.method.criteria import attention_sum, label_components, spatial_entropy
from locheads.method.head_iou import iou_per_head
from locheads.profiling import criteria_cuda as on_card

# Few distinct values, so that ties with the mean and neighbouring components are frequent.
small_maps = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)),
    elements=st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0]),
)


def picture(text: str) -> np.ndarray:
    """A map from rows of digits."""
    return np.array([[float(cell) for cell in row] for row in text.split()])


def check(maps: np.ndarray, coverage: np.ndarray) -> dict[str, np.ndarray]:
    """Judges the maps both ways, with the IoU of raw and smoothed maps; the numbers have to be the same."""
    check_one(maps, coverage, "raw", 0.0)
    return check_one(maps, coverage, "smoothed", 1.0)


def check_one(
    maps: np.ndarray, coverage: np.ndarray, iou_of: Literal["raw", "smoothed"], sigma: float
) -> dict[str, np.ndarray]:
    found = on_card.judge(list(torch.from_numpy(maps)), coverage, iou_of)
    expected = {
        "attention_sum": attention_sum(maps),
        "spatial_entropy": spatial_entropy(maps),
        "iou": iou_per_head(maps, coverage, sigma=sigma),
    }
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], values, rtol=0, atol=1e-12, err_msg=name)
    return found


@given(small_maps, st.data())
def test_the_numbers_are_those_of_the_host(maps: np.ndarray, data: st.DataObject) -> None:
    shares = st.sampled_from([0.0, 0.0, 0.3, 0.5, 1.0])
    coverage = data.draw(hnp.arrays(np.float64, (len(maps), *maps.shape[-2:]), elements=shares))
    check(maps, coverage)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sigma", [0, 1, 2])
def test_the_numbers_are_those_of_the_host_on_many_noisy_maps(sigma: int, dtype: type) -> None:
    rng = np.random.default_rng(sigma)
    maps = ndimage.gaussian_filter(rng.random((3, 4, 25, 24, 24)), (0, 0, 0, sigma, sigma)) ** 4 / 576
    coverage = ndimage.gaussian_filter(rng.random((3, 24, 24)), (0, 2, 2))
    found = check(maps.astype(dtype), np.clip((coverage - coverage.mean()) * 20, 0, 1))
    assert len(np.unique(found["spatial_entropy"])) > 200 and len(np.unique(found["iou"])) > 200


def test_maps_of_any_shape_and_in_any_layout() -> None:
    rng = np.random.default_rng(4)
    for rows, columns in [(1, 1), (1, 9), (2, 3), (9, 8), (7, 30)]:  # also smaller than the kernel
        maps = rng.random((2, rows, columns, 3, 5)).astype(np.float32).transpose(0, 3, 4, 1, 2) ** 3
        check(maps, rng.random((2, rows, columns)))


def test_uniform_empty_and_broken_maps_are_judged_by_hand() -> None:
    one = picture("0000 0900 0000 0000")
    broken = np.where(one > 0, np.nan, 0.1)
    endless = np.where(one > 0, np.inf, 0.1)
    values = (0.1, 1 / 3, 1 / 576, 1e-12)
    maps = np.stack([0 * one, *(np.full((4, 4), value) for value in values), broken, endless, one])
    coverage = np.stack([np.zeros((4, 4)), one / 9])  # no object, and one
    found = check(np.stack([maps[None]] * 2).astype(np.float32), coverage)
    np.testing.assert_array_equal(found["spatial_entropy"], [[[np.inf] * 7 + [0]]] * 2)
    np.testing.assert_array_equal(found["iou"][0], np.zeros((1, 8)))
    assert (found["iou"][1, 0, :7] == 0).all() and found["iou"][1, 0, 7] > 0
    assert np.isnan(found["attention_sum"][0, 0, 5]) and found["attention_sum"][1, 0, 7] == 9


def test_by_default_a_raw_map_is_binarised_at_its_mean() -> None:
    """By hand: of an object of two cells one is above the mean; smoothed, its neighbours are as well."""
    maps = picture("00000 00900 00000")[None, None, None].astype(np.float32)
    coverage = picture("00000 00110 00000")[None]
    assert on_card.judge(list(torch.from_numpy(maps)), coverage)["iou"] == 1 / 2
    assert on_card.judge(list(torch.from_numpy(maps)), coverage, "smoothed")["iou"] == 2 / 9


def test_cells_equal_to_the_mean_are_not_above_it() -> None:
    for scale in (1.0, 0.1, 1 / 3, 1e-7):
        maps = scale * picture("012 210 111")[None, None, None]
        found = check(maps, np.ones((1, 3, 3)))
        assert found["spatial_entropy"] == pytest.approx(np.log(2), abs=1e-12)


def spiral(side: int) -> np.ndarray:
    """One winding component, a cell wide: from the outside in, leaving a cell between the turns."""
    cells = np.zeros((side + 4, side + 4), bool)  # two more on all sides, so that looking ahead stays inside
    cells[:2], cells[-2:], cells[:, :2], cells[:, -2:] = True, True, True, True
    place, step, turned = np.array([2, 1]), np.array([0, 1]), 0
    while turned < 2:
        ahead, beyond = place + step, place + 2 * step
        inside = ((beyond >= 2) & (beyond < side + 2)).all()
        if cells[tuple(ahead)] or (inside and cells[tuple(beyond)]):
            step, turned = np.array([step[1], -step[0]]), turned + 1
        else:
            place, turned = ahead, 0
            cells[tuple(place)] = True
    return cells[2:-2, 2:-2]


def test_winding_components_are_joined() -> None:
    comb = np.zeros((24, 24), bool)
    comb[:, ::2], comb[-1] = True, True
    snake = np.zeros((24, 24), bool)
    snake[::2], snake[1::4, -1], snake[3::4, 0] = True, True, True
    shapes = [comb, snake, spiral(24)]
    assert all(label_components(one).max() == 1 and 250 < one.sum() < 400 for one in shapes)
    turned = [np.rot90(one, times)[:, ::way] for one in shapes for times in range(4) for way in (1, -1)]
    maps = np.stack(turned).astype(np.float32)[:, None, None]
    assert (check(maps, np.ones((24, 24, 24)))["spatial_entropy"] == 0).all()


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 8), st.integers(1, 8))))
def test_components_are_those_of_scipy(binary: np.ndarray) -> None:
    labels = on_card.label_components(torch.from_numpy(binary)).numpy().reshape(binary.shape)
    expected = label_components(binary)
    for one, other, cells in zip(labels, expected, binary, strict=True):
        pairs = set(zip(one[cells].tolist(), other[cells].tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        for number in set(one[cells].tolist()):
            assert number == np.flatnonzero(one == number).max()


@pytest.mark.parametrize("cells", [1, 200, 10**9])
def test_how_many_samples_are_judged_at_a_time_changes_nothing(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_card, "CELLS", cells)
    rng = np.random.default_rng(7)
    check(rng.random((5, 2, 3, 4, 4)).astype(np.float32) ** 3, rng.random((5, 4, 4)))


def test_only_a_cuda_devices_maps_stay() -> None:
    assert not on_card.stay([torch.zeros(1, 1, 2, 2)])
