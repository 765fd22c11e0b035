"""The figures: each takes results and gives a matplotlib figure, colour-blind safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from IPython.core.getipython import get_ipython
from jaxtyping import Bool, Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon, Rectangle
from matplotlib.ticker import MaxNLocator
from matplotlib_inline.backend_inline import set_matplotlib_formats
from PIL import Image

from locheads.ablation import Sweep
from locheads.criteria import Threshold
from locheads.geometry import Window
from locheads.grounding import Grounding
from locheads.metrics import Correlation, Interval
from locheads.selection import Head

PALETTE = sns.color_palette("colorblind")
FOUND, TRUE, MASK, MUTED = PALETTE[1], PALETTE[0], PALETTE[4], (0.6, 0.6, 0.6)
sns.set_theme(style="ticks", context="notebook", palette=PALETTE, rc={"axes.spines.top": False})
plt.rcParams.update({"axes.spines.right": False, "figure.constrained_layout.use": True, "figure.dpi": 80})
if get_ipython() is not None:  # inside a notebook: pictures as JPEG, a tenth of PNG's size
    set_matplotlib_formats("jpeg", pil_kwargs={"quality": 80})


Boxed = Float[np.ndarray, "4"]
"""A box: xyxy in pixels of the image."""


def threshold_curve(threshold: Threshold) -> Figure:
    """Sorted attention sums with τ at the maximum curvature, and the distance to the chord below."""
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
    frequency: Float[np.ndarray, "layer head"], chosen: Sequence[Head], most: int = 20
) -> Figure:
    """Selection frequency of the `most` frequent heads; the chosen ones stand out."""
    order = [
        Head(*divmod(int(i), frequency.shape[1])) for i in np.argsort(-frequency, axis=None, kind="stable")
    ]
    shown = [head for head in order if frequency[head] > 0][:most]
    figure, axes = plt.subplots(figsize=(8, 3.4))
    colors = [FOUND if head in chosen else MUTED for head in shown]
    axes.bar([str(head) for head in shown], [100 * frequency[head] for head in shown], color=colors)
    axes.set(ylabel="selection frequency [%]", title="How often a head is among the ten of lowest entropy")
    axes.tick_params(axis="x", rotation=90)
    return figure


def head_heatmap(
    values: Float[np.ndarray, "layer head"], label: str, chosen: Sequence[Head], scale: float = 1.0
) -> Figure:
    """One value a head, layers down and heads across; the chosen heads are framed."""
    figure, axes = plt.subplots(figsize=(6.4, 5))
    sns.heatmap(scale * values, cmap="viridis", annot=values.size <= 128, fmt=".2f" if scale == 1 else ".0f",
                annot_kws={"size": 8}, cbar_kws={"label": label}, ax=axes)  # fmt: skip
    for layer, head in chosen:
        axes.add_patch(Rectangle((head, layer), 1, 1, fill=False, edgecolor=FOUND, linewidth=3))
    axes.set(xlabel="head", ylabel="layer")
    return figure


def head_maps(
    rows: Sequence[tuple[Image.Image, str, Window, Float[np.ndarray, "k rows columns"]]],
    heads: Sequence[Head],
) -> Figure:
    """For each image and expression the picture and the map of each head over it."""
    figure, grid = plt.subplots(len(rows), 1 + len(heads), figsize=(2.4 * (1 + len(heads)), 2.6 * len(rows)))
    for line, (image, expression, window, maps) in zip(np.atleast_2d(grid), rows, strict=True):
        _picture(line[0], image, _wrapped(expression))
        for axes, head, one in zip(line[1:], heads, maps, strict=True):
            _picture(axes, image, f"{head}, sum {one.sum():.2f}")
            axes.imshow(window.grid_to_pixels(one), cmap="inferno", alpha=0.65)
    return figure


def iou_against_frequency(
    frequency: Float[np.ndarray, " n"],
    iou: Float[np.ndarray, " n"],
    names: Sequence[str],
    chosen: Bool[np.ndarray, " n"],
    correlation: Correlation,
) -> Figure:
    """The scatter of mean IoU over selection frequency, one point a head, with Spearman's ρ."""
    figure, axes = plt.subplots(figsize=(6.4, 4.4))
    axes.scatter(100 * frequency[~chosen], iou[~chosen], color=TRUE, label="other heads")
    axes.scatter(100 * frequency[chosen], iou[chosen], color=FOUND, marker="D", label="three most frequent")
    top_down = sorted(np.flatnonzero(chosen).tolist(), key=lambda i: -iou[i])
    for rank, i in enumerate(top_down):  # fanned out, as such heads often lie close together
        offset = (-12, 14 * (len(top_down) / 2 - 0.5 - rank))
        at = (100 * frequency[i], iou[i])
        axes.annotate(names[i], at, xytext=offset, textcoords="offset points", ha="right", va="center")
    axes.set(xlabel="selection frequency [%]", ylabel="mean IoU with the object")
    axes.set_title(f"Spearman ρ = {correlation.rho:.2f} [{correlation.low:.2f}, {correlation.high:.2f}]")
    axes.legend(frameon=False)
    return figure


def score_bars(scores: dict[str, dict[str, tuple[float, float, float]]], label: str) -> Figure:
    """Grouped bars: for each group and series a value with its interval `(value, low, high)`."""
    figure, axes = plt.subplots(figsize=(8, 3.6))
    groups, series = list(scores), list(next(iter(scores.values())))
    width = 0.8 / len(series)
    for i, name in enumerate(series):
        value, low, high = np.array([scores[group][name] for group in groups]).T
        x = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
        axes.bar(x, value, width, yerr=(value - low, high - value), color=PALETTE[i], label=name, capsize=2)
    axes.set_xticks(range(len(groups)), groups, rotation=20, ha="right")
    axes.set(ylabel=label, ylim=(0, 1))
    axes.legend(frameon=False, ncols=len(series), loc="upper center", bbox_to_anchor=(0.5, 1.18))
    return figure


def score_lines(
    table: pd.DataFrame,
    x: str,
    label: str,
    metrics: dict[str, str],
    marked: Mapping[str, float | int],
    log: bool = False,
) -> Figure:
    """Scores over one setting that is varied, a panel a metric, with their intervals.

    Args:
        table: Columns `x`, `metric`, `value`, `low`, `high`.
        x: The column of the setting.
        label: Of the setting, with unit.
        metrics: Which metrics, and what to call them.
        marked: Values of the setting worth a line, by name.
        log: Whether the setting is on a logarithmic axis.
    """
    figure, panels = plt.subplots(1, len(metrics), figsize=(4.2 * len(metrics), 3.2), squeeze=False)
    for axes, (metric, name) in zip(panels[0], metrics.items(), strict=True):
        some = table[table.metric == metric].sort_values(x)
        for whose, value in marked.items():
            axes.axvline(value, color=MUTED, linestyle=":", label=f"{whose}: {value:.3g}")
        axes.fill_between(some[x], some.low, some.high, color=TRUE, alpha=0.2, linewidth=0)
        axes.plot(some[x], some.value, "o-", color=TRUE)
        axes.set(xlabel=label, ylabel=name, xscale="log" if log else "linear")
        if some[x].nunique() <= 8:
            axes.set_xticks(some[x], [f"{value:g}" for value in some[x]])
            axes.minorticks_off()
        elif (some[x] % 1 == 0).all():
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if marked:
            axes.legend(frameon=False)
    return figure


def effect_dots(
    effects: pd.DataFrame, order: Sequence[str], metrics: dict[str, str], groups: Mapping[str, Sequence[str]]
) -> Figure:
    """What each choice changes: a row a choice, a panel a metric, a dot with its interval.

    The axis is linear up to 0.1 to either side and logarithmic beyond, so that small and large ones show.

    Args:
        effects: Columns `variant`, `metric`, `value`, `low`, `high`.
        order: Variants, from the top down.
        metrics: Which metrics, and what to call them.
        groups: Names of at most four groups of variants, with their members: each has its own marker.
    """
    figure, panels = plt.subplots(
        1,
        len(metrics),
        figsize=(3.6 + 2.6 * len(metrics), 1.2 + 0.27 * len(order)),
        sharey=True,
        squeeze=False,
    )
    places = {name: len(order) - 1 - row for row, name in enumerate(order)}
    for axes, (metric, label) in zip(panels[0], metrics.items(), strict=True):
        axes.axvline(0, color="black", linewidth=0.8)
        axes.hlines(range(len(order)), 0, 1, transform=axes.get_yaxis_transform(), color="0.93", zorder=0)
        for number, (group, members) in enumerate(groups.items()):
            some = effects[(effects.metric == metric) & effects.variant.isin(set(members) & set(places))]
            y = [places[name] for name in some.variant]
            reach = np.abs(np.stack([some.value - some.low, some.high - some.value]))
            axes.errorbar(some.value, y, xerr=reach, fmt="oDs^"[number], color=PALETTE[number], markersize=5,
                          elinewidth=2, alpha=0.9, label=group)  # fmt: skip
        axes.set_xscale("symlog", linthresh=0.1, linscale=1.5)
        low, high = min(axes.get_xlim()[0], -0.12), max(axes.get_xlim()[1], 0.12)
        ticks = [tick for tick in (-1.0, -0.1, -0.05, 0.0, 0.05, 0.1, 1.0) if low <= tick <= high]
        axes.set_xticks(ticks, [f"{tick:+g}" if tick else "0" for tick in ticks])
        axes.minorticks_off()
        axes.set(xlabel=f"difference in {label}", xlim=(low, high))
        axes.tick_params(axis="y", length=0)
    panels[0, 0].set_yticks(list(places.values()), list(places), fontsize=9)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(groups), frameon=False)
    return figure


def gain_lines(
    here: pd.DataFrame, elsewhere: dict[str, list[float]], x: Sequence[int], label: str, name: str
) -> Figure:
    """What a setting gains on the paper's, in points: the paper's models in grey, this one with its interval.

    Args:
        here: Columns `x`, `value`, `low`, `high`; differences in [-1, 1].
        elsewhere: The paper's models, each with its differences in points at `x`.
        x: Where the paper's models were measured.
        label: Of the setting.
        name: Of this model.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for number, gains in enumerate(elsewhere.values()):
        axes.plot(x, gains, color=MUTED, linewidth=1, label=None if number else "the paper's models")
    axes.fill_between(here.x, 100 * here.low, 100 * here.high, color=FOUND, alpha=0.2, linewidth=0)
    axes.plot(here.x, 100 * here.value, "D-", color=FOUND, label=f"{name}, here")
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set(xlabel=label, ylabel="difference [percentage points]")
    axes.set_xticks(list(here.x))
    axes.legend(frameon=False)
    return figure


def frequency_sweep(
    sweep: Sweep, label: str, marked: float | int, span: tuple[float | int, float | int]
) -> Figure:
    """Selection frequency over one setting: heads that are ever among the top ones by name, the rest in grey.

    Args:
        sweep: The selections. Settings without a choice (see there) are shaded.
        label: Of the setting.
        marked: Its value in this study.
        span: A range of it that the paper looks at.
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
    """Selection frequency of each head in every trial (dots), over the interval of the frequency (bars)."""
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


def overlay(image: Image.Image, grounding: Grounding, window: Window | None = None) -> Figure:
    """The picture, the heads' map, and pseudo-mask, hull and box over the picture."""
    window = window or Window.stretch(image.size, grounding.map.shape)
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(9, 3.3))
    _picture(left, image, "picture")
    _picture(middle, image, "sum of the heads' maps")
    middle.imshow(window.grid_to_pixels(grounding.map), cmap="inferno", alpha=0.65)
    _picture(right, image, "pseudo-mask, hull, box")
    _tint(right, window.grid_to_pixels(grounding.mask.astype(float)) > 0.5, MASK)
    right.add_patch(Polygon(grounding.hull, fill=False, edgecolor=TRUE, linewidth=2))
    _box(right, grounding.box, FOUND)
    return figure


def grounding_grid(
    cases: Sequence[tuple[Image.Image, str, Float[np.ndarray, "4"], Float[np.ndarray, "4"], float]],
    columns: int = 4,
) -> Figure:
    """Pictures with true and predicted box: `(image, expression, true box, predicted box, IoU)` each."""
    rows = -(-len(cases) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.7 * columns, 3.0 * rows))
    for axes in np.ravel(grid)[len(cases) :]:
        axes.axis("off")
    for axes, (image, expression, true, found, iou) in zip(np.ravel(grid), cases, strict=False):
        _picture(axes, image, f"{_wrapped(expression)}\nIoU {iou:.2f}")
        _box(axes, true, TRUE, "--")
        _box(axes, found, FOUND)
    lines = [plt.Line2D([], [], color=TRUE, linestyle="--"), plt.Line2D([], [], color=FOUND)]
    figure.legend(lines, ["true box", "box of the heads"], loc="outside lower center", ncols=2, frameon=False)
    return figure


def recall_curves(ious: Mapping[str, Float[np.ndarray, " n"]], marked: float | None = None) -> Figure:
    """The share of samples whose IoU reaches each threshold; the area under a curve is its mean IoU.

    Args:
        ious: IoUs by name, a curve each.
        marked: A threshold worth a line.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for number, (name, values) in enumerate(ious.items()):
        ordered = np.concatenate([[0.0], np.sort(values), [1.0]])
        share = np.concatenate([[1.0], 1 - np.arange(len(values)) / len(values), [0.0]])
        style = ("-", "--", "-.", ":")[number % 4]
        axes.step(ordered, share, where="pre", linestyle=style, color=PALETTE[number], label=name)
    if marked is not None:
        axes.axvline(marked, color=MUTED, linestyle=":")
    axes.set(xlabel="IoU threshold", ylabel="share of samples that reach it", xlim=(0, 1), ylim=(0, 1.02))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def two_boxes_grid(
    cases: Sequence[tuple[Image.Image, str, Boxed, Boxed, Boxed]],
    names: tuple[str, str, str],
    columns: int = 4,
) -> Figure:
    """Pictures with three boxes: `(image, title, first, second and third box)` each, named in a legend."""
    looks = ((MASK, "--"), (FOUND, "-"), (TRUE, ":"))
    rows = -(-len(cases) // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(2.7 * columns, 3.2 * rows), squeeze=False)
    for axes in grid.ravel():
        axes.axis("off")
    for axes, (image, title, *boxes) in zip(grid.ravel(), cases, strict=False):
        _picture(axes, image, _wrapped(title))
        for number in (1, 0, 2):  # dashes over a line, where boxes are equal
            _box(axes, boxes[number], *looks[number])
    samples = [
        Rectangle((0, 0), 1, 1, fill=False, edgecolor=color, linestyle=style, linewidth=2.5)
        for color, style in looks
    ]
    figure.legend(samples, names, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _picture(axes: Axes, image: Image.Image, title: str) -> None:
    axes.imshow(image)
    axes.set_title(title, fontsize=9)
    axes.axis("off")


def _tint(axes: Axes, mask: Bool[np.ndarray, "height width"], color: tuple[float, ...]) -> None:
    """Colour what the mask covers, and leave the rest as it is."""
    axes.imshow(np.where(mask[..., None], (*color, 0.5), 0.0))


def _box(axes: Axes, box: Float[np.ndarray, "4"], color: tuple[float, ...], style: str = "-") -> None:
    x0, y0, x1, y1 = box
    axes.add_patch(
        Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linewidth=2.5, linestyle=style)
    )


def _wrapped(text: str, width: int = 30) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(text, width))
