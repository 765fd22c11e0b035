"""Draws figures of heads: attention sums and threshold, selection frequency, maps, and IoU of each head."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from locheads.evaluation.metrics import Correlation
from locheads.method.criteria import Threshold
from locheads.method.geometry import Window
from locheads.method.selection import Head
from locheads.plotting.style import FOUND, MUTED, TRUE, draw_picture, two_lines, wrapped


def threshold_curve(threshold: Threshold) -> Figure:
    """Draws sorted attention sums with τ at the maximum curvature, and the distance to the chord below."""
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 4.6), sharex=True, height_ratios=(3, 1))
    rank = np.arange(len(threshold.sums))
    upper.plot(rank, threshold.sums, ".-", color=TRUE, label="heads, sorted")
    upper.plot(rank[[0, -1]], threshold.sums[[0, -1]], "--", color=MUTED, label="chord")
    upper.axhline(threshold.value, color=FOUND, label=f"τ = {threshold.value:.3f}")
    upper.set_ylabel("mean attention sum")
    upper.legend(frameon=False)
    lower.plot(rank, threshold.distances, color=TRUE)
    lower.axvline(threshold.index, color=FOUND)
    lower.set(xlabel="head, by attention sum", ylabel="distance\nto chord")
    return figure


def frequency_bars(
    frequency: Float[np.ndarray, "layer head"], chosen: Sequence[Head], most: int = 20, kept: int = 10
) -> Figure:
    """Draws the selection frequency of the `most` frequent heads; the localization heads are orange."""
    order = [
        Head(*divmod(int(i), frequency.shape[1])) for i in np.argsort(-frequency, axis=None, kind="stable")
    ]
    shown = [head for head in order if frequency[head] > 0][:most]
    figure, axes = plt.subplots(figsize=(8, 3.4))
    colors = [FOUND if head in chosen else MUTED for head in shown]
    axes.bar(two_lines(shown), [100 * frequency[head] for head in shown], color=colors)
    axes.set(
        ylabel="selection frequency [%]", title=f"How often a head is among the {kept} of lowest entropy"
    )
    axes.tick_params(axis="x", labelsize=10)
    return figure


def head_heatmap(values: Float[np.ndarray, "layer head"], label: str, chosen: Sequence[Head]) -> Figure:
    """Draws one value per head in per cent, layers as rows and heads as columns; the chosen heads are framed.

    Args:
        values: In [0, 1].
        label: Name of the value, with unit.
        chosen: The localization heads.
    """
    layers, heads = values.shape
    figure, axes = plt.subplots(figsize=(max(5.5, 1.6 + 0.46 * heads), max(4.0, 0.9 + 0.34 * layers)))
    sns.heatmap(100 * values, cmap="viridis", annot=values.size <= 256, fmt=".0f", annot_kws={"size": 8},
                cbar_kws={"label": label}, ax=axes)  # fmt: skip
    for layer, head in chosen:
        axes.add_patch(Rectangle((head, layer), 1, 1, fill=False, edgecolor=FOUND, linewidth=3))
    axes.set(xlabel="head", ylabel="layer")
    return figure


def head_maps(
    rows: Sequence[tuple[Image.Image, str, Window, Float[np.ndarray, "k rows columns"]]],
    heads: Sequence[Head],
) -> Figure:
    """Draws, per image and expression, the image and each head's map over it."""
    figure, grid = plt.subplots(len(rows), 1 + len(heads), figsize=(1.8 * (1 + len(heads)), 2.0 * len(rows)))
    for line, (image, expression, window, maps) in zip(np.atleast_2d(grid), rows, strict=True):
        draw_picture(line[0], image, wrapped(expression))
        for axes, head, one in zip(line[1:], heads, maps, strict=True):
            draw_picture(axes, image, f"{head}, sum {one.sum():.2f}")
            axes.imshow(window.grid_to_pixels(one), cmap="inferno", alpha=0.65)
    return figure


def iou_against_frequency(
    frequency: Float[np.ndarray, " n"],
    iou: Float[np.ndarray, " n"],
    names: Sequence[str],
    chosen: Bool[np.ndarray, " n"],
    correlation: Correlation,
) -> Figure:
    """Draws the scatter of mean IoU over selection frequency, one point per head, with Spearman's ρ."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4))
    iou_scatter(axes, frequency, iou, chosen, correlation)
    top_down = sorted(np.flatnonzero(chosen).tolist(), key=lambda i: -iou[i])
    for rank, i in enumerate(top_down):  # labels fanned out, with leader lines: these points often touch
        offset = (40, 20 * (len(top_down) / 2 - 0.5 - rank))
        axes.annotate(
            names[i],
            (100 * frequency[i], 100 * iou[i]),
            xytext=offset,
            textcoords="offset points",
            va="center",
            arrowprops={"arrowstyle": "-", "color": MUTED, "linewidth": 1, "shrinkB": 4},
        )
    axes.margins(x=0.2, y=0.1)
    axes.set(ylabel="mean IoU with the object [%]", xlim=(0, None), ylim=(0, None))
    axes.legend(frameon=False, loc="lower right")
    return figure


def iou_scatter(
    axes: Axes,
    frequency: Float[np.ndarray, " n"],
    iou: Float[np.ndarray, " n"],
    chosen: Bool[np.ndarray, " n"],
    correlation: Correlation,
) -> None:
    """Draws the points of the scatter, with ρ and its interval as the title."""
    axes.scatter(100 * frequency[~chosen], 100 * iou[~chosen], color=TRUE, label="other heads")
    axes.scatter(
        100 * frequency[chosen], 100 * iou[chosen], color=FOUND, marker="D", label="localization heads"
    )
    interval = f"[{correlation.low:.2f}, {correlation.high:.2f}]"
    axes.set_title(f"Spearman ρ = {correlation.rho:.2f} {interval}, {correlation.n} heads", fontsize=12)
    axes.set(xlabel="selection frequency [%]", ylim=(0, None))
