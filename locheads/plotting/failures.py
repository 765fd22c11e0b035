"""Draws the figures of heads transferred to other data sets, and of failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Polygon
from PIL import Image

from locheads.plotting.groups import FEW, HATCH, draw_bars, few_samples
from locheads.plotting.style import FOUND, MUTED, PALETTE, TRUE, draw_box, draw_mask, draw_picture, wrapped
from locheads.studies.failures import KINDS, hull

KIND_COLOURS = dict(zip(KINDS, (FOUND, PALETTE[9], PALETTE[2], MUTED), strict=True))


def transfer_matrix(
    table: pd.DataFrame, label: str, axes: tuple[str, str] = ("found on", "used on"), percent: bool = True
) -> Figure:
    """Draws the transfer matrix: data sets that heads were found on (rows) against those used on (columns).

    Args:
        table: Columns `found`, `used`, `value`, `low`, `high`, in the order of the figure; a cell whose
            `survives`, if there is such a column, is true gets a star.
        label: Name of the value, with unit.
        axes: Titles of the rows and of the columns.
        percent: Whether to print values in [0, 1] in per cent.
    """
    scale, digits = (100, 0) if percent else (1, 2)
    down, across = axes
    found, used = table.found.unique(), table.used.unique()
    value, low, high = (
        scale * table.pivot(index="found", columns="used", values=name).loc[found, used].to_numpy()
        for name in ("value", "low", "high")
    )
    stars = np.zeros(value.shape, bool)
    if "survives" in table:
        kept = table.pivot(index="found", columns="used", values="survives").loc[found, used]
        stars = (kept == True).to_numpy()  # noqa: E712 - where there was no comparison the value is NaN
    words = [
        [
            f"{v:.{digits}f}{'*' if star else ''}\n[{a:.{digits}f}, {b:.{digits}f}]"
            for v, a, b, star in zip(*row, strict=True)
        ]
        for row in zip(value, low, high, stars, strict=True)
    ]
    figure, panel = plt.subplots(figsize=(2 + 1.3 * len(used), 1.2 + 0.7 * len(found)))
    sns.heatmap(
        value, vmin=0, vmax=scale, cmap="viridis", annot=np.array(words), fmt="", annot_kws={"size": 9},
        xticklabels=used, yticklabels=found, cbar_kws={"label": label}, ax=panel,
    )  # fmt: skip
    panel.set(xlabel=across, ylabel=down)
    panel.tick_params(axis="y", rotation=0)
    return figure


def rate_panels(panels: Mapping[str, pd.DataFrame], label: str, columns: int = 3) -> Figure:
    """Draws rates per group in per cent, with intervals and numbers of samples, one panel per question.

    Bars of fewer than 20 samples are hatched.

    Args:
        panels: Title → rates in [0, 1], as from `failures.rates`.
        label: Name of the rates, with unit.
        columns: Panels per row.
    """
    rows = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(3.3 * columns, 2.9 * rows), sharey=True, squeeze=False
    )
    for axes in grid.flat[len(panels) :]:
        axes.axis("off")
    for axes, (title, table) in zip(grid.flat, panels.items(), strict=False):
        draw_bars(axes, np.arange(len(table)), table, 0.7, FOUND)
        ticks = [f"{group}\nn = {n}" for group, n in zip(table.index, table.samples, strict=True)]
        axes.set_xticks(range(len(table)), ticks, fontsize=9)
        axes.set_title(title, fontsize=10)
        axes.set_ylim(0, 100)
    for axes in grid[:, 0]:
        axes.set_ylabel(label)
    if small := few_samples(pd.concat([table.samples for table in panels.values()])):
        figure.legend(handles=small, loc="outside lower right", frameon=False)
    return figure


def kind_bars(shares: pd.DataFrame, counts: Sequence[int], label: str) -> Figure:
    """Draws the kinds of boxes of each group as stacked bars in per cent.

    Bars of fewer than 20 samples are hatched.

    Args:
        shares: One row per group, one column per kind in `failures.KINDS`, in [0, 1].
        counts: Number of samples of each group.
        label: Name of the groups.
    """
    meant = {
        "hit": "hit",
        "merged": "merged: over another, too",
        "rival": "rival: on another",
        "off": "off: other miss",
    }
    figure, axes = plt.subplots(figsize=(7, 3.4))
    base = np.zeros(len(shares))
    for kind in KINDS:
        height = 100 * shares[kind].to_numpy()
        bars = axes.bar(range(len(shares)), height, 0.6, base, color=KIND_COLOURS[kind], edgecolor="white")
        for bar, samples in zip(bars, counts, strict=True):
            bar.set_hatch(HATCH if samples < FEW else "")
        base += height
    axes.set_xticks(range(len(shares)), [f"{g}\nn = {n}" for g, n in zip(shares.index, counts, strict=True)])
    axes.set(xlabel=label, ylabel="share of the boxes [%]", ylim=(0, 100))
    names = [meant[kind] for kind in KINDS]
    handles = [Patch(color=KIND_COLOURS[kind]) for kind in KINDS] + few_samples(pd.Series(counts))
    names = [*names, f"fewer than {FEW} samples"][: len(handles)]
    axes.legend(handles, names, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def mask_grid(
    cases: Sequence[
        tuple[Image.Image, str, Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]
    ],
) -> Figure:
    """Draws images with the hull of the true mask and the segmenter's mask for its box.

    Args:
        cases: One tuple `(image, title, true mask, segmenter's mask)` per image.
    """
    figure, grid = plt.subplots(1, len(cases), figsize=(2.3 * len(cases), 2.8), squeeze=False)
    for axes, (image, title, true, segmented) in zip(grid[0], cases, strict=True):
        draw_picture(axes, image, title)
        draw_mask(axes, segmented, PALETTE[4])
        axes.contour(true, [0.5], colors=[TRUE], linewidths=2)
        axes.add_patch(Polygon(hull(true), fill=False, edgecolor=TRUE, linewidth=2, linestyle="--"))
    handles = [
        plt.Line2D([], [], color=TRUE, linewidth=2),
        plt.Line2D([], [], color=TRUE, linestyle="--", linewidth=2),
        plt.Rectangle((0, 0), 1, 1, color=(*PALETTE[4], 0.5)),
    ]
    words = ["true mask", "its convex hull", "segmenter's mask, from the true box"]
    figure.legend(handles, words, loc="outside lower center", ncols=3, frameon=False)
    return figure


def rival_grid(
    cases: Sequence[
        tuple[Image.Image, str, Float[np.ndarray, "4"], Float[np.ndarray, "4"], Float[np.ndarray, "n 4"]]
    ],
) -> Figure:
    """Draws images with the true box, the predicted one and, dotted, those of all other objects.

    Args:
        cases: One tuple `(image, title, true box, predicted box, boxes of the others)` per image.
    """
    figure, grid = plt.subplots(1, len(cases), figsize=(2.3 * len(cases), 2.9), squeeze=False)
    for axes, (image, title, true, found, others) in zip(grid[0], cases, strict=True):
        draw_picture(axes, image, wrapped(title, 26))
        for other in others:
            draw_box(axes, other, (1.0, 1.0, 1.0), ":")
        draw_box(axes, true, TRUE, "--")
        draw_box(axes, found, FOUND)
    lines = [
        plt.Line2D([], [], color=TRUE, linestyle="--"),
        plt.Line2D([], [], color=FOUND),
        plt.Line2D([], [], color=MUTED, linestyle=":"),
    ]
    words = ["true box", "box of the heads", "other objects (white)"]
    figure.legend(lines, words, loc="outside lower center", ncols=3, frameon=False)
    return figure
