"""Draws the figures of grounding: map, pseudo-mask, hull and box over the picture, and boxes side by side."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from PIL import Image

from locheads.method.geometry import Window
from locheads.method.grounding import Grounding
from locheads.plotting.style import FOUND, MASK, TRUE, Boxed, draw_box, draw_mask, draw_picture, wrapped


def overlay(
    image: Image.Image,
    grounding: Grounding,
    window: Window | None = None,
    expression: str = "picture",
    true: Boxed | None = None,
) -> Figure:
    """Draws the image, the heads' map, and pseudo-mask, hull and box over the image.

    Args:
        image: The picture.
        grounding: What was found.
        window: Which pixels the grid covers; None: all.
        expression: Title of the picture.
        true: The true box, drawn dashed where it is known.
    """
    window = window or Window.stretch(image.size, grounding.map.shape)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.3))
    draw_picture(left, image, wrapped(expression))
    draw_picture(middle, image, "sum of the heads' maps")
    middle.imshow(window.grid_to_pixels(grounding.map), cmap="inferno", alpha=0.65)
    draw_picture(right, image, "pseudo-mask, hull, box")
    draw_mask(right, window.grid_to_pixels(grounding.mask.astype(float)) > 0.5, MASK)
    right.add_patch(Polygon(grounding.hull, fill=False, edgecolor=TRUE, linewidth=2))
    draw_box(right, grounding.box, FOUND)
    looks = {"pseudo-mask": (MASK, "-"), "its hull": (TRUE, "-"), "box of the heads": (FOUND, "-")}
    if true is not None:
        draw_box(right, true, TRUE, "--")
        looks["true box"] = (TRUE, "--")
    lines = [plt.Line2D([], [], color=color, ls=style) for color, style in looks.values()]
    figure.legend(lines, list(looks), loc="outside lower center", ncols=len(looks), frameon=False)
    return figure


def grounding_grid(
    cases: Sequence[tuple[Image.Image, str, Boxed, Boxed, float]],
    columns: int = 4,
) -> Figure:
    """Draws images with true and predicted box.

    Args:
        cases: One tuple `(image, expression, true box, predicted box, IoU)` per image.
        columns: Images per row.
    """
    rows = -(-len(cases) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.7 * columns, 3.0 * rows))
    for axes in np.ravel(grid)[len(cases) :]:
        axes.axis("off")
    for axes, (image, expression, true, found, iou) in zip(np.ravel(grid), cases, strict=False):
        draw_picture(axes, image, f"{wrapped(expression)}\nIoU {iou:.2f}")
        draw_box(axes, true, TRUE, "--")
        draw_box(axes, found, FOUND)
    lines = [plt.Line2D([], [], color=TRUE, linestyle="--"), plt.Line2D([], [], color=FOUND)]
    figure.legend(lines, ["true box", "box of the heads"], loc="outside lower center", ncols=2, frameon=False)
    return figure


def two_boxes_grid(
    cases: Sequence[tuple[Image.Image, str, Boxed, Boxed, Boxed]],
    names: tuple[str, str, str],
    columns: int = 4,
) -> Figure:
    """Draws images with three boxes each, named in a legend.

    Args:
        cases: One tuple `(image, title, first box, second box, third box)` per image.
        names: Names of the three boxes.
        columns: Images per row.
    """
    looks = ((MASK, "--"), (FOUND, "-"), (TRUE, ":"))
    rows = -(-len(cases) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.7 * columns, 3.2 * rows), squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for axes, (image, title, *boxes) in zip(grid.ravel(), cases, strict=False):
        draw_picture(axes, image, wrapped(title))
        for number in (1, 0, 2):  # where boxes are equal, the dashed one is drawn over the solid one
            draw_box(axes, boxes[number], *looks[number])
    samples = [
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=color, linestyle=style, linewidth=2.5)
        for color, style in looks
    ]
    figure.legend(samples, names, loc="outside lower center", ncols=3, frameon=False)
    return figure
