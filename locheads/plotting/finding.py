"""Draws the main finding: few heads are selected by attention alone, and they localise the object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from locheads.data.samples import Sample
from locheads.method.geometry import Window
from locheads.method.grounding import ground
from locheads.plotting.models import draw_heads
from locheads.plotting.style import FOUND, MUTED, TRUE, draw_box, draw_picture, wrapped
from locheads.studies.across_models import Compared

Case = tuple[Sample, Window, Float[np.ndarray, "k rows columns"]]
"""A sample, the part of the image that the grid covers, and the maps of the localization heads."""


def finding(one: Compared, cases: Sequence[Case], scores: Mapping[str, tuple[float, float, float]]) -> Figure:
    """Draws three panels: frequency against IoU, the heads' maps with the resulting boxes, and the scores.

    Args:
        one: The model's heads.
        cases: The examples, one per row.
        scores: REC Acc@0.5 with its 95 % interval `(value, low, high)`, the localization heads first.
    """
    figure = plt.figure(figsize=(13.5, 5.4), layout="constrained")
    grid = figure.add_gridspec(1, 3, width_ratios=(4.2, 7, 2.3))
    left, middle, right = (figure.add_subfigure(grid[place]) for place in range(3))
    axes = left.subplots()
    draw_heads(axes, one)
    axes.set_ylabel("mean IoU with the object [%]")
    axes.legend(frameon=False, loc="upper left")
    left.suptitle(f"A  Attention alone picks {len(one.selection.heads)} of {one.iou.size} heads", fontsize=13)
    _looks(middle.subplots(len(cases), 1 + len(one.selection.heads), squeeze=False), one, cases)
    middle.suptitle("B  They look at what is named", fontsize=13)
    lines = [plt.Line2D([], [], color=FOUND), plt.Line2D([], [], color=TRUE, linestyle="--")]
    middle.legend(lines, ["box of the heads", "true box"], loc="outside lower center", ncols=2, frameon=False)
    _bars(right.subplots(), scores)
    right.suptitle("C  and ground it", fontsize=13)
    return figure


def _looks(grid: np.ndarray, one: Compared, cases: Sequence[Case]) -> None:
    for row, (sample, window, maps) in zip(grid, cases, strict=True):
        draw_picture(row[0], sample.image, wrapped(f"“{sample.expression}”", 24))
        draw_box(row[0], np.array(sample.box, float), TRUE, "--")
        draw_box(row[0], ground(maps, window).box, FOUND)
        for axes, head, seen in zip(row[1:], one.selection.heads, maps, strict=True):
            draw_picture(axes, sample.image, str(head))
            axes.imshow(window.grid_to_pixels(seen), cmap="inferno", alpha=0.65)


def _bars(axes: Axes, scores: Mapping[str, tuple[float, float, float]]) -> None:
    value, low, high = 100 * np.array(list(scores.values())).T
    colors = [FOUND, *[MUTED] * (len(scores) - 1)]
    axes.bar(list(scores), value, color=colors, yerr=(value - low, high - value), capsize=3, width=0.7)
    for place, top, score in zip(range(len(scores)), high, value, strict=True):
        axes.annotate(f"{score:.0f} %", (place, top), (0, 4), textcoords="offset points", ha="center")
    axes.set(ylabel="REC Acc@0.5 [%]", ylim=(0, 100))
