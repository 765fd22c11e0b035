"""Draws the figures of the method step by step: spatial entropy, assembly of a box, average of all heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Bool, Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from PIL import Image

from locheads.method.geometry import Window
from locheads.plotting.style import FOUND, PALETTE, Boxed, draw_box, draw_picture, wrapped

COMPONENTS = ListedColormap(["white", *PALETTE])
"""White where no component is; components beyond the palette take its colours again."""


def entropy_steps(
    rows: Mapping[str, tuple[Float[np.ndarray, "row column"], Int[np.ndarray, "row column"], float]],
) -> Figure:
    """Draws map, binarised map, components and their shares of area for each map (the paper's Figure 4).

    Args:
        rows: By name: the map, the labels of its components from 1 (0: background), and its entropy in nats.
    """
    figure, grid = plt.subplots(len(rows), 4, figsize=(10, 2.7 * len(rows)), squeeze=False)
    for line, (name, (one, labels, entropy)) in zip(grid, rows.items(), strict=True):
        draw_cells(line[0], one, "map", cmap="inferno")
        draw_cells(line[1], labels > 0, "above its mean", cmap="gray_r")
        count = int(labels.max())
        draw_cells(
            line[2], _colour_numbers(labels), _counted(count), cmap=COMPONENTS, vmin=0, vmax=len(PALETTE)
        )
        shares = np.bincount(labels[labels > 0], minlength=count + 1)[1:] / max(1, (labels > 0).sum())
        colours = [PALETTE[number % len(PALETTE)] for number in range(count)]
        line[3].bar(range(1, count + 1), 100 * shares, color=colours)
        line[3].set(title=f"H = {entropy:.2f} nats", ylabel="share of area [%]", ylim=(0, 105))
        line[3].set_xticks([1, count] if count > 1 else [1])
        line[3].set_xlabel("component")
        line[0].set_ylabel(wrapped(name, 18), fontsize=10)
    return figure


def grounding_steps(
    image: Image.Image,
    expression: str,
    combined: Float[np.ndarray, "row column"],
    mask: Bool[np.ndarray, "row column"],
    region: Bool[np.ndarray, "row column"],
    hull: Float[np.ndarray, "corners 2"],
    box: Boxed,
) -> Figure:
    """Draws the assembly of a box: picture, summed map, cells above its mean, region with hull, box.

    Args:
        image: The picture.
        expression: What is looked for.
        combined: The smoothed sum of the heads' maps.
        mask: Cells above its mean.
        region: Cells of the component with the largest hull.
        hull: Corners (x, y) of that hull, in cells.
        box: The box in pixels of the picture, xyxy.
    """
    figure, axes = plt.subplots(1, 5, figsize=(12, 2.9))
    draw_picture(axes[0], image, wrapped(expression, 26))
    draw_cells(axes[1], combined, "smoothed and summed", cmap="inferno")
    draw_cells(axes[2], mask, "above the mean", cmap="gray_r")
    draw_cells(axes[3], region, "component with the largest hull", cmap="gray_r")
    # Pixels of a picture of cells are centred on whole numbers, the corners of cells are whole numbers.
    axes[3].add_patch(Polygon(hull - 0.5, fill=False, edgecolor=FOUND, linewidth=2))
    draw_picture(axes[4], image, "box")
    draw_box(axes[4], box, (1.0, 1.0, 1.0))
    draw_box(axes[4], box, FOUND, "--")
    return figure


def average_beside_heads(
    image: Image.Image,
    expression: str,
    window: Window,
    average: Float[np.ndarray, "row column"],
    heads: Sequence[tuple[str, Float[np.ndarray, "row column"]]],
) -> Figure:
    """Draws the average map of all heads beside the maps of single heads (the paper's Figures 1 and 7).

    Args:
        image: The picture.
        expression: What is looked for.
        window: Which pixels the grid covers.
        average: Mean over the maps of all heads.
        heads: Name and map of each head.
    """
    figure, axes = plt.subplots(1, 2 + len(heads), figsize=(1.9 * (2 + len(heads)), 2.2))
    draw_picture(axes[0], image, wrapped(expression, 26))
    for place, (name, one) in zip(axes[1:], [("average of all heads", average), *heads], strict=True):
        draw_picture(place, image, name)
        place.imshow(window.grid_to_pixels(one), cmap="inferno", alpha=0.65)
    return figure


def draw_cells(axes: Axes, cells: np.ndarray, title: str, **options: Any) -> None:
    """Draws values by cell, without ticks, under a title."""
    axes.imshow(cells, interpolation="nearest", **options)
    axes.set_title(title, fontsize=9)
    axes.set(xticks=[], yticks=[])


def _colour_numbers(labels: Int[np.ndarray, "row column"]) -> Int[np.ndarray, "row column"]:
    """Returns each cell's place in `COMPONENTS`."""
    return np.where(labels > 0, (labels - 1) % len(PALETTE) + 1, 0)


def _counted(count: int) -> str:
    return f"{count} component{'' if count == 1 else 's'}"
