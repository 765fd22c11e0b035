"""Figures of heads: attention sums and threshold, selection frequency, maps, and the IoU of each head."""

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

from locheads.evaluation.metrics import Correlation, Interval
from locheads.method.criteria import Threshold
from locheads.method.geometry import Window
from locheads.method.selection import Head
from locheads.plotting.style import FOUND, MUTED, PALETTE, TRUE, draw_picture, wrapped
from locheads.studies.ablation import Sweep


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
    axes.bar([str(head) for head in shown], [100 * frequency[head] for head in shown], color=colors)
    axes.set(
        ylabel="selection frequency [%]", title=f"How often a head is among the {kept} of lowest entropy"
    )
    axes.tick_params(axis="x", rotation=90)
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


def frequency_sweep(
    sweep: Sweep, label: str, marked: float | int, span: tuple[float | int, float | int]
) -> Figure:
    """Draws selection frequency over one setting: heads ever among the top by name, the rest in grey.

    Args:
        sweep: The selections; settings without a choice (`Sweep.has_choice`) are shaded.
        label: Name of the setting.
        marked: Its value in this study.
        span: The range that the paper examines.
    """
    figure, axes = plt.subplots(figsize=(8, 3.8))
    flat = 100 * sweep.frequency.reshape(len(sweep.values), -1)
    top = [head for heads in sweep.heads for head in heads]
    named = sorted(set(top), key=lambda head: (-top.count(head), head))[: len(PALETTE) - 1]
    axes.plot(sweep.values, flat[:, flat.any(axis=0)], color=MUTED, linewidth=0.5)
    for number, (layer, head) in enumerate(named):
        style = f"{'osD^vPX<>'[number]}-"
        values = 100 * sweep.frequency[:, layer, head]
        axes.plot(sweep.values, values, style, color=PALETTE[number], markersize=4, label=str(named[number]))
    for value in sweep.values[~sweep.has_choice]:
        half = np.diff(sweep.values).min() / 2
        axes.axvspan(value - half, value + half, color="black", alpha=0.08, linewidth=0)
    axes.axvline(marked, color="black", linestyle="--", linewidth=1, label=f"here: {marked:.3g}")
    axes.plot(span, (102, 102), color="black", linewidth=3, label="paper's range", clip_on=False)
    axes.set(xlabel=label, ylabel="selection frequency [%]", ylim=(0, 104))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return figure


def trial_frequencies(
    heads: Sequence[Head],
    trials: Float[np.ndarray, "trial n"],
    intervals: Sequence[Interval],
    chosen: Sequence[Head],
) -> Figure:
    """Draws each head's selection frequency in every trial (dots), over its interval (bars)."""
    figure, axes = plt.subplots(figsize=(8, 3.6))
    for number, (head, interval) in enumerate(zip(heads, intervals, strict=True)):
        color = FOUND if head in chosen else TRUE
        axes.plot((number, number), (100 * interval.low, 100 * interval.high), color=color, linewidth=7,
                  alpha=0.3, solid_capstyle="butt")  # fmt: skip
        offsets = np.linspace(-0.2, 0.2, len(trials))
        axes.plot(number + offsets, 100 * trials[:, number], ".", color=color)
    axes.set_xticks(range(len(heads)), map(str, heads), rotation=90)
    axes.set(
        ylabel="selection frequency [%]", title="dots: trials, bars: 95 % intervals, orange: chosen heads"
    )
    return figure
