"""The rules of both releases against plain loops, written from their description and sharing no code."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from locheads.method.criteria import (
    attention_sum,
    bottom_row_peak,
    sample_thresholds,
    spatial_entropy,
)
from locheads.method.geometry import Window
from locheads.method.grounding import ground
from locheads.method.head_iou import upscaled_iou
from locheads.method.releases import keeping_one, lowest_entropies, passing_by_number

# Some cells exceed the mean by less than the floor of 0.001, some by more; ties are frequent.
CELLS = [0.0, 0.0004, 0.0008, 0.0012, 0.01, 0.04, 0.06, 0.25]
maps_of_all_heads = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 2), st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)),
    elements=st.sampled_from(CELLS),
)


def elbow_of(ascending: list[float]) -> int:
    """The place farthest from the chord in the plane of place and sum, the first of equally far ones."""
    n, rise = len(ascending), ascending[-1] - ascending[0]
    best, place = 0.0, 0
    for i, value in enumerate(ascending):
        distance = abs((n - 1) * (value - ascending[0]) - rise * i) / math.hypot(max(n - 1, 1), rise)
        if distance > best + 1e-11 * rise:
            best, place = distance, i
    return place


def components_of(cells: set[tuple[int, int]]) -> list[set[tuple[int, int]]]:
    """Groups of cells that touch by an edge or a corner."""
    left, found = set(cells), []
    while left:
        group, front = set(), [min(left)]
        while front:
            row, column = front.pop()
            if (row, column) in left:
                left.remove((row, column))
                group.add((row, column))
                front += [(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
        found.append(group)
    return found


def entropy_of(one: np.ndarray, level: float) -> float:
    """Excess mass of a component over that of all cells above the level; infinite where none is above."""
    mean = sum(map(float, one.ravel())) / one.size
    excess = {
        (row, column): float(value) - level * mean
        for (row, column), value in np.ndenumerate(one)
        if value > level * mean * (1 + 1e-9)
    }
    if not excess:
        return math.inf
    whole, entropy = sum(excess.values()), 0.0
    for group in components_of({cell for cell, more in excess.items() if more > 0.001 + 1e-9 * level * mean}):
        share = sum(excess[cell] for cell in group) / whole
        entropy -= share * math.log(share)
    return entropy


def first_release(maps: np.ndarray, k: int) -> list[tuple[int, int]]:
    """The `k` heads of one sample: `layer head row column`."""
    names = [(layer, head) for layer in range(maps.shape[0]) for head in range(maps.shape[1])]
    sums = [float(maps[name].sum()) for name in names]
    order = sorted(range(len(names)), key=lambda number: sums[number])
    least = order[elbow_of([sums[number] for number in order])]
    entropies = {names[n]: entropy_of(maps[names[n]], 1.0) for n in range(least, len(names))}
    known = [name for name, entropy in entropies.items() if entropy < math.inf]
    return sorted(known, key=lambda name: round(entropies[name], 12))[:k]


def rewrite(maps: np.ndarray, k: int) -> list[tuple[int, int]]:
    """The `k` heads of one sample in the later rewrite, or the one that it keeps at least."""
    names = [(layer, head) for layer in range(maps.shape[0]) for head in range(maps.shape[1])]
    sums = {name: float(maps[name].sum()) for name in names}
    ascending = sorted(sums.values())
    least = ascending[elbow_of(ascending)]
    clean = [name for name in names if not any(value > 0.05 for value in maps[name][-1])]
    passing = {
        name: entropy_of(maps[name], 2.0)
        for name in clean
        if name[0] > 1 and sums[name] >= least * (1 - 1e-6)
    }
    known = [name for name, entropy in passing.items() if entropy < math.inf]
    if known:
        return sorted(known, key=lambda name: round(passing[name], 12))[:k]
    most = max((sums[name] for name in clean), default=None)
    return next(([name] for name in clean if sums[name] == most), [])


def found_by(heads: np.ndarray) -> list[list[tuple[int, int]]]:
    return [[(int(a), int(b)) for a, b in some if a >= 0] for some in heads]


@given(maps_of_all_heads, st.sampled_from([3, 5]))
@example(np.zeros((1, 3, 2, 3, 3)), 5)  # no component anywhere
@example(np.eye(9).reshape(1, 3, 3, 3, 3) * 0.25, 3)  # one cell each
@example(np.full((1, 2, 2, 1, 4), 0.0004) + np.array([0, 0, 0, 0.0004]), 5)  # above the mean, under the floor
def test_the_first_release_takes_the_heads_of_plain_loops(maps, k):
    sums, entropies = attention_sum(maps), spatial_entropy(maps, 1.0, 0.001, "mass")
    eligible = passing_by_number(sums) & np.isfinite(entropies)
    heads = lowest_entropies(entropies, eligible, k)
    assert found_by(heads) == [first_release(one, k) for one in maps]


@given(maps_of_all_heads, st.sampled_from([3, 5]))
@example(np.zeros((1, 3, 2, 3, 3)), 5)  # no component: the largest sum, which is that of the first head
@example(np.full((1, 3, 2, 3, 3), 0.06), 5)  # the bottom row of every head: none is left
def test_the_rewrite_takes_the_heads_of_plain_loops(maps, k):
    sums, entropies = attention_sum(maps), spatial_entropy(maps, 2.0, 0.001, "mass")
    barred = bottom_row_peak(maps) > 0.05
    eligible = (
        (sums >= sample_thresholds(sums)[:, None, None] * (1 - 1e-6)) & np.isfinite(entropies) & ~barred
    )
    eligible[:, :2] = False
    heads = lowest_entropies(entropies, keeping_one(eligible, sums, barred), k)
    assert found_by(heads) == [rewrite(one, k) for one in maps]


@given(maps_of_all_heads, st.sampled_from([1.0, 2.0]))
def test_the_releases_entropy_is_that_of_plain_loops(maps, level):
    stack = maps.reshape(-1, *maps.shape[-2:])
    expected = [entropy_of(one, level) for one in stack]
    np.testing.assert_allclose(spatial_entropy(stack, level, 0.001, "mass"), expected, rtol=0, atol=1e-12)


def test_a_map_above_the_level_but_under_the_floor_has_the_best_entropy_and_a_uniform_one_the_worst():
    under, uniform = np.array([[0.001, 0.001, 0.0015]]), np.full((1, 3), 0.001)
    found = spatial_entropy(np.stack([under, uniform]), 1.0, 0.001, "mass")
    np.testing.assert_array_equal(found, [0.0, np.inf])
    # excess 0.3, 0.0005 and 0.0005 over a mean of 1: only the first is a component, its share below 1
    one = np.array([[1.3, 1.0005, 1.0005, 0.699]])
    share = 0.3 / 0.301
    assert spatial_entropy(one, 1.0, 0.001, "mass") == pytest.approx(-share * np.log(share), abs=1e-9)


def test_heads_pass_by_number_and_not_by_rank():
    sums = np.array([[[0.9, 0.8], [0.0, 0.1]], [[0.0, 0.0], [0.0, 0.9]]])
    # sorted: 0, .1, .8, .9 bends at .1, head 3; 0, 0, 0, .9 at the third zero, head 2
    np.testing.assert_array_equal(passing_by_number(sums).reshape(2, 4), [[0, 0, 0, 1], [0, 0, 1, 1]])


def test_the_box_of_the_rewrite_is_that_of_plain_loops():
    rng = np.random.default_rng(1)
    for _ in range(50):
        size, maps = (int(rng.integers(20, 90)), int(rng.integers(20, 90))), rng.random((5, 6, 7)) ** 12
        combined = sum(ndimage.gaussian_filter(one, 1.0) for one in maps)
        rows, columns = np.nonzero(combined > combined.mean())
        width, height = size
        expected = [
            int(columns.min() * width / 7 + 1e-9),
            int(rows.min() * height / 6 + 1e-9),
            int((columns.max() + 1) * width / 7 + 1e-9),
            int((rows.max() + 1) * height / 6 + 1e-9),
        ]
        as_stretched = Window.stretch(size, (6, 7))
        found = ground(maps, as_stretched, kernel=9, keep="all", border="reflect", whole_pixels=True)
        np.testing.assert_array_equal(found.box, expected)


def test_the_first_releases_iou_is_that_of_the_upscaled_map():
    rng = np.random.default_rng(2)
    maps, mask, window = (
        rng.random((3, 4, 4)) ** 6,
        rng.random((20, 30)) < 0.3,
        Window.stretch((30, 20), (4, 4)),
    )
    for one, iou in zip(maps, upscaled_iou(maps, mask, window), strict=True):
        # order-1 splines between the cells' centres, constant beyond the outermost ones
        y, x = (np.arange(20) + 0.5) / 5 - 0.5, (np.arange(30) + 0.5) / 7.5 - 0.5
        grid = np.stack(np.meshgrid(y.clip(0, 3), x.clip(0, 3), indexing="ij"))
        large = ndimage.map_coordinates(one, grid, order=1)
        above = large > large.mean()
        assert iou == pytest.approx((above & mask).sum() / (above | mask).sum())
