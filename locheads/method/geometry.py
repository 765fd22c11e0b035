"""Pixels of the original image and cells of the patch grid: stretch, pad and crop, and their exact inverse.

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
    """The region of the original image that the patch grid covers.

    Attributes:
        x0, y0, x1, y1: The region in pixels of the original image. Reaches outside the image where the image
            was padded, and lies inside it where the image was cropped.
        rows, columns: The patch grid.
        size: (width, height) of the original image in pixels.

    Raises:
        ValueError: When the region, the grid or the image is empty.
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
        """The whole image, each axis resized by itself. `size` is (width, height), `grid` (rows, columns)."""
        width, height = size
        return cls(0.0, 0.0, float(width), float(height), *grid, size)

    @classmethod
    def pad_to_square(cls, size: tuple[int, int], grid: tuple[int, int]) -> Window:
        """The image centred on a square of its longer edge, as LLaVA pads it; an odd pixel goes last."""
        return cls._square(size, grid, size, max(size))

    @classmethod
    def crop_to_square(cls, size: tuple[int, int], grid: tuple[int, int]) -> Window:
        """The central square of the shorter edge, of whole pixels; an odd pixel is cut off at the end."""
        return cls._square(size, grid, size, min(size))

    @classmethod
    def resize_and_pad(
        cls, size: tuple[int, int], grid: tuple[int, int], side: int, least: int = 1
    ) -> Window:
        """Resized until the longer edge is `side`, then centred on a square, as DeepSeek-VL does.

        Args:
            size: (width, height) of the image.
            grid: (rows, columns).
            side: The square's edge in pixels of the resized image.
            least: No resized edge is shorter.
        """
        width, height = (max(round(edge * (side / max(size))), least) for edge in size)
        return cls._square(size, grid, (width, height), max(width, height))

    @classmethod
    def resize_and_crop(
        cls, size: tuple[int, int], grid: tuple[int, int], side: int | None = None, crop: int | None = None
    ) -> Window:
        """The central square of the shorter edge, as CLIP resizes and crops.

        Args:
            size: (width, height) of the image.
            grid: (rows, columns).
            side: What the shorter edge is resized to; the longer one and the crop are then rounded as
                transformers does. None: nothing is rounded.
            crop: The crop's edge, `side` if None.
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
        """A square of `side` pixels around the middle of the image as `resized`, from a `whole` pixel on."""
        starts = [(edge - side) / 2 for edge in resized]
        starts = [float(int(start)) if whole else start for start in starts]
        x0, y0 = (start * of / to for start, of, to in zip(starts, size, resized, strict=True))
        x1, y1 = ((start + side) * of / to for start, of, to in zip(starts, size, resized, strict=True))
        return cls(x0, y0, x1, y1, *grid, size)

    @property
    def cell_size(self) -> tuple[float, float]:
        """(width, height) of one cell in pixels of the original image."""
        return (self.x1 - self.x0) / self.columns, (self.y1 - self.y0) / self.rows

    def points_to_pixels(self, points: Real[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Cell coordinates (x, y) to pixels; the result may lie outside the image."""
        return points * np.array(self.cell_size) + np.array([self.x0, self.y0])

    def points_to_cells(self, points: Real[np.ndarray, "*batch 2"]) -> Float[np.ndarray, "*batch 2"]:
        """Pixels (x, y) to cell coordinates; the inverse of `points_to_pixels`."""
        return (points - np.array([self.x0, self.y0])) / np.array(self.cell_size)

    def box_to_pixels(self, box: Real[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Boxes in cells to boxes in pixels, not clipped to the image."""
        return self.points_to_pixels(box.reshape(*box.shape[:-1], 2, 2)).reshape(box.shape)

    def box_to_cells(self, box: Real[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """Boxes in pixels to boxes in cells; the inverse of `box_to_pixels`."""
        return self.points_to_cells(box.reshape(*box.shape[:-1], 2, 2)).reshape(box.shape)

    def clip(self, box: Real[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch 4"]:
        """The part of each pixel box inside the image; a box wholly outside keeps no area."""
        return np.clip(box, 0.0, np.array([*self.size, *self.size], dtype=float))

    def visible(self, box: Real[np.ndarray, "*batch 4"]) -> Float[np.ndarray, "*batch"]:
        """The share of each pixel box that the window covers: below 1 where cropping took a part away.

        A box without area is as visible as its place: 1 inside the window, 0 outside.
        """
        region = np.array([self.x0, self.y0, self.x1, self.y1])
        low = np.maximum(box[..., :2], region[:2])
        high = np.minimum(box[..., 2:], region[2:])
        edges = np.maximum(box[..., 2:] - box[..., :2], np.finfo(float).tiny)
        inside = np.where(box[..., 2:] > box[..., :2], np.maximum(high - low, 0.0) / edges, high >= low)
        return np.asarray(inside.prod(axis=-1))

    def mask_to_grid(
        self, mask: Bool[np.ndarray, "*batch height width"]
    ) -> Float[np.ndarray, "*batch rows columns"]:
        """The share of each cell's area that a mask of the original image covers.

        Exact: a pixel cut by a cell's edge counts with the part inside. Padding counts as not covered; pixels
        outside the window do not count.

        Raises:
            ValueError: When the mask has not the image's size.
        """
        width, height = self.size
        if mask.shape[-2:] != (height, width):
            raise ValueError(f"the mask is {mask.shape[-2:]}, the image {(height, width)} (height, width)")
        across = _overlaps(self.x0, self.x1, self.columns, width)
        down = _overlaps(self.y0, self.y1, self.rows, height)
        return down @ mask @ across.T

    def grid_to_pixels(
        self, maps: Float[np.ndarray, "*batch rows columns"]
    ) -> Float[np.ndarray, "*batch height width"]:
        """Maps enlarged to the original image, for overlays.

        Bilinear between cell centres and constant beyond the outermost ones; 0 where the window does not
        reach.

        Raises:
            ValueError: When the maps have not the window's grid.
        """
        if maps.shape[-2:] != (self.rows, self.columns):
            raise ValueError(f"the maps are {maps.shape[-2:]}, the grid {(self.rows, self.columns)}")
        width, height = self.size
        across = _interpolation(self.x0, self.x1, self.columns, width)
        down = _interpolation(self.y0, self.y1, self.rows, height)
        return down @ maps @ across.T


def _overlaps(start: float, stop: float, cells: int, pixels: int) -> Float[np.ndarray, "cells pixels"]:
    """Along one axis: the share of each cell's length that lies in each pixel."""
    edges = np.linspace(start, stop, cells + 1)
    left, right = edges[:-1, None], edges[1:, None]
    pixel = np.arange(pixels)
    common = np.minimum(right, pixel + 1) - np.maximum(left, pixel)
    return np.maximum(common, 0.0) / (right - left)


def _interpolation(start: float, stop: float, cells: int, pixels: int) -> Float[np.ndarray, "pixels cells"]:
    """Along one axis: the weight of each cell in each pixel, linear between the cells' centres."""
    centre = np.arange(pixels) + 0.5
    position = np.clip((centre - start) / (stop - start) * cells - 0.5, 0, cells - 1)
    weights = np.maximum(1 - np.abs(position[:, None] - np.arange(cells)), 0.0)
    return weights * ((centre > start) & (centre < stop))[:, None]
