"""Connected components of many small maps, and the entropy of their sizes, compiled with numba.

A map becomes one line of bits, 64 to a word, with an empty bit behind each row. The same line, shifted by a
row, holds what stands above each cell. So runs (cells above the threshold, side by side) and the places where
they touch runs of the row above are found 64 cells at a time, whatever the map's width; then they are joined.
"""

from __future__ import annotations

from typing import no_type_check

import numpy as np
from numba.cpython.unsafe.numbers import trailing_zeros

from locheads.method.compiled import compiled, total

_ONE = np.uint64(1)


@compiled
@no_type_check
def entropies(start, stop, maps, level, floor, rounding, by_mass, diagonal, out):
    """Entropy of the sizes of each map's components, which are the cells above the threshold."""
    rows, columns = maps.shape[1:]
    width = columns + 1
    words, before = (rows * width + 63) // 64, width // 64 + 2
    above = np.zeros(words * 64, np.uint8)
    bits = np.zeros(before + words, np.uint64)
    edges = np.empty(rows * width, np.int32)
    parent = np.empty(rows * width // 2 + 1, np.int32)
    size = np.empty(len(parent))
    for number in range(start, stop):
        one = maps[number]
        cut = level * (total(one.ravel()) / one.size)
        _mark_above(one, cut * (1 + rounding) + floor, above)
        _pack(above.view(np.uint64), bits[before:])
        count = _list_edges(bits, before, edges) // 2
        _join_runs(bits, before, width, diagonal, parent)
        _weigh_runs(one, edges[: 2 * count], cut, by_mass, size)
        out[number] = _entropy(parent, size, count)


@compiled
@no_type_check
def _mark_above(one, threshold, above):
    """Writes 1 for each cell above the threshold, and leaves out one place behind each row."""
    rows, columns = one.shape
    for row in range(rows):
        cells, marks = one[row], above[row * (columns + 1) :]
        for column in range(columns):
            marks[column] = cells[column] > threshold


@compiled
@no_type_check
def _pack(eights, bits):
    """Packs eight bytes, each 0 or 1, to a byte of `bits`: the product's highest byte has one bit of each."""
    for word in range(len(bits)):
        bits[word] = 0
        for byte in range(8):
            packed = eights[8 * word + byte] * np.uint64(0x0102040810204080) >> np.uint64(56)
            bits[word] |= packed << np.uint64(8 * byte)


@compiled
@no_type_check
def _list_edges(bits, before, edges):
    """Lists where runs begin and, by turns, where the first cell behind them is; returns how many."""
    count = 0
    for word in range(before, len(bits)):
        rest = bits[word] ^ _shifted(bits, word, 1)
        while rest:
            edges[count] = (word - before) * 64 + np.int64(trailing_zeros(rest))
            count += 1
            rest &= rest - _ONE
    return count


@compiled
@no_type_check
def _shifted(bits, word, by):
    """The bits that stand `by` places before those of a word."""
    whole, part = by // 64, np.uint64(by % 64)
    return bits[word - whole] << part | bits[word - whole - 1] >> _ONE >> np.uint64(63) - part


@compiled
@no_type_check
def _join_runs(bits, before, width, diagonal, parent):
    """Joins in `parent` the runs, numbered from 1, that touch one of the row above.

    A run's number is how many begin up to any of its cells, or up to the empty one behind it.
    """
    for run in range(len(parent)):
        parent[run] = run
    run = run_above = 0
    for word in range(before, len(bits)):
        here, west = bits[word], _shifted(bits, word, 1)
        north, northwest = _shifted(bits, word, width), _shifted(bits, word, width + 1)
        begin, begin_above = here & ~west, north & ~northwest
        touch = here & north & ~(west & northwest)  # the first cell of each that two runs share
        if diagonal:  # one begins where the other has just ended
            touch |= (begin & northwest & ~north) | (begin_above & west & ~here)
        while touch:
            until = touch ^ (touch - _ONE)
            _join(parent, run + _ones(begin & until), run_above + _ones(begin_above & until))
            touch &= touch - _ONE
        run += _ones(begin)
        run_above += _ones(begin_above)


@compiled
@no_type_check
def _ones(word):
    """How many bits are set; the compiler knows this form and takes the processor's own instruction."""
    word -= word >> _ONE & np.uint64(0x5555555555555555)
    word = (word & np.uint64(0x3333333333333333)) + (word >> np.uint64(2) & np.uint64(0x3333333333333333))
    word = word + (word >> np.uint64(4)) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64(word * np.uint64(0x0101010101010101) >> np.uint64(56))


@compiled
@no_type_check
def _join(parent, a, b):
    """Makes the lower of two roots the parent of the other, and of `a` and `b`: so most ways are short."""
    root_a, root_b = parent[a], parent[b]
    while parent[root_a] != root_a:
        root_a = parent[root_a]
    while parent[root_b] != root_b:
        root_b = parent[root_b]
    parent[a] = parent[b] = parent[max(root_a, root_b)] = min(root_a, root_b)


@compiled
@no_type_check
def _weigh_runs(one, edges, cut, by_mass, size):
    """Each run's cells, or by how much they exceed `cut`."""
    width = one.shape[1] + 1
    for run in range(len(edges) // 2):
        first, behind = edges[2 * run], edges[2 * run + 1]
        size[run + 1] = behind - first
        if by_mass:
            size[run + 1] = 0
            for place in range(first, behind):
                size[run + 1] += one[place // width, place % width] - cut


@compiled
@no_type_check
def _entropy(parent, size, count):
    """Entropy of the sizes of the components; infinite when there is none."""
    for run in range(count, 0, -1):  # parents have lower numbers: a size is complete when it is met
        size[parent[run]] += size[run] * (parent[run] != run)
    components = 0
    for run in range(1, count + 1):
        size[components] = size[run]
        components += parent[run] == run
    whole = total(size[:components])
    entropy = 0.0 if whole > 0 else np.inf
    for component in range(components):
        share = size[component] / whole
        entropy -= share * np.log(share)
    return entropy
