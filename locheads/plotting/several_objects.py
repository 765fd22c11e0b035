"""Draws where the heads look at each word of a text, and sets of boxes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from locheads.data.values import Box
from locheads.plotting.style import FOUND, TRUE, draw_box, draw_picture, wrapped

BRIGHT = 0.99
"""Share of the pixels below the brightest colour, so that one bright cell does not darken all others."""


def word_maps(
    cases: Sequence[tuple[Image.Image, Sequence[str], Sequence[np.ndarray], Sequence[float], Sequence[bool]]],
) -> Figure:
    """Draws one row per text: the picture under the map of each word; names have an orange frame.

    Colours are of each map by itself.

    Args:
        cases: One tuple `(picture, words, maps in pixels, scores, which words are names)` per text.
    """
    columns = max(len(words) for _, words, *_ in cases)
    size = (1.35 * columns, 1.75 * len(cases))
    figure, grid = plt.subplots(len(cases), columns, figsize=size, squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for row, (image, words, maps, scores, named) in zip(grid, cases, strict=True):
        for axes, word, one, score, name in zip(row, words, maps, scores, named, strict=False):
            draw_picture(axes, image, f"{word}\n{score:.2f}")
            axes.imshow(one, cmap="inferno", alpha=0.65, vmax=np.quantile(one, BRIGHT))
            if name:
                edge = np.array([0, 0, image.width, image.height], float)
                draw_box(axes, edge, FOUND)
                axes.title.set_fontweight("bold")
    return figure


def box_sets(
    cases: Sequence[tuple[Image.Image, str, Sequence[Box], Sequence[Box]]], columns: int = 3
) -> Figure:
    """Draws pictures with all boxes that were found and all true ones, of which there may be none.

    Args:
        cases: One tuple `(picture, text, found boxes, true boxes)` per picture.
        columns: Pictures per row.
    """
    rows = -(-len(cases) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.9 * columns, 3.2 * rows), squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for axes, (image, text, found, true) in zip(grid.ravel(), cases, strict=False):
        count = f"{len(true)} {'object' if len(true) == 1 else 'objects'}, {len(found)} found"
        draw_picture(axes, image, f"{wrapped(text)}\n{count}")
        for box in found:
            draw_box(axes, np.array(box, float), FOUND)
        for box in true:
            draw_box(axes, np.array(box, float), TRUE, "--")
    lines = [plt.Line2D([], [], color=TRUE, ls="--"), plt.Line2D([], [], color=FOUND)]
    figure.legend(
        lines, ["true boxes", "boxes of the words"], loc="outside lower center", ncols=2, frameon=False
    )
    return figure
