"""Computes convex hulls of sets of cells: their corners and areas, and the component with the largest one."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import ConvexHull

from locheads.method.criteria import label_components


def largest_component(
    mask: Bool[np.ndarray, "rows columns"], weights: Float[np.ndarray, "rows columns"]
) -> Bool[np.ndarray, "rows columns"]:
    """Picks the 8-connected component whose convex hull has the largest area.

    Equal areas go to the component with more weight (attention), then to the one met first from the top left.

    Args:
        mask: The pseudo-mask.
        weights: The map that decides between equal hulls.

    Returns:
        The component's cells.

    Raises:
        ValueError: When the mask is empty.

    Example:
        >>> mask = np.array([[True, False, True, True]])
        >>> largest_component(mask, np.ones((1, 4))).tolist()
        [[False, False, True, True]]
        >>> mask = np.array([[True, False, True]])
        >>> largest_component(mask, np.array([[1.0, 0.0, 2.0]])).tolist()
        [[False, False, True]]
    """
    labels = label_components(mask)
    components = [labels == label for label in range(1, int(labels.max()) + 1)]
    return max(components, key=lambda cells: (polygon_area(convex_hull(cells)), weights[cells].sum()))


def convex_hull(mask: Bool[np.ndarray, "rows columns"]) -> Float[np.ndarray, "corners 2"]:
    """Computes the convex hull of a set of cells, spanned by their corners: one cell has a hull of area 1.

    Args:
        mask: The cells, at least one.

    Returns:
        The hull's corners (x, y) in cell coordinates, in order around it.

    Raises:
        ValueError: When the mask is empty.

    Example:
        The corners of the cells (row 0, column 1) and (0, 2):

        >>> sorted(convex_hull(np.array([[False, True, True]])).tolist())
        [[1.0, 0.0], [1.0, 1.0], [3.0, 0.0], [3.0, 1.0]]
    """
    if not mask.any():
        raise ValueError("an empty mask has no convex hull")
    # A point of the grid is a corner where one of its four cells is in the set: [rows + 1, columns + 1].
    cells = np.pad(mask, 1)
    grid = cells[1:, 1:] | cells[1:, :-1] | cells[:-1, 1:] | cells[:-1, :-1]
    corners = np.argwhere(grid.T).astype(float)  # (x, y)
    return corners[ConvexHull(corners).vertices]  # qhull lists them in order


def polygon_area(corners: Float[np.ndarray, "corners 2"]) -> float:
    """Computes the area of a simple polygon by the shoelace formula; exact for whole-numbered corners.

    Args:
        corners: (x, y) in order around it, either way.

    Returns:
        The area, in squares of the corners' unit; not negative.

    Example:
        >>> polygon_area(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
        1.0
    """
    x, y = corners.T
    return float(abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2)
