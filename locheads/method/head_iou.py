"""Computes the IoU of each single head's pseudo-mask with the true object, on the patch grid or in pixels."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

from locheads.method.criteria import binarise, blocks
from locheads.method.geometry import Window
from locheads.method.grounding import pseudo_mask, smooth


def target_cells(
    coverage: Float[np.ndarray, "*batch rows columns"],
) -> Bool[np.ndarray, "*batch rows columns"]:
    """Marks the cells of the true object: those it covers at least by half, or else those it covers most.

    Args:
        coverage: The share of each cell that the object covers, in [0, 1].

    Returns:
        True for the object's cells; of equally covered ones all. An object that covers nothing has no cell.

    Example:
        >>> target_cells(np.array([[[0.5, 0.2]], [[0.1, 0.2]], [[0.0, 0.0]]])).tolist()
        [[[True, False]], [[False, True]], [[False, False]]]
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
    """Computes the IoU, on the patch grid, of each single head's pseudo-mask with the true object.

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
        One IoU per map; 0 where both masks are empty.

    Raises:
        ValueError: When `smooth` does.

    Example:
        The object covers two cells; the first head marks one of them, the second another cell:

        >>> maps = np.array([[[9.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 9.0]]])
        >>> iou_per_head(maps, np.array([[1.0, 1.0, 0.0, 0.0]])[None].repeat(2, 0), kernel=1).tolist()
        [0.5, 0.0]
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


def upscaled_iou(
    maps: Float[np.ndarray, "*batch rows columns"], mask: Bool[np.ndarray, "height width"], window: Window
) -> Float[np.ndarray, "*batch"]:
    """Computes the IoU of each head's map with the true object in pixels, as the first release does.

    The map is upscaled bilinearly to the picture and binarised above the mean of that.

    Args:
        maps: Attention maps of one sample.
        mask: The object's pixels.
        window: Which pixels the grid covers.

    Returns:
        One IoU per map; 0 where both masks are empty.

    Raises:
        ValueError: When the maps do not have the window's grid.

    Example:
        Two cells become the pixels 0, 1, 3, 4 times the larger; above their mean are the last two:

        >>> mask = np.array([[False, False, False, True]])
        >>> upscaled_iou(np.array([[0.0, 4.0]]), mask, Window.stretch((4, 1), (1, 2))).tolist()
        0.5
    """
    predicted = binarise(window.grid_to_pixels(maps))
    common = np.count_nonzero(predicted & mask, axis=(-2, -1))
    return np.asarray(common / np.maximum(np.count_nonzero(predicted | mask, axis=(-2, -1)), 1))
