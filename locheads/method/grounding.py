"""Grounds an expression: from the maps of k heads to a pseudo-mask, a hull and a box.

Each map is smoothed with a Gaussian, the maps are summed, the sum is binarised above its mean, and the
component with the largest convex hull gives the box.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from locheads.method.boxes import agreement
from locheads.method.criteria import ROUNDING, binarise
from locheads.method.geometry import Window
from locheads.method.hulls import convex_hull, largest_component

Border = Literal["mirror", "reflect"]
"""How a map goes on beyond its border, in SciPy's words: mirrored without repeating the edge, or with it."""

Keep = Literal["largest", "all"]
"""Which cells above the mean are boxed: the component with the largest hull, or all."""


@dataclass(frozen=True, eq=False)
class Grounding:
    """Holds where the heads look. Cell coordinates and pixels as in `locheads.method.geometry`.

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
        head_maps: The smoothed map of each single head; `map` is their sum.
        level, keep: How they were binarised and boxed, as in `ground`.
    """

    map: Float[np.ndarray, "rows columns"]
    mask: Bool[np.ndarray, "rows columns"]
    region: Bool[np.ndarray, "rows columns"]
    hull_cells: Float[np.ndarray, "corners 2"]
    hull: Float[np.ndarray, "corners 2"]
    box_cells: Float[np.ndarray, "4"]
    box: Float[np.ndarray, "4"]
    found: bool
    head_maps: Float[np.ndarray, "k rows columns"]
    level: float
    keep: Keep

    @cached_property
    def head_boxes(self) -> Float[np.ndarray, "k 4"]:
        """Returns the box of each single head, in cells; NaN for a head with no cell above its mean."""
        boxes = np.full((len(self.head_maps), 4), np.nan)
        for box, one in zip(boxes, self.head_maps, strict=True):
            mask = pseudo_mask(one, self.level)
            if mask.any():
                box[:] = _tight(convex_hull(_region(mask, one, self.keep)))
        return boxes

    @property
    def confidence(self) -> float:
        """Returns how far the single heads agree on the box, in [0, 1]: the mean IoU of their boxes in pairs.

        Each head's own map is smoothed, binarised and boxed as their sum was. 1: all heads have one box;
        0: no two boxes overlap, or no head marks anything. NaN for a single head.

        The measure is this project's; the paper has none. It ranks boxes by how likely they are right
        (notebook 21), and is no probability: that takes a calibration on expressions with known boxes.
        """
        return agreement(self.head_boxes)


def smooth(
    maps: Float[np.ndarray, "*batch rows columns"],
    kernel: int = 7,
    sigma: float = 1.0,
    border: Border = "mirror",
) -> Float[np.ndarray, "*batch rows columns"]:
    """Blurs each map with a Gaussian cut to `kernel` cells and normalised to sum 1.

    `kernel=1` or `sigma=0` changes nothing.

    Args:
        maps: Attention maps of any floating type.
        kernel: The Gaussian's width in cells, odd.
        sigma: The Gaussian's standard deviation in cells.
        border: `mirror` is the default of torchvision and OpenCV (the paper does not say); the later rewrite
            has a kernel of 9 and `reflect`, SciPy's defaults.

    Returns:
        The blurred maps, in double precision. A NaN spreads as far as the kernel reaches.

    Raises:
        ValueError: When the kernel is even or below 1, or sigma negative.

    Example:
        One cell becomes the Gaussian's weights, exp(0) and twice exp(-1/2) over their sum:

        >>> smooth(np.array([[0.0, 0.0, 1.0, 0.0, 0.0]]), kernel=3).round(3).tolist()
        [[0.0, 0.274, 0.452, 0.274, 0.0]]
    """
    weights = _gaussian(kernel, sigma)
    # A Gaussian is separable: along the rows, then along the columns.
    across = ndimage.correlate1d(maps.astype(np.float64), weights, axis=-1, mode=border)
    return ndimage.correlate1d(across, weights, axis=-2, mode=border)


def _gaussian(kernel: int, sigma: float) -> Float[np.ndarray, " kernel"]:
    """Returns the weights of `smooth`, of sum 1; raises the same."""
    if kernel < 1 or kernel % 2 == 0 or sigma < 0:
        raise ValueError(f"a Gaussian needs an odd kernel and sigma of at least 0, not {kernel} and {sigma}")
    if kernel == 1 or sigma == 0:
        return np.ones(1)
    offset = np.arange(kernel) - kernel // 2
    weights = np.exp(-(offset**2) / (2 * sigma**2))
    return weights / weights.sum()


def pseudo_mask(
    maps: Float[np.ndarray, "*batch rows columns"], level: float = 1.0
) -> Bool[np.ndarray, "*batch rows columns"]:
    """Marks the cells above `level` times the mean: the pseudo-mask of a combined map.

    Args:
        maps: Combined maps.
        level: Multiple of the mean, 1 in the paper.

    Returns:
        True where a cell is strictly above (see `locheads.method.criteria.binarise`); nowhere in an empty,
        uniform or NaN map.

    Example:
        >>> pseudo_mask(np.array([[0.0, 1.0], [2.0, 5.0]])).tolist()
        [[False, False], [False, True]]
    """
    return binarise(maps, level)


def ground(
    maps: Float[np.ndarray, "k rows columns"],
    window: Window,
    kernel: int = 7,
    sigma: float = 1.0,
    level: float = 1.0,
    keep: Keep = "largest",
    border: Border = "mirror",
    whole_pixels: bool = False,
) -> Grounding:
    """Grounds one expression from the maps of the localization heads.

    Args:
        maps: The k heads' attention maps.
        window: Which pixels the grid covers.
        kernel: The Gaussian's width in cells, odd.
        sigma: The Gaussian's standard deviation in cells.
        level: Binarise above this multiple of the mean.
        keep: Box the component with the `largest` hull (paper), or `all` cells above (the later rewrite).
        border: As in `smooth`.
        whole_pixels: Truncate the box to whole pixels (the later rewrite).

    Returns:
        The box and what it was made of. Where no cell is above the mean (empty, uniform or NaN maps), `found`
        is False and the box is the whole image.

    Raises:
        ValueError: When the maps do not have the window's grid.

    Example:
        Two cells of a 2 x 4 grid over an image of 80 x 40 pixels, so that a cell is 20 pixels wide:

        >>> one = np.array([[[0.0, 9.0, 9.0, 0.0], [0.0, 0.0, 0.0, 0.0]]])
        >>> found = ground(one, Window.stretch((80, 40), (2, 4)), kernel=1)
        >>> found.box_cells.tolist(), found.box.tolist()
        ([1.0, 0.0, 3.0, 1.0], [20.0, 0.0, 60.0, 20.0])
    """
    if maps.shape[-2:] != (window.rows, window.columns):
        raise ValueError(f"the maps are {maps.shape[-2:]}, the grid {(window.rows, window.columns)}")
    # Smooth, add and binarise: [rows columns].
    smoothed = smooth(maps, kernel, sigma, border)
    combined = smoothed.sum(axis=-3)
    mask = pseudo_mask(combined, level)

    # The component with the largest hull; without any cell above, the whole grid.
    region = _region(mask, combined, keep) if mask.any() else np.ones_like(mask)

    # Its hull and the tight box around it, in cells and in pixels.
    corners = convex_hull(region)  # [corners 2], (x, y)
    box_cells = _tight(corners)
    box = window.box_to_pixels(box_cells)
    box = window.clip(np.trunc(box + ROUNDING) if whole_pixels else box)

    # Nothing above the mean, or only in the padding, which clipping took away: the box is the image.
    found = bool(mask.any() and (box[2:] > box[:2]).all())
    if not found:
        box = np.array([0, 0, *window.size], dtype=float)
    hull = window.points_to_pixels(corners)
    return Grounding(
        combined, mask, region, corners, hull, box_cells, box, found, smoothed, float(level), keep
    )


def _region(
    mask: Bool[np.ndarray, "rows columns"], weights: Float[np.ndarray, "rows columns"], keep: Keep
) -> Bool[np.ndarray, "rows columns"]:
    """Returns the cells of a pseudo-mask, not empty, that are boxed."""
    return largest_component(mask, weights) if keep == "largest" else mask


def _tight(corners: Float[np.ndarray, "corners 2"]) -> Float[np.ndarray, "4"]:
    """Returns the box (x0, y0, x1, y1) around a hull."""
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])
