"""The two criteria that find localization heads: attention sum and spatial entropy.

A map is one head's attention from the last text token to the image tokens, `rows x columns`, not negative.
Every function takes any number of leading axes (samples, layers, heads) and treats all maps at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import ndimage

from locheads.method.compiled import sums, threaded
from locheads.method.components import entropies

# A cell is above a threshold only if it is so by more than rounding: without this, the mean of a uniform map
# may come out one bit below its cells, and the map would be one big component instead of none.
ROUNDING = 1e-9

Elbow = Literal["chord", "curvature"]
"""How the bend of the sorted sums is found: farthest from the chord, or by curvature, taken literally."""

Logarithm = Literal["natural", "2", "normalised"]
"""Of spatial entropy: nats, bits, or the share of the most that as many components can have."""


def attention_sum(maps: Float[np.ndarray, "*batch rows columns"]) -> Float[np.ndarray, "*batch"]:
    """Criterion 1: how much of its attention a head gives to the image, the sum over all image tokens.

    In [0, 1] for rows of a softmax; summed in double precision whatever the maps' type.
    """
    return threaded(sums, maps)


@dataclass(frozen=True, eq=False)
class Threshold:
    """Where the sorted attention sums bend most.

    Attributes:
        value: The threshold tau: heads with a sum of at least this pass.
        index: Where `value` stands in `sums`.
        sums: All sums, ascending.
        distances: Distance of each point of the curve to its chord, both axes scaled to [0, 1].
    """

    value: float
    index: int
    sums: Float[np.ndarray, " heads"]
    distances: Float[np.ndarray, " heads"]


def curvature_threshold(mean_sums: Float[np.ndarray, "*heads"], elbow: Elbow = "chord") -> Threshold:
    """The threshold tau at the maximum curvature of the sorted attention sums.

    The paper gives no formula; as in its release, the point farthest from the chord that joins the curve's
    ends is taken. Scaling either axis moves no maximum, so the units do not matter. The paper sorts the sums
    *averaged over samples* (one tau); see `sample_thresholds` for the release's one tau a sample.

    Args:
        mean_sums: Sums averaged over samples, `[layer head]` or flat, at least one, all finite.
        elbow: `chord` as described; `curvature` takes the word literally (see `bends`), which a single step
            between two sums can decide.

    Returns:
        The threshold. Of points equally far the lowest sum; of a straight line, or of equal sums, the lowest
        of all, which every head passes.

    Raises:
        ValueError: When there is no head, or a sum is not finite.
    """
    sums = np.sort(mean_sums.astype(np.float64).ravel())
    distances = bends(sums, elbow)
    index = int(distances.argmax())
    return Threshold(float(sums[index]), index, sums, distances)


def sample_thresholds(
    sums: Float[np.ndarray, "sample layer head"], elbow: Elbow = "chord"
) -> Float[np.ndarray, " sample"]:
    """One threshold a sample, from that sample's own sums (the release's reading; ties as above)."""
    ascending = np.sort(sums.astype(np.float64).reshape(len(sums), -1), axis=-1)
    index = bends(ascending, elbow).argmax(axis=-1)
    return np.take_along_axis(ascending, index[:, None], axis=-1)[:, 0]


def bends(ascending: Float[np.ndarray, "*batch heads"], elbow: Elbow) -> Float[np.ndarray, "*batch heads"]:
    """How much each sorted curve bends at each of its points, both axes scaled to [0, 1].

    Args:
        ascending: Sorted sums.
        elbow: `chord`: the distance to the chord that joins the ends. `curvature`: one over the radius of the
            circle through a point and its two neighbours, 0 at the ends.

    Returns:
        Rounded to 12 decimals, so that ties are ties.

    Raises:
        ValueError: When there is no head, or a sum is not finite.
    """
    heads = ascending.shape[-1]
    if heads == 0 or not np.isfinite(ascending).all():
        raise ValueError("a threshold needs at least one attention sum, and finite ones only")
    low, high = ascending[..., :1], ascending[..., -1:]
    x = np.linspace(0.0, 1.0, heads)
    straight = np.broadcast_to(x, ascending.shape).copy()
    y = np.divide(ascending - low, high - low, out=straight, where=high > low)
    return np.round(np.abs(y - x) / np.sqrt(2) if elbow == "chord" else _curvature(x, y), 12)


def _curvature(
    x: Float[np.ndarray, " heads"], y: Float[np.ndarray, "*batch heads"]
) -> Float[np.ndarray, "*batch heads"]:
    """Four times the triangle of three neighbouring points over the product of its sides."""
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
    """The cells above `level` times their map's mean.

    Strictly above, and by more than rounding: a cell equal to the mean is not, so no cell of a uniform map
    is. A map with a NaN has no cell above.

    Args:
        maps: Attention maps, not negative.
        level: Multiple of the mean: 1 in the paper and the first release, 2 in the later rewrite.
        floor: How far above a cell has to be: 0 in the paper, 0.001 in both releases.
    """
    return maps > level * maps.mean(axis=(-2, -1), keepdims=True, dtype=np.float64) * (1 + ROUNDING) + floor


def label_components(
    binary: Bool[np.ndarray, "*batch rows columns"], connectivity: Literal[4, 8] = 8
) -> Int[np.ndarray, "*batch rows columns"]:
    """Numbers the connected components of all maps at once, from 1, no number in two maps; 0 is background.

    One call of `scipy.ndimage.label` on the stack of maps does them all; its structure joins no two maps.
    """
    rows, columns = binary.shape[-2:]
    neighbours = np.zeros((3, 3, 3), dtype=bool)
    neighbours[1] = ndimage.generate_binary_structure(2, 2 if connectivity == 8 else 1)
    labels, _ = ndimage.label(binary.reshape(-1, rows, columns), structure=neighbours)
    return labels.reshape(binary.shape)


def spatial_entropy(
    maps: Float[np.ndarray, "*batch rows columns"],
    level: float = 1.0,
    floor: float = 0.0,
    weight: Literal["area", "mass"] = "area",
    connectivity: Literal[4, 8] = 8,
    logarithm: Logarithm = "natural",
) -> Float[np.ndarray, "*batch"]:
    """Criterion 2: how scattered a head's attention is, H = -sum_C P(C) log P(C) with P(C) = |C| / sum |C|.

    C runs over the connected components of the binarised map; the logarithm is natural. One component gives
    exactly 0, n equal ones log n, so the range is not the [0, 1] that the paper claims. The defaults are the
    paper's text.

    Args:
        maps: Attention maps, not negative.
        level: Binarise above this multiple of the mean (see `binarise`).
        floor: ... and by more than this.
        weight: |C| is the component's `area` in cells (paper), or the `mass` of attention by which its cells
            exceed `level` times the mean (both releases).
        connectivity: Whether diagonal cells touch (8, the paper) or not (4).
        logarithm: `natural`; `2`; or `normalised`, which divides by the logarithm of the number of
            components, so that the range is [0, 1], as the paper claims.

    Returns:
        Entropies, in nats unless `logarithm` says otherwise. `+inf` where no cell is above (empty, uniform or
        NaN maps), so that such a head is never among the lowest.
    """
    nats = threaded(entropies, maps, level, floor, ROUNDING, weight == "mass", connectivity == 8)
    if logarithm == "2":
        return nats / np.log(2)
    if logarithm == "normalised":
        return nats / np.log(np.maximum(count_components(binarise(maps, level, floor), connectivity), 2))
    return nats


def count_components(
    binary: Bool[np.ndarray, "*batch rows columns"], connectivity: Literal[4, 8] = 8
) -> Int[np.ndarray, "*batch"]:
    """How many connected components each map has: `label_components` numbers one map after another."""
    highest = label_components(binary, connectivity).reshape(-1, *binary.shape[-2:]).max(axis=(-2, -1))
    counted = np.maximum.accumulate(highest.astype(np.int64))
    return np.diff(counted, prepend=0).reshape(binary.shape[:-2])


def bottom_row_peak(maps: Float[np.ndarray, "*batch rows columns"]) -> Float[np.ndarray, "*batch"]:
    """The largest value in a map's last row.

    The later rewrite leaves out heads where it exceeds 0.05; set their entropy to `+inf` to do the same.
    """
    return np.asarray(maps[..., -1, :].max(axis=-1), dtype=np.float64)
