"""Draws what is left of the answers when heads are removed, swapped or made to look elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from locheads.method.selection import Head
from locheads.plotting.style import FOUND, MUTED, TRUE
from locheads.studies.causes import RANDOM

LOOKS = {"frequency": (FOUND, "D-"), "IoU": (TRUE, "s--"), RANDOM: (MUTED, "o-")}
"""Colour and line of each order of heads."""
WORDS = {"frequency": "by frequency", "IoU": "by IoU", RANDOM: "random, layers as by frequency"}


def answer_curves(panels: Mapping[str, pd.DataFrame], ylabel: str, xlabel: str, base: float | None) -> Figure:
    """Draws shares of answers over the number of heads, one panel per kind of trial, with equal axes.

    Args:
        panels: Title → `studies.causes_curves.curve`.
        ylabel: What share is drawn.
        xlabel: What is done to the heads.
        base: Share without any change, drawn as a dotted line; None: no line.
    """
    figure, grid = plt.subplots(1, len(panels), figsize=(4.4 * len(panels), 3.5), sharey=True, squeeze=False)
    for axes, (title, table) in zip(grid[0], panels.items(), strict=True):
        if base is not None:
            axes.axhline(base, color="black", linestyle=":", linewidth=1.2)
            axes.annotate("unchanged", (1, base), (0, -3), xycoords=axes.get_yaxis_transform(),
                          textcoords="offset points", ha="right", va="top", fontsize=10)  # fmt: skip
        for order, (color, style) in LOOKS.items():
            some = table[table.order == order]
            axes.fill_between(some["size"], some.low, some.high, color=color, alpha=0.2, linewidth=0)
            axes.plot(some["size"], some.value, style, color=color, markersize=5, label=WORDS[order])
        whole = table[table.order == "all"]
        axes.plot(whole["size"], whole.value, "X", color="black", markersize=8, label="all heads")
        sizes = sorted(table["size"].unique())
        axes.set(xscale="log", xlabel=xlabel, title=title, ylim=(-2, 102))
        axes.set_xticks(sizes, [str(size) for size in sizes])
        axes.minorticks_off()
    grid[0, 0].set_ylabel(ylabel)
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    return figure


def single_losses(
    table: pd.DataFrame, over: Sequence[str], chosen: Sequence[Head], named: Sequence[Head]
) -> Figure:
    """Draws what each head alone takes from the log-probability of the answer, over values of the heads.

    Args:
        table: From `studies.causes_curves.singles`.
        over: Columns to draw over, one panel each; in %.
        chosen: The localization heads, orange diamonds.
        named: Heads that are named.
    """
    figure, panels = plt.subplots(1, len(over), figsize=(4.6 * len(over), 3.5), sharey=True, squeeze=False)
    for axes, column in zip(panels[0], over, strict=True):
        axes.axhline(0, color="black", linewidth=0.8)
        rest = table[[head not in chosen for head in table.index]]
        axes.plot(rest[column], rest.loss, "o", color=TRUE, markersize=4, alpha=0.6)
        for head in chosen:
            axes.plot(table[column][head], table.loss[head], "D", color=FOUND, markersize=7)
        for head in named:
            place = (table[column][head], table.loss[head])
            axes.annotate(str(head), place, (5, 4), fontsize=8, textcoords="offset points")
        axes.set_xlabel(column)
        corner = (table[column][list(chosen)].max(), table.loss[list(chosen)].max())
        axes.annotate("localization heads", corner, (0, 10), color=FOUND, textcoords="offset points",
                      ha="right", fontsize=10)  # fmt: skip
    panels[0, 0].set_ylabel("loss of log-probability [nats]")
    return figure
