"""From the maps of k heads to a pseudo-mask, a convex hull and a box.

Each map is smoothed with a Gaussian, the maps are summed, the sum is binarised above its mean, and the
component with the largest convex hull gives the box.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import ConvexHull

from locheads.method.criteria import binarise, blocks, label_components
from locheads.method.geometry import Window


@dataclass(frozen=True, eq=False)
class Grounding:
    """Where the heads look. Cell coordinates and pixels as in `locheads.method.geometry`.

    Attributes:
        map: The smoothed sum of the heads' maps.
        mask: The pseudo-mask: the cells above the mean.
        region: The cells that the hull encloses: the component with the largest hull.
        hull_cells, hull: The convex hull's corners (x, y) in order, in cells and in pixels; where the image
            was padded the hull may reach outside it.
        box_cells: The tight box around the hull, in cells.
        box: The same in pixels, clipped to the image.
        found: False when no cell is above the mean, or all of the region lies in the padding. `box` is then
            the whole image; in the first case `mask` is empty, and region, hull and `box_cells` are the whole
            grid.
    """

    map: Float[np.ndarray, "rows columns"]
    mask: Bool[np.ndarray, "rows columns"]
    region: Bool[np.ndarray, "rows columns"]
    hull_cells: Float[np.ndarray, "corners 2"]
    hull: Float[np.ndarray, "corners 2"]
    box_cells: Float[np.ndarray, "4"]
    box: Float[np.ndarray, "4"]
    found: bool


def smooth(
    maps: Float[np.ndarray, "*batch rows columns"], kernel: int = 7, sigma: float = 1.0
) -> Float[np.ndarray, "*batch rows columns"]:
    """Blurs each map with a Gaussian cut to `kernel` cells and normalised to sum 1.

    Beyond the border the map is mirrored without repeating the edge, the default of torchvision and OpenCV
    (the paper does not say). `kernel=1` or `sigma=0` changes nothing.

    Raises:
        ValueError: When the kernel is even or below 1, or sigma negative.
    """
    weights = _gaussian(kernel, sigma)
    across = ndimage.correlate1d(maps.astype(np.float64), weights, axis=-1, mode="mirror")
    return ndimage.correlate1d(across, weights, axis=-2, mode="mirror")


def _gaussian(kernel: int, sigma: float) -> Float[np.ndarray, " kernel"]:
    """The weights of `smooth`, which raises the same."""
    if kernel < 1 or kernel % 2 == 0 or sigma < 0:
        raise ValueError(f"a Gaussian needs an odd kernel and sigma of at least 0, not {kernel} and {sigma}")
    if kernel == 1 or sigma == 0:
        return np.ones(1)
    offset = np.arange(kernel) - kernel // 2
    weights = np.exp(-(offset**2) / (2 * sigma**2))
    return weights / weights.sum()


def combine(
    maps: Float[np.ndarray, "*batch k rows columns"], kernel: int = 7, sigma: float = 1.0
) -> Float[np.ndarray, "*batch rows columns"]:
    """The sum of k smoothed maps."""
    return smooth(maps, kernel, sigma).sum(axis=-3)


def pseudo_mask(
    maps: Float[np.ndarray, "*batch rows columns"], level: float = 1.0
) -> Bool[np.ndarray, "*batch rows columns"]:
    """The cells above `level` times the mean (strictly, see `locheads.method.criteria.binarise`)."""
    return binarise(maps, level)


def ground(
    maps: Float[np.ndarray, "k rows columns"],
    window: Window,
    kernel: int = 7,
    sigma: float = 1.0,
    level: float = 1.0,
    keep: Literal["largest", "all"] = "largest",
) -> Grounding:
    """Grounds one expression from the maps of the localization heads.

    Args:
        maps: The k heads' attention maps.
        window: Which pixels the grid covers.
        kernel: The Gaussian's width in cells, odd.
        sigma: The Gaussian's standard deviation in cells.
        level: Binarise above this multiple of the mean.
        keep: Box the component with the `largest` hull (paper), or `all` cells above (the later rewrite).

    Raises:
        ValueError: When the maps have not the window's grid.
    """
    if maps.shape[-2:] != (window.rows, window.columns):
        raise ValueError(f"the maps are {maps.shape[-2:]}, the grid {(window.rows, window.columns)}")
    combined = combine(maps, kernel, sigma)
    mask = pseudo_mask(combined, level)
    if not mask.any():
        region = np.ones_like(mask)
    else:
        region = largest_component(mask, combined) if keep == "largest" else mask
    corners = convex_hull(region)
    box_cells = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    box = window.clip(window.box_to_pixels(box_cells))
    found = bool(mask.any() and (box[2:] > box[:2]).all())
    if not found:
        box = np.array([0, 0, *window.size], dtype=float)
    hull = window.points_to_pixels(corners)
    return Grounding(combined, mask, region, corners, hull, box_cells, box, found)


def largest_component(
    mask: Bool[np.ndarray, "rows columns"], weights: Float[np.ndarray, "rows columns"]
) -> Bool[np.ndarray, "rows columns"]:
    """The 8-connected component whose convex hull has the largest area.

    Equal areas go to the component with more weight (attention), then to the one met first from the top left.

    Raises:
        ValueError: When the mask is empty.
    """
    labels = label_components(mask)
    components = [labels == label for label in range(1, int(labels.max()) + 1)]
    return max(components, key=lambda cells: (polygon_area(convex_hull(cells)), weights[cells].sum()))


def convex_hull(mask: Bool[np.ndarray, "rows columns"]) -> Float[np.ndarray, "corners 2"]:
    """The convex hull of a set of cells, spanned by the cells' corners, so one cell has a hull of area 1.

    Returns:
        The hull's corners (x, y) in cell coordinates, in order around it.

    Raises:
        ValueError: When the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no convex hull")
    row, column = np.nonzero(mask)
    cells = np.stack([column, row], axis=-1).astype(float)
    corners = np.unique(np.concatenate([cells + step for step in ([0, 0], [1, 0], [0, 1], [1, 1])]), axis=0)
    return corners[ConvexHull(corners).vertices]


def polygon_area(corners: Float[np.ndarray, "corners 2"]) -> float:
    """The area of a simple polygon by the shoelace formula; exact for whole-numbered corners."""
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)


def target_cells(
    coverage: Float[np.ndarray, "*batch rows columns"],
) -> Bool[np.ndarray, "*batch rows columns"]:
    """The cells of the true object: those it covers at least by half, or else those that it covers most.

    An object that covers nothing has no cell.
    """
    most = coverage.max(axis=(-2, -1), keepdims=True)
    return (coverage >= np.minimum(0.5, most)) & (coverage > 0)


def iou_per_head(
    maps: Float[np.ndarray, "*batch rows columns"],
    coverage: Float[np.ndarray, "*leading rows columns"],
    kernel: int = 7,
    sigma: float = 1.0,
    level: float = 1.0,
) -> Float[np.ndarray, "*batch"]:
    """The IoU, on the patch grid, of each single head's pseudo-mask with the true object.

    This is the measure that the paper correlates with selection frequency. All cells above the mean count,
    not only the largest component.

    Args:
        maps: Attention maps, `[sample layer head rows columns]`.
        coverage: The share of each cell that the object covers (`Window.mask_to_grid`), `[sample rows
            columns]`: its leading axes are the first ones of `maps`.
        kernel: As in `ground`.
        sigma: As in `ground`.
        level: As in `ground`.

    Returns:
        One IoU a map; 0 where both masks are empty.
    """
    # One axis of maps and one of targets; the maps of a target follow one another.
    stack = maps.reshape(-1, *maps.shape[-2:])  # [map row column]
    targets = target_cells(coverage).reshape(-1, *coverage.shape[-2:])  # [target row column]
    target_of = np.arange(len(stack)) // max(1, math.prod(maps.shape[coverage.ndim - 2 : -2]))  # [map]
    ious = np.empty(len(stack))
    for block in blocks(stack):
        predicted = pseudo_mask(smooth(stack[block], kernel, sigma), level)
        target = targets[target_of[block]]
        common = np.count_nonzero(predicted & target, axis=(-2, -1))
        union = np.count_nonzero(predicted | target, axis=(-2, -1))
        ious[block] = common / np.maximum(union, 1)
    return ious.reshape(maps.shape[:-2])
