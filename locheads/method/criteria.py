"""Computes the two criteria of the paper that find localization heads: attention sum and spatial entropy.

A map is one head's attention from the last text token to the image tokens, reshaped to `rows x columns`; its
values are not negative. Every function takes any number of leading axes (samples, layers, heads) and treats
all maps at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

# A cell is above a threshold only if it exceeds it by more than rounding: without this, the mean of a uniform
# map may come out one bit below its cells, and the map would be one big component instead of none.
ROUNDING = 1e-9

CELLS = 2**22
"""How many cells are treated at a time: bounds the memory, not the result."""

Elbow = Literal["chord", "curvature"]
"""How the bend of the sorted sums is found: farthest from the chord, or by curvature, taken literally."""

Side = Literal["below", "above", "on"]
"""Where the bend lies: below the chord (a convex curve, as the paper's), above it (concave), or on it."""

Logarithm = Literal["natural", "2", "normalised"]
"""Unit of spatial entropy: nats, bits, or the share of the largest value for as many components."""

Weight = Literal["area", "mass"]
"""Size of a component: its cells, or the attention by which they exceed the level (see `spatial_entropy`)."""


def attention_sum(maps: Float[np.ndarray, "*batch rows columns"]) -> Float[np.ndarray, "*batch"]:
    """Returns criterion 1, `S = sum_i a[i]`: how much of its attention a head gives to the image.

    Args:
        maps: Attention maps of any floating type.

    Returns:
        Sums over all image tokens, taken in double precision whatever the maps' type. In [0, 1] for rows of a
        softmax; 0 for an empty map, NaN for a map with a NaN.

    Example:
        >>> attention_sum(np.array([[[0.25, 0.25], [0.0, 0.125]], [[0.0, 0.0], [0.0, 0.0]]])).tolist()
        [0.625, 0.0]
    """
    return np.asarray(maps.sum(axis=(-2, -1), dtype=np.float64))


@dataclass(frozen=True, eq=False)
class Threshold:
    """Holds the threshold tau, where the sorted attention sums bend most.

    Attributes:
        value: The threshold tau: heads with a sum of at least this pass.
        index: The position of `value` in `sums`.
        sums: All sums, ascending.
        distances: Distance of each point of the curve to its chord, both axes scaled to [0, 1].
    """

    value: float
    index: int
    sums: Float[np.ndarray, " heads"]
    distances: Float[np.ndarray, " heads"]

    @property
    def side(self) -> Side:
        """Returns the side of the chord between the curve's ends on which the threshold lies.

        Example:
            >>> curvature_threshold(np.array([0.0, 1.0, 3.0, 10.0])).side
            'below'
        """
        low, high = self.sums[0], self.sums[-1]
        chord = low + (high - low) * self.index / max(len(self.sums) - 1, 1)
        if np.isclose(self.value, chord, rtol=1e-9, atol=1e-12 * (high - low)):
            return "on"
        return "below" if self.value < chord else "above"


def curvature_threshold(mean_sums: Float[np.ndarray, "*heads"], elbow: Elbow = "chord") -> Threshold:
    """Finds the threshold tau at the maximum curvature of the sorted attention sums.

    The paper gives no formula; as in its release, the point farthest from the chord that joins the curve's
    ends is taken. Scaling either axis moves no maximum, so the units do not matter. The paper sorts the sums
    *averaged over samples* (one tau); see `sample_thresholds` for the release's one tau per sample.

    Args:
        mean_sums: Sums averaged over samples, `[layer head]` or flat, at least one, all finite.
        elbow: `chord` as described; `curvature` takes the word literally (see `bends`), which a single step
            between two sums can decide.

    Returns:
        The threshold. Of points equally far the lowest sum; of a straight line, or of equal sums, the lowest
        of all, which every head passes.

    Raises:
        ValueError: When there is no head, or a sum is not finite.

    Example:
        The chord of 0, 1, 3, 10 is 0, 3.33, 6.67, 10; the curve is farthest below it at 3:

        >>> tau = curvature_threshold(np.array([[3.0, 0.0], [10.0, 1.0]]))
        >>> tau.value, tau.index
        (3.0, 2)
    """
    sums = np.sort(mean_sums.astype(np.float64).ravel())
    distances = bends(sums, elbow)
    index = int(distances.argmax())  # the first of equal maxima: the lowest sum
    return Threshold(float(sums[index]), index, sums, distances)


def sample_thresholds(
    sums: Float[np.ndarray, "sample layer head"], elbow: Elbow = "chord"
) -> Float[np.ndarray, " sample"]:
    """Finds one threshold per sample, from that sample's own sums (the release's reading).

    Args:
        sums: Attention sums, all finite.
        elbow: As in `curvature_threshold`, like the ties.

    Returns:
        One tau per sample.

    Raises:
        ValueError: When there is no head, or a sum is not finite.

    Example:
        >>> sample_thresholds(np.array([[[3.0, 0.0], [10.0, 1.0]], [[0.2, 0.2], [0.2, 0.2]]])).tolist()
        [3.0, 0.2]
    """
    ascending = np.sort(sums.astype(np.float64).reshape(len(sums), -1), axis=-1)  # [sample, layer * head]
    index = bends(ascending, elbow).argmax(axis=-1)
    return np.take_along_axis(ascending, index[:, None], axis=-1)[:, 0]


def bends(ascending: Float[np.ndarray, "*batch heads"], elbow: Elbow) -> Float[np.ndarray, "*batch heads"]:
    """Computes how much each sorted curve bends at each of its points, both axes scaled to [0, 1].

    Args:
        ascending: Sorted sums.
        elbow: `chord`: the distance to the chord that joins the ends. `curvature`: one over the radius of the
            circle through a point and its two neighbours, 0 at the ends.

    Returns:
        Distances or curvatures, rounded to 12 decimals, so that ties are ties; 0 for equal sums.

    Raises:
        ValueError: When there is no head, or a sum is not finite.

    Example:
        The middle point (1/2, 0) is as far from the diagonal as half the diagonal of a square of side 1/2:

        >>> bends(np.array([0.0, 0.0, 2.0]), "chord").tolist()
        [0.0, 0.353553390593, 0.0]
    """
    heads = ascending.shape[-1]
    if heads == 0 or not np.isfinite(ascending).all():
        raise ValueError("a threshold needs at least one attention sum, and finite ones only")
    # Scale both axes to [0, 1]; the chord is then the diagonal. Equal sums have no scale: they lie on it.
    low, high = ascending[..., :1], ascending[..., -1:]
    x = np.linspace(0.0, 1.0, heads)
    straight = np.broadcast_to(x, ascending.shape).copy()
    y = np.divide(ascending - low, high - low, out=straight, where=high > low)
    # A point (x, y) is |y - x| / sqrt(2) away from the diagonal.
    return np.round(np.abs(y - x) / np.sqrt(2) if elbow == "chord" else _curvature(x, y), 12)


def _curvature(
    x: Float[np.ndarray, " heads"], y: Float[np.ndarray, "*batch heads"]
) -> Float[np.ndarray, "*batch heads"]:
    """Computes four times the area of the triangle of three neighbouring points over its sides' product."""
    curvature = np.zeros_like(y)
    if len(x) > 2:
        step, before, after = x[1], np.diff(y)[..., :-1], np.diff(y)[..., 1:]
        twice_area = step * np.abs(after - before)
        sides = np.hypot(step, before) * np.hypot(step, after) * np.hypot(2 * step, before + after)
        curvature[..., 1:-1] = 2 * twice_area / sides
    return curvature


def binarise(
    maps: Float[np.ndarray, "*batch rows columns"], level: float = 1.0, floor: float = 0.0
) -> Bool[np.ndarray, "*batch rows columns"]:
    """Marks the cells above `level` times their map's mean.

    Strictly above, and by more than rounding: a cell equal to the mean is not, so no cell of a uniform map
    is. A map with a NaN has no cell above.

    Args:
        maps: Attention maps, not negative.
        level: Multiple of the mean: 1 in the paper and the first release, 2 in the later rewrite.
        floor: By how much a cell has to exceed that: 0 in the paper, 0.001 in both releases.

    Returns:
        True where a cell is above. The mean is taken in double precision.

    Example:
        The mean is 1, and the cell equal to it is not above it:

        >>> binarise(np.array([[0.0, 1.0, 2.0]])).tolist()
        [[False, False, True]]
    """
    return maps > level * _means(maps) * (1 + ROUNDING) + floor


def _means(maps: Float[np.ndarray, "*batch rows columns"]) -> Float[np.ndarray, "*batch 1 1"]:
    """Returns each map's mean in double precision."""
    return maps.mean(axis=(-2, -1), keepdims=True, dtype=np.float64)


def label_components(
    binary: Bool[np.ndarray, "*batch rows columns"], connectivity: Literal[4, 8] = 8
) -> Int[np.ndarray, "*batch rows columns"]:
    """Numbers the connected components of all maps, from 1 and one map after another; 0 is background.

    One call of `scipy.ndimage.label` on the stack of maps does them all; its structure joins no two maps.

    Args:
        binary: Binarised maps.
        connectivity: Whether diagonal cells touch (8, the paper) or not (4).

    Returns:
        The number of each cell's component; no number occurs in two maps.

    Example:
        >>> label_components(np.array([[[True, False, True]], [[True, True, False]]])).tolist()
        [[[1, 0, 2]], [[3, 3, 0]]]
    """
    rows, columns = binary.shape[-2:]
    neighbours = np.zeros((3, 3, 3), dtype=bool)  # [map before, this and behind; row; column]
    neighbours[1] = ndimage.generate_binary_structure(2, 2 if connectivity == 8 else 1)
    labels, _ = ndimage.label(binary.reshape(-1, rows, columns), structure=neighbours)
    return labels.reshape(binary.shape)


def count_components(
    binary: Bool[np.ndarray, "*batch rows columns"], connectivity: Literal[4, 8] = 8
) -> Int[np.ndarray, "*batch"]:
    """Counts the connected components of each map.

    Args:
        binary: Binarised maps.
        connectivity: As in `label_components`.

    Returns:
        One count per map; 0 where no cell is set.

    Example:
        >>> count_components(np.array([[[True, False, True]], [[False, False, False]]])).tolist()
        [2, 0]
    """
    labels = label_components(binary, connectivity)
    return _counts(labels.reshape(-1, *binary.shape[-2:])).reshape(binary.shape[:-2])


def _counts(labels: Int[np.ndarray, "map rows columns"]) -> Int[np.ndarray, " map"]:
    """Returns the number of components of each map, from the numbers that `label_components` gives.

    Maps are numbered one after another: the highest number up to a map is how many components there are so
    far.
    """
    so_far = np.maximum.accumulate(labels.max(axis=(-2, -1)).astype(np.int64))
    return np.diff(so_far, prepend=0)


def blocks(maps: Float[np.ndarray, "map rows columns"]) -> Iterator[slice]:
    """Splits a stack of maps into runs of at most `CELLS` cells, but at least one map.

    Yields:
        Slices along the first axis that cover it once and in order; none where there is no map.

    Example:
        >>> [maps.stop - maps.start for maps in blocks(np.zeros((3, 2048, 1024)))]
        [2, 2]
    """
    step = max(1, CELLS // max(1, math.prod(maps.shape[1:])))
    return (slice(start, start + step) for start in range(0, len(maps), step))


def spatial_entropy(
    maps: Float[np.ndarray, "*batch rows columns"],
    level: float = 1.0,
    floor: float = 0.0,
    weight: Weight = "area",
    connectivity: Literal[4, 8] = 8,
    logarithm: Logarithm = "natural",
) -> Float[np.ndarray, "*batch"]:
    """Returns criterion 2, how scattered a head's attention is: the spatial entropy of its map.

    `H = -sum_C P(C) log P(C)` with `P(C) = |C| / sum_C |C|`, where C runs over the connected components of
    the binarised map; the logarithm is natural. One component gives exactly 0, n equal ones log n, so the
    range is not the [0, 1] that the paper claims. The defaults are the paper's text.

    Args:
        maps: Attention maps, not negative.
        level: Binarise above this multiple of the mean (see `binarise`).
        floor: ... and by more than this.
        weight: |C| is the component's `area` in cells (paper), or the `mass` of attention by which its cells
            exceed `level` times the mean, and the sum is the mass of *all* cells above that, those under the
            floor included (both releases): with a floor the P(C) need not add up to 1.
        connectivity: Whether diagonal cells touch (8, the paper) or not (4).
        logarithm: `natural`; `2`; or `normalised`, which divides by the logarithm of the number of
            components, so that the range is [0, 1], as the paper claims.

    Returns:
        Entropies in double precision, in nats unless `logarithm` says otherwise. `+inf` where no cell is
        above (empty, uniform or NaN maps), so that such a head is never among the lowest. By `mass`, 0 where
        cells exceed the level but none the floor: no component, and the releases rank such a head first.

    Example:
        Two components of equal area have log 2; one has 0; a uniform map has none:

        >>> maps = np.array([[[9.0, 0.0, 9.0]], [[0.0, 9.0, 9.0]], [[1.0, 1.0, 1.0]]])
        >>> spatial_entropy(maps).round(4).tolist()
        [0.6931, 0.0, inf]
        >>> spatial_entropy(maps, logarithm="2").tolist()
        [1.0, 0.0, inf]
    """
    stack = maps.reshape(-1, *maps.shape[-2:])
    entropies = np.empty(len(stack))
    for block in blocks(stack):
        entropies[block] = _entropies(stack[block], level, floor, weight, connectivity, logarithm)
    return entropies.reshape(maps.shape[:-2])


def _entropies(
    maps: Float[np.ndarray, "map rows columns"],
    level: float,
    floor: float,
    weight: Weight,
    connectivity: Literal[4, 8],
    logarithm: Logarithm,
) -> Float[np.ndarray, " map"]:
    """Computes `spatial_entropy` of a stack of maps."""
    # Binarise, and number the components C of all maps; `owner` is the map of each component.
    above = binarise(maps, level, floor)
    labels = label_components(above, connectivity)  # [map row column], 0 where not above
    counts = _counts(labels)  # [map]
    owner = np.repeat(np.arange(len(maps)), counts)  # [component]

    # |C|: cells, or the attention above the level; `rest` is that of the cells under the floor, in no
    # component. Number 0, the background, is left out.
    rest = np.zeros(len(maps))
    if weight == "area":
        sizes = np.bincount(labels.ravel())[1:]
    else:
        over = binarise(maps, level)
        excess = np.subtract(maps, level * _means(maps), out=np.zeros(maps.shape), where=over)
        sizes = np.bincount(labels.ravel(), weights=np.where(above, excess, 0.0).ravel())[1:]
        rest = np.where(above, 0.0, excess).sum(axis=(-2, -1))

    # P(C) = |C| / sum |C|, the sum over the components of the same map, and by mass over the rest of it.
    totals = np.bincount(owner, weights=sizes, minlength=len(maps)) + rest  # [map]
    shares = sizes / totals[owner]  # [component]

    # H = -sum P log P over each map's components; nothing above the level, no entropy.
    entropies = 0.0 - np.bincount(owner, weights=shares * np.log(shares), minlength=len(maps))
    if logarithm == "2":
        entropies /= np.log(2)
    elif logarithm == "normalised":
        entropies /= np.log(np.maximum(counts, 2))  # one component: 0 stays 0
    return np.where(totals > 0, entropies, np.inf)


def bottom_row_peak(maps: Float[np.ndarray, "*batch rows columns"]) -> Float[np.ndarray, "*batch"]:
    """Returns the largest value in each map's last row.

    The later rewrite of the release leaves out heads where it exceeds 0.05; set their entropy to `+inf` to do
    the same.

    Args:
        maps: Attention maps with at least one column.

    Returns:
        One value per map, in double precision.

    Example:
        >>> bottom_row_peak(np.array([[9.0, 9.0], [0.0, 1.0]])).tolist()
        1.0
    """
    return np.asarray(maps[..., -1, :].max(axis=-1), dtype=np.float64)
