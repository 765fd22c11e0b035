"""Draws the figures of confidence: boxes of single heads, AUROC of signals, calibration, risk by coverage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from PIL import Image

from locheads.evaluation.ranking import risks
from locheads.plotting.style import (
    FOUND,
    MUTED,
    PALETTE,
    TRUE,
    Boxed,
    draw_box,
    draw_picture,
    wrapped,
)

SINGLE = PALETTE[2]
"""Colour of single heads' boxes."""
MARKS = "oDs^v"


def single_boxes(
    cases: Sequence[tuple[Image.Image, str, Float[np.ndarray, "k 4"], Boxed, Boxed]],
) -> Figure:
    """Draws pictures with the boxes of single heads (dotted), the box of their sum, and the true box.

    Args:
        cases: One tuple `(picture, title, boxes of single heads, box of the heads, true box)` per picture.
    """
    figure, grid = plt.subplots(1, len(cases), figsize=(2.5 * len(cases), 3.1), squeeze=False)
    for axes, (image, title, singles, found, true) in zip(grid[0], cases, strict=True):
        draw_picture(axes, image, "\n".join(wrapped(line, 28) for line in title.split("\n")))
        for box in singles[~np.isnan(singles).any(axis=1)]:
            draw_box(axes, box, SINGLE, ":")
        draw_box(axes, found, FOUND)
        draw_box(axes, true, TRUE, "--")
    looks = ((SINGLE, ":"), (FOUND, "-"), (TRUE, "--"))
    lines = [plt.Line2D([], [], color=color, ls=style, linewidth=2.5) for color, style in looks]
    words = ["boxes of single heads", "box of the heads", "true box"]
    figure.legend(lines, words, loc="outside lower center", ncols=3, frameon=False)
    return figure


def auroc_dots(table: pd.DataFrame) -> Figure:
    """Draws AUROCs with their intervals in per cent: one row per signal, one mark per data set.

    Args:
        table: Columns `dataset`, `signal`, `value`, `low`, `high`, in [0, 1].
    """
    signals, datasets = list(table.signal.unique()), list(table.dataset.unique())
    figure, axes = plt.subplots(figsize=(7.6, 1.2 + 0.5 * len(signals)))
    axes.axvline(50, color="black", linewidth=0.8)
    for number, dataset in enumerate(datasets):
        some = table[table.dataset == dataset].set_index("signal").loc[signals]
        y = np.arange(len(signals))[::-1] + 0.2 * ((len(datasets) - 1) / 2 - number)
        color = PALETTE[(0, 3, 2, 4, 5)[number % 5]]
        axes.hlines(y, 100 * some.low, 100 * some.high, color=color, linewidth=2)
        axes.plot(100 * some.value, y, MARKS[number % 5], color=color, markersize=6, label=dataset)
    axes.set_yticks(range(len(signals)), signals[::-1])
    axes.set(xlabel="AUROC of telling hits from misses [%]", xlim=(35, 101))
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=len(datasets), frameon=False)
    return figure


def reliability_panels(bins: Mapping[str, pd.DataFrame]) -> Figure:
    """Draws the share of hits against the predicted probability, in per cent, one panel per prediction.

    Args:
        bins: Title → columns `predicted`, `value`, `low`, `high`, in [0, 1].
    """
    figure, panels = plt.subplots(
        1, len(bins), figsize=(3.2 * len(bins), 3.3), sharex=True, sharey=True, squeeze=False
    )
    for axes, (title, some) in zip(panels[0], bins.items(), strict=True):
        axes.plot([0, 100], [0, 100], color="black", linewidth=0.8)
        axes.vlines(100 * some.predicted, 100 * some.low, 100 * some.high, color=FOUND, linewidth=2)
        axes.plot(100 * some.predicted, 100 * some.value, "o", color=FOUND)
        axes.set(xlabel="predicted [%]", xlim=(0, 102), ylim=(0, 102), aspect="equal")
        axes.set_title(title, fontsize=11)
    panels[0, 0].set_ylabel("hits [%]")
    return figure


def risk_coverage(
    scores: Mapping[str, Float[np.ndarray, " n"]], wrong: Bool[np.ndarray, " n"], most: int = 4
) -> Figure:
    """Draws the share of misses among the boxes that are kept, in per cent, over the share that is kept.

    Args:
        scores: Signal → its values; the first is that of the heads' agreement.
        wrong: Which boxes miss.
        most: The curves begin where so many boxes are kept.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    coverage = 100 * np.arange(1, len(wrong) + 1) / len(wrong)
    for number, (name, values) in enumerate(scores.items()):
        color, style = (FOUND, TRUE, *PALETTE[2:])[number], ("-", "--", "-.", ":")[number % 4]
        share = 100 * risks(values, wrong)
        axes.plot(coverage[most:], share[most:], color=color, linestyle=style, linewidth=2, label=name)
    best = 100 * risks(-wrong.astype(float), wrong)
    axes.plot(coverage[most:], best[most:], color=MUTED, label="best possible order")
    axes.axhline(100 * wrong.mean(), color="black", linewidth=0.8, label="random order")
    axes.set(xlabel="boxes that are kept [%]", ylabel="misses among them [%]", xlim=(0, 101), ylim=(0, None))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def cumulative(groups: Mapping[str, Float[np.ndarray, " n"]], label: str, marked: float) -> Figure:
    """Draws which share of each group lies at or below a value, in per cent, with a threshold marked.

    Args:
        groups: Name → values; one without any is left out.
        label: Name of the value.
        marked: The threshold; NaN where none is defined.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.4))
    for number, (name, values) in enumerate(groups.items()):
        if not len(values):
            continue
        color, style = (FOUND, TRUE, *PALETTE[2:])[number], ("-", "--", "-.", ":")[number % 4]
        x = np.concatenate([[0.0], np.sort(values), [1.0]])
        share = 100 * np.concatenate([np.arange(len(values) + 1), [len(values)]]) / len(values)
        axes.step(x, share, where="post", color=color, linestyle=style, linewidth=2, label=name)
    if not np.isnan(marked):
        axes.axvline(marked, color="black", linewidth=0.8, label=f"threshold {marked:.2f}")
    axes.set(xlabel=label, ylabel="at or below it [%]", xlim=(0, 1), ylim=(0, 101))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
