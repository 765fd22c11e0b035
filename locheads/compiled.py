"""The loops over the cells of many small maps, compiled with numba: components and entropy, blur and overlap.

numpy has no connected components, and treats all maps one operation at a time; here each map passes through
everything while it lies in the processor's cache, and `threaded` shares the maps out among the cores.

What the functions mean stands with their callers, `locheads.criteria` and `locheads.grounding`. They take
arrays `map × row × column` and write to `out`, one entry a map.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, no_type_check

import numpy as np
from numba import njit

LEAST = 512
"""Maps below which a thread of their own is not worth it."""

# Sums may be taken in any order, for vector instructions; NaN and infinity keep their meaning. The loops are
# written without branches where a cell decides: mispredicted ones would take most of the time.
_compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


def threaded(kernel: Callable[..., None], maps: np.ndarray, *arguments: Any) -> np.ndarray:
    """What `kernel(start, stop, maps, *arguments, out)` writes to `out`; each core takes its share of maps.

    Args:
        kernel: One of the functions below.
        maps: `*batch × rows × columns`, of any floating type.
        arguments: What else the kernel takes.

    Returns:
        One number a map, `*batch`.
    """
    wide = maps.astype(np.float32 if maps.dtype == np.float16 else maps.dtype, order="C", copy=False)
    flat = wide.reshape(-1, *maps.shape[-2:])
    out = np.empty(len(flat))
    shares = max(1, min(_cores(), len(flat) // LEAST))
    edges = [len(flat) * share // shares for share in range(shares + 1)]
    with ThreadPoolExecutor(shares) as pool:
        list(pool.map(lambda start, stop: kernel(start, stop, flat, *arguments, out), edges[:-1], edges[1:]))
    return out.reshape(maps.shape[:-2])


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@_compiled
@no_type_check
def entropies(start, stop, maps, level, floor, rounding, by_mass, diagonal, out):
    """Entropy of the sizes of each map's components, which are the cells above the threshold."""
    rows, columns = maps.shape[1:]
    width = columns + 2  # labels have an empty row above and an empty column on both sides
    place = np.empty(rows * columns, np.uint64)
    for cell in range(rows * columns):
        place[cell] = (cell // columns + 1) * width + cell % columns + 1
    labels = np.zeros((rows + 1) * width, np.int32)
    cells = np.empty(rows * columns + 1, np.int64)
    parent = np.empty(rows * columns + 1, np.int32)
    size = np.empty(rows * columns + 1)
    for number in range(start, stop):
        one = maps[number].ravel()
        cut = level * _mean(one)
        found = cells[: _list_above(one, cut * (1 + rounding) + floor, cells)]
        labels[:] = 0
        count = _label(labels, place, found, width, diagonal, parent)
        size[: count + 1] = 0
        for cell in found:
            size[labels[place[cell]]] += one[cell] - cut if by_mass else 1.0
        out[number] = _entropy(parent, size, count)


@_compiled
@no_type_check
def _mean(one):
    total = 0.0
    for cell in range(len(one)):
        total += np.float64(one[cell])
    return total / len(one)


@_compiled
@no_type_check
def _list_above(one, threshold, cells):
    """Lists the cells above the threshold; returns how many there are."""
    count = 0
    for cell in range(len(one)):
        cells[count] = cell
        count += one[cell] > threshold
    return count


@_compiled
@no_type_check
def _label(labels, place, cells, width, diagonal, parent):
    """Numbers each cell after its neighbours above and to the left; `parent` joins numbers that meet."""
    count, above, step = 0, np.uint64(width), np.uint64(1)  # unsigned: an index below 0 is not looked for
    for cell in cells:
        here = place[cell]
        north = right = labels[here - above]
        west = labels[here - step]
        if diagonal:
            west = max(west, labels[here - above - step])
            right = labels[here - above + step]
        label = max(north, right, west)
        new = label == 0
        count += new
        parent[count] = count if new else parent[count]
        labels[here] = count if new else label
        # Diagonally, a cell to the north touches all others: they are joined already.
        if (right != west) & (right != 0) & (west != 0) & ((north == 0) | (not diagonal)):
            _join(parent, right, west)
    return count


@_compiled
@no_type_check
def _join(parent, a, b):
    """Makes the lower of two roots the parent of the other."""
    while parent[a] != a:
        a = parent[a]
    while parent[b] != b:
        b = parent[b]
    parent[max(a, b)] = min(a, b)


@_compiled
@no_type_check
def _entropy(parent, size, count):
    """Entropy of the sizes of the components; infinite when there is none."""
    total = 0.0
    for label in range(count, 0, -1):  # parents have lower numbers: a size is complete when it is met
        total += size[label] if parent[label] == label else 0.0
        size[parent[label]] += size[label] if parent[label] != label else 0.0
    if not total > 0:
        return np.inf
    entropy = 0.0
    for label in range(1, count + 1):
        if parent[label] == label:
            share = size[label] / total
            entropy -= share * np.log(share)
    return entropy


@_compiled
@no_type_check
def overlaps(start, stop, maps, targets, each, weights, row_of, column_of, level, rounding, out):
    """IoU of each blurred and cut map with its target; `each` consecutive maps have one target."""
    (rows, columns), width = maps.shape[1:], len(column_of)
    room = np.empty((2, len(row_of) * width))
    for number in range(start, stop):
        _blur(maps[number], weights, row_of, column_of, room)
        total = 0.0
        for row in range(rows):
            for column in range(columns):
                total += room[0, row * width + column]
        threshold = level * (total / (rows * columns)) * (1 + rounding)
        target = targets[number // each]
        common, union = 0, 0
        for row in range(rows):
            for column in range(columns):
                above = room[0, row * width + column] > threshold
                common += above & target[row, column]
                union += above | target[row, column]
        out[number] = common / max(union, 1)


@_compiled
@no_type_check
def _blur(one, weights, row_of, column_of, room):
    """Pads, then blurs down and across; maps are laid flat, as long loops use vector instructions.

    The blurred map stands in `room[0]`; behind each row are as many cells without meaning as were padded.
    """
    (rows, columns), width, edge = one.shape, len(column_of), len(weights) // 2
    for row in range(len(row_of)):
        cells, padded = one[row_of[row]], room[0, row * width :]
        for column in range(columns):
            padded[edge + column] = cells[column]
        for column in range(edge):
            padded[column] = cells[column_of[column]]
            padded[edge + columns + column] = cells[column_of[edge + columns + column]]
    _slide(room[0], weights, width, room[1, : rows * width])
    _slide(room[1], weights, 1, room[0, : rows * width - 2 * edge])


@_compiled
@no_type_check
def _slide(source, weights, stride, out):
    """Sums of cells `stride` apart, with symmetric weights, from each cell on."""
    count, last = len(out), len(weights) - 1
    middle = source[last // 2 * stride :]
    for i in range(count):
        out[i] = weights[last // 2] * middle[i]
    for tap in range(last // 2):
        weight, before, after = weights[tap], source[tap * stride :], source[(last - tap) * stride :]
        for i in range(count):
            out[i] += weight * (before[i] + after[i])
