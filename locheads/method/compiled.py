"""The loops over the cells of many small maps, compiled with numba: sums, blur and overlap.

numpy treats all maps one operation at a time; here each map passes through everything while it lies in the
processor's cache, and `threaded` shares the maps out among the cores.

What the functions here and in `components` mean stands with their callers, `criteria` and `grounding`. They
take arrays `map × row × column` and write to `out`, one entry a map.
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
compiled = njit(nogil=True, cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


def threaded(kernel: Callable[..., None], maps: np.ndarray, *arguments: Any) -> np.ndarray:
    """What `kernel(start, stop, maps, *arguments, out)` writes to `out`; each core takes its share of maps.

    Args:
        kernel: `sums`, `overlaps` or `locheads.method.components.entropies`.
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


@compiled
@no_type_check
def sums(start, stop, maps, out):
    """Sum of each map's cells."""
    for number in range(start, stop):
        out[number] = total(maps[number].ravel())


@compiled
@no_type_check
def total(cells):
    """Sum in double precision; by the cells' numbers, as only so vector instructions are used."""
    whole = 0.0
    for cell in range(len(cells)):
        whole += np.float64(cells[cell])
    return whole


@compiled
@no_type_check
def overlaps(start, stop, maps, targets, each, weights, row_of, column_of, level, rounding, out):
    """IoU of each blurred and cut map with its target; `each` consecutive maps have one target."""
    (rows, columns), edge = maps.shape[1:], len(weights) - 1
    padded = np.empty((rows + 2 * edge, columns + 2 * edge))
    down, blurred = np.empty((rows, columns + 2 * edge)), np.empty((rows, columns))
    for number in range(start, stop):
        _pad(maps[number], row_of, column_of, padded)
        _slide(padded.ravel(), weights, columns + 2 * edge, down.ravel())
        for row in range(rows):
            _slide(down[row], weights, 1, blurred[row])
        threshold = level * (total(blurred.ravel()) / blurred.size) * (1 + rounding)
        out[number] = _iou(blurred.ravel(), threshold, targets[number // each].ravel())


@compiled
@no_type_check
def _pad(one, row_of, column_of, padded):
    """Copies the map, and around it the cells that stand at `row_of` and `column_of`."""
    columns, edge = one.shape[1], (len(column_of) - one.shape[1]) // 2
    for row in range(len(row_of)):
        cells, line = one[row_of[row]], padded[row]
        middle = line[edge:]
        for column in range(columns):
            middle[column] = cells[column]
        for column in range(edge):
            line[column] = cells[column_of[column]]
            line[edge + columns + column] = cells[column_of[edge + columns + column]]


@compiled
@no_type_check
def _slide(source, weights, stride, out):
    """Sums of cells `stride` apart, from each cell on; `weights` are those from the middle to one end."""
    stride, half = np.uint64(stride), np.uint64(len(weights) - 1)
    for i in range(np.uint64(len(out))):
        total = weights[0] * source[i + half * stride]
        for tap in range(1, len(weights)):
            before, after = (half - np.uint64(tap)) * stride, (half + np.uint64(tap)) * stride
            total += weights[tap] * (source[i + before] + source[i + after])
        out[i] = total


@compiled
@no_type_check
def _iou(cells, threshold, target):
    common, union = 0, 0
    for cell in range(len(cells)):
        above = cells[cell] > threshold
        common += above & target[cell]
        union += above | target[cell]
    return common / max(union, 1)
