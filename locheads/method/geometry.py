"""Maps pixels of the original image to cells of the patch grid and back: stretch, pad and crop.

A vision encoder sees a square; the image is not one. How it was made square decides which pixels a cell of
the attention map covers, and the paper does not say how. `Window` keeps the answer, so everything after it
works in original pixels. Where a processor rounds a resized edge to whole pixels, the window follows it:
`side` is then the edge it resizes to.

Points are (x, y), boxes are xyxy and half-open, in pixels or in cells; cell (row, column) covers
[column, column + 1) x [row, row + 1) in cell coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Real


@dataclass(frozen=True)
class Window:
    """Holds the region of the original image that the patch grid covers.

    Attributes:
        x0, y0, x1, y1: The region in pixels of the original image. Reaches outside the image where the image
            was padded, and lies inside it where the image was cropped.
        rows, columns: The patch grid.
        size: (width, height) of the original image in pixels.

    Raises:
        ValueError: When the region, the grid or the image is empty.

    Example:
        >>> window = Window.pad_to_square((80, 40), (4, 4))
        >>> window.y0, window.y1, window.cell_size
        (-20.0, 60.0, (20.0, 20.0))
    """

    x0: float
    y0: float
    x1: float
    y1: float
    rows: int
    columns: int
    size: tuple[int, int]

    def __post_init__(self) -> None:
        if not (self.x0 < self.x1 and self.y0 < self.y1 and min(self.rows, self.columns, *self.size) >= 1):
            raise ValueError(f"a window needs a region, a grid and an image that are not empty: {self}")

    @classmethod
    def stretch(cls, size: tuple[int, int], grid: tuple[int, int]) -> Window:
        """Covers the whole image, each axis resized by itself.

        Args:
            size: (width, height) of the image in pixels.
            grid: (rows, columns).

        Example:
            >>> Window.stretch((80, 40), (4, 4)).cell_size
            (20.0, 10.0)
        """
        width, height = size
        return cls(0.0, 0.0, float(width), float(height), *grid, size)

    @classmethod
    def pad_to_square(cls, size: tuple[int, int], grid: tuple[int, int]) -> Window:
        """Centres the image on a square of its longer edge, as LLaVA pads it; an odd pixel goes last.

        Args:
            size: (width, height) of the image in pixels.
            grid: (rows, columns).

        Example:
            >>> window = Window.pad_to_square((80, 41), (4, 4))
            >>> window.x0, window.y0, window.x1, window.y1
            (0.0, -19.0, 80.0, 61.0)
        """
        return cls._square(size, grid, size, max(size))

    @classmethod
    def crop_to_square(cls, size: tuple[int, int], grid: tuple[int, int]) -> Window:
        """Cuts out the central square of the shorter edge, of whole pixels; an odd pixel goes at the end.

        Args:
            size: (width, height) of the image in pixels.
            grid: (rows, columns).

        Example:
            >>> window = Window.crop_to_square((81, 40), (4, 4))
            >>> window.x0, window.y0, window.x1, window.y1
            (20.0, 0.0, 60.0, 40.0)
        """
        return cls._square(size, grid, size, min(size))

    @classmethod
    def resize_and_pad(
        cls, size: tuple[int, int], grid: tuple[int, int], side: int, least: int = 1
    ) -> Window:
        """Resizes until the longer edge is `side`, then centres on a square, as DeepSeek-VL does.

        Args:
            size: (width, height) of the image in pixels.
            grid: (rows, columns).
            side: The square's edge in pixels of the resized image.
            least: The shortest that a resized edge may be, in pixels.

        Example:
            >>> window = Window.resize_and_pad((80, 40), (4, 4), side=20)
            >>> window.x0, window.y0, window.x1, window.y1
            (0.0, -20.0, 80.0, 60.0)
        """
        width, height = (max(round(edge * (side / max(size))), least) for edge in size)
        return cls._square(size, grid, (width, height), max(width, height))

    @classmethod
    def resize_and_crop(
        cls, size: tuple[int, int], grid: tuple[int, int], side: int | None = None, crop: int | None = None
    ) -> Window:
        """Cuts out the central square of the shorter edge, as CLIP resizes and crops.

        Args:
            size: (width, height) of the image in pixels.
            grid: (rows, columns).
            side: What the shorter edge is resized to; the longer one and the crop are then rounded as
                transformers does. None: nothing is rounded.
            crop: The crop's edge in pixels of the resized image, `side` if None.

        Example:
            >>> window = Window.resize_and_crop((81, 40), (4, 4))
            >>> window.x0, window.y0, window.x1, window.y1
            (20.5, 0.0, 60.5, 40.0)
        """
        if side is None:
            return cls._square(size, grid, size, min(size), whole=False)
        width, height = (side if edge == min(size) else int(side * edge / min(size)) for edge in size)
        return cls._square(size, grid, (width, height), crop or side)

    @classmethod
    def _square(
        cls,
        size: tuple[int, int],
        grid: tuple[int, int],
        resized: tuple[int, int],
        side: int,
        whole: bool = True,
    ) -> Window:
        """Covers a square of `side` pixels around the middle of the image as `resized` (width, height).

        With `whole` the square starts at a whole pixel of the resized image.
        """
        # Where the square starts along x and y, in pixels of the resized image; negative where it is padded.
        starts = [(edge - side) / 2 for edge in resized]
        starts = [float(int(start)) if whole else start for start in starts]
        # Both ends in pixels of the original image: each axis was resized by its own factor, `to / of`.
        x0, y0 = (start * of / to for start, of, to in zip(starts, size, resized, strict=True))
        x1, y1 = ((start + side) * of / to for start, of, to in zip(starts, size, resized, strict=True))
        return cls(x0, y0, x1, y1, *grid, size)

    @property
    def cell_size(self) -> tuple[float, float]:
        """Returns (width, height) of one cell in pixels of the original image."""
        return (self.x1 - self.x0) / self.columns, (self.y1 - self.y0) / self.rows

    def points_to_pixels(self, points: Real[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Converts cell coordinates (x, y) to pixels; the result may lie outside the image.

        Example:
            >>> Window.stretch((80, 40), (2, 4)).points_to_pixels(np.array([1.5, 1.0])).tolist()
            [30.0, 20.0]
        """
        return points * np.array(self.cell_size) + np.array([self.x0, self.y0])

    def points_to_cells(self, points: Real[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Converts pixels (x, y) to cell coordinates; the inverse of `points_to_pixels`.

        Example:
            >>> Window.stretch((80, 40), (2, 4)).points_to_cells(np.array([30.0, 20.0])).tolist()
            [1.5, 1.0]
        """
        return (points - np.array([self.x0, self.y0])) / np.array(self.cell_size)

    def box_to_pixels(self, box: Real[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Converts boxes (xyxy) in cells to boxes in pixels, not clipped to the image.

        Example:
            >>> Window.stretch((80, 40), (2, 4)).box_to_pixels(np.array([1.0, 0.0, 3.0, 1.0])).tolist()
            [20.0, 0.0, 60.0, 20.0]
        """
        return self.points_to_pixels(box.reshape(*box.shape[:-1], 2, 2)).reshape(box.shape)

    def box_to_cells(self, box: Real[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Converts boxes (xyxy) in pixels to boxes in cells; the inverse of `box_to_pixels`.

        Example:
            >>> Window.stretch((80, 40), (2, 4)).box_to_cells(np.array([20.0, 0.0, 60.0, 20.0])).tolist()
            [1.0, 0.0, 3.0, 1.0]
        """
        return self.points_to_cells(box.reshape(*box.shape[:-1], 2, 2)).reshape(box.shape)

    def clip(self, box: Real[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Clips each pixel box to the image; a box wholly outside keeps no area.

        Example:
            >>> Window.stretch((80, 40), (2, 4)).clip(np.array([-5.0, 10.0, 90.0, 30.0])).tolist()
            [0.0, 10.0, 80.0, 30.0]
        """
        return np.clip(box, 0.0, np.array([*self.size, *self.size], dtype=float))

    def visible(self, box: Real[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch"]:
        """Computes the share of each pixel box that the window covers: below 1 where cropping cut it.

        A box without area is as visible as its place: 1 inside the window, 0 outside.

        Example:
            The crop covers x from 20 to 60, the box x from 40 to 80:

            >>> window = Window.crop_to_square((80, 40), (4, 4))
            >>> window.visible(np.array([[40.0, 0.0, 80.0, 40.0], [70.0, 5.0, 70.0, 5.0]])).tolist()
            [0.5, 0.0]
        """
        region = np.array([self.x0, self.y0, self.x1, self.y1])
        low = np.maximum(box[..., :2], region[:2])
        high = np.minimum(box[..., 2:], region[2:])
        # The share along each axis; of an edge without length, whether it touches the window.
        edges = np.maximum(box[..., 2:] - box[..., :2], np.finfo(float).tiny)
        inside = np.where(box[..., 2:] > box[..., :2], np.maximum(high - low, 0.0) / edges, high >= low)
        return np.asarray(inside.prod(axis=-1))

    def mask_to_grid(
        self, mask: Bool[np.ndarray, "*batch height width"]
    ) -> Float[np.ndarray, "*batch rows columns"]:
        """Computes the share of each cell's area, in [0, 1], that a mask of the original image covers.

        Exact: a pixel cut by a cell's edge counts with the part inside. Padding counts as not covered; pixels
        outside the window do not count.

        Raises:
            ValueError: When the mask does not have the image's size.

        Example:
            >>> mask = np.array([[True, True, True, False], [True, True, False, False]])
            >>> Window.stretch((4, 2), (1, 2)).mask_to_grid(mask).tolist()
            [[1.0, 0.25]]
        """
        width, height = self.size
        if mask.shape[-2:] != (height, width):
            raise ValueError(f"the mask is {mask.shape[-2:]}, the image {(height, width)} (height, width)")
        # The share of a rectangle is the product of the shares along its edges.
        across = _overlaps(self.x0, self.x1, self.columns, width)  # [columns width]
        down = _overlaps(self.y0, self.y1, self.rows, height)  # [rows height]
        return down @ mask @ across.T

    def grid_to_pixels(
        self, maps: Float[np.ndarray, "*batch rows columns"]
    ) -> Float[np.ndarray, "*batch height width"]:
        """Enlarges maps to the original image, for overlays.

        Bilinear between cell centres and constant beyond the outermost ones; 0 where the window does not
        reach.

        Raises:
            ValueError: When the maps do not have the window's grid.

        Example:
            >>> Window.stretch((4, 1), (1, 2)).grid_to_pixels(np.array([[0.0, 4.0]])).tolist()
            [[0.0, 1.0, 3.0, 4.0]]
        """
        if maps.shape[-2:] != (self.rows, self.columns):
            raise ValueError(f"the maps are {maps.shape[-2:]}, the grid {(self.rows, self.columns)}")
        width, height = self.size
        across = _interpolation(self.x0, self.x1, self.columns, width)  # [width columns]
        down = _interpolation(self.y0, self.y1, self.rows, height)  # [height rows]
        return down @ maps @ across.T


def _overlaps(start: float, stop: float, cells: int, pixels: int) -> Float[np.ndarray, "cells pixels"]:
    """Computes, along one axis, the share of each cell's length that lies in each pixel."""
    edges = np.linspace(start, stop, cells + 1)
    left, right = edges[:-1, None], edges[1:, None]
    pixel = np.arange(pixels)
    common = np.minimum(right, pixel + 1) - np.maximum(left, pixel)
    return np.maximum(common, 0.0) / (right - left)


def _interpolation(start: float, stop: float, cells: int, pixels: int) -> Float[np.ndarray, "pixels cells"]:
    """Computes, along one axis, the weight of each cell in each pixel, linear between the cells' centres."""
    # Each pixel's centre in cells, counted from the first cell's centre; kept between the outermost centres.
    centre = np.arange(pixels) + 0.5
    position = np.clip((centre - start) / (stop - start) * cells - 0.5, 0, cells - 1)
    # Each cell's weight falls to 0 one cell away; pixels outside the window get none.
    weights = np.maximum(1 - np.abs(position[:, None] - np.arange(cells)), 0.0)
    return weights * ((centre > start) & (centre < stop))[:, None]
