"""Draws what pooling costs: by the size of blocks, by the trained arms, and maps over pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from locheads.plotting.style import FOUND, PALETTE, TRUE, Boxed, draw_box, wrapped

COLORS = {"three heads": FOUND, "best head": PALETTE[2], "ceiling": TRUE}
MARKS = {"three heads": "o", "best head": "s", "ceiling": "^"}


def by_block(table: pd.DataFrame) -> Figure:
    """Draws the mean box IoU over the patches of a token; `table` is from `studies.pooled.by_block`."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    colors = {"heads": (FOUND, "o", "localization heads"), "true mask": (TRUE, "^", "true masks (ceiling)")}
    for way, (color, mark, label) in colors.items():
        some = table[table.way == way]
        size = some.block.to_numpy() ** 2
        axes.plot(size, some["mean"], mark, linestyle="-", color=color, label=label)
        axes.fill_between(size, some.low, some.high, color=color, alpha=0.2, linewidth=0)
    axes.set_xscale("log")
    sizes = sorted(table.block.unique() ** 2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.set(xlabel="patches in a token", ylabel="mean box IoU [%]", ylim=(0, 100))
    axes.legend(frameon=False)
    return figure


def arms(intervals: pd.DataFrame, table: pd.DataFrame) -> Figure:
    """Draws, per arm, what it answers and how well boxes from its maps fit.

    Args:
        intervals: From `studies.pooled.intervals`.
        table: From `studies.pooled.table`.
    """
    names = list(table.index)
    x = np.arange(len(names))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8))
    for column, mark, color in (("answers", "D", PALETTE[4]), ("places", "P", PALETTE[5])):
        label = {"answers": "first word", "places": "named place"}[column]
        left.plot(x, table[column], mark, color=color, label=label, markersize=9)
    left.set_ylabel("right answers [%]")
    for number, (way, color) in enumerate(COLORS.items()):
        some = intervals[intervals.way == way].set_index("arm").loc[names]
        ends = np.maximum([some["mean"] - some.low, some.high - some["mean"]], 0)
        at = x + 0.18 * (number - 1)
        right.errorbar(at, some["mean"], ends, fmt=MARKS[way], color=color, capsize=3, label=way)
    right.set_ylabel("mean box IoU [%]")
    for axes in (left, right):
        _arm_axis(axes, names, table.tokens)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.17), ncols=3, frameon=False)
    return figure


def _arm_axis(axes: Axes, names: Sequence[str], tokens: pd.Series) -> None:
    axes.set_xticks(range(len(names)), [f"{name}\n{tokens[name]}" for name in names], fontsize=10)
    axes.set(ylim=(0, 102), xlabel="arm, and its visual tokens")


def carried(
    pictures: Sequence[Image.Image],
    titles: Sequence[str],
    boxes: Sequence[Boxed],
    maps: Mapping[str, Sequence[Float[np.ndarray, "row column"]]],
) -> Figure:
    """Draws pictures with their true box, and beside each the maps over it, one column per name.

    Args:
        pictures: One per row.
        titles: Their expressions.
        boxes: Their true boxes.
        maps: Title of a column → a map for each picture; each has a brightness scale of its own.
    """
    shape = (len(pictures), 1 + len(maps))
    figure, grid = plt.subplots(*shape, figsize=(2.1 * shape[1], 2.3 * shape[0]), squeeze=False)
    for row, picture, title, box, number in zip(grid, pictures, titles, boxes, range(shape[0]), strict=True):
        row[0].imshow(picture)
        row[0].set_title(wrapped(title, 24), fontsize=9, parse_math=False)
        for axes, (name, some) in zip(row[1:], maps.items(), strict=True):
            one = some[number]
            lit = (one - one.min()) / max(float(np.ptp(one)), 1e-12)
            axes.imshow(picture)
            axes.imshow(lit, cmap="inferno", alpha=0.75, extent=(0, *picture.size, 0))
            if number == 0:
                axes.set_title(wrapped(name, 22), fontsize=9)
        for axes in row:
            draw_box(axes, box, TRUE, "--")
            axes.set(xticks=[], yticks=[], xlim=(0, picture.width), ylim=(picture.height, 0))
    return figure
