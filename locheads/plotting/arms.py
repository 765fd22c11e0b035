"""Draws how figures of the specimen's decoders grow while they learn, and how arms of training differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from locheads.plotting.style import FOUND, MUTED, PALETTE, TRUE

COLORS = (TRUE, FOUND, PALETTE[2], PALETTE[4])


PANELS = {
    "share [%]": {
        "answers": "answers right",
        "three heads": "Acc@0.5, three heads",
        "best head's IoU": "IoU of the best head",
    },
    "ρ of frequency and IoU": {"ρ": "ρ"},
    "attention sum": {"median attention sum": "median of all heads", "threshold": "threshold τ"},
}
"""Panels of `growth`: the name of the vertical axis → column → its name in the figure."""


def growth(rows: pd.DataFrame, guessing: float) -> Figure:
    """Draws figures against the step of training: one panel per group, one thin line per seed, a thick mean.

    Args:
        rows: Columns `seed`, `step` and the figures, as shares or correlations.
        guessing: Share of answers that are right by guessing, in per cent: a dotted line in the first panel.
    """
    figure, grid = plt.subplots(1, len(PANELS), figsize=(4.6 * len(PANELS), 3.8))
    for axes, (label, names) in zip(grid, PANELS.items(), strict=True):
        scale = 100 if "%" in label else 1
        for (column, name), color in zip(names.items(), COLORS, strict=False):
            lines = scale * rows.pivot(index="step", columns="seed", values=column)
            places = np.log2(1 + lines.index.to_numpy() / 25)
            axes.plot(places, lines, color=color, linewidth=0.8, alpha=0.6)
            axes.plot(
                places, lines.mean(axis=1), color=color, linewidth=2.5, marker="o", markersize=4, label=name
            )
        axes.set_xticks(places, _sparse(lines.index, places), fontsize=10)
        axes.set(xlabel="steps of training", ylabel=label)
        if len(names) > 1:
            axes.legend(frameon=False, fontsize=10)
    first = figure.axes[0]
    first.axhline(guessing, color="black", linewidth=1, linestyle=":")
    first.annotate("answers by guessing", (first.get_xlim()[0], guessing + 1), fontsize=10)
    return figure


def _sparse(steps: pd.Index, places: Float[np.ndarray, " n"], least: float = 0.5) -> list[str]:
    """Names of steps, from the last one back; one that is too close to the next named one gets none."""
    names, right = [""] * len(steps), np.inf
    for i in reversed(range(len(steps))):
        if right - places[i] >= least:
            names[i], right = f"{steps[i]:,}", places[i]
    return names


def head_maps(values: Mapping[str, Float[np.ndarray, "layer head"]], label: str) -> Figure:
    """Draws one value of all heads as a heat map, layers from bottom to top, one panel per name."""
    figure, grid = plt.subplots(1, len(values), figsize=(1.5 * len(values) + 0.8, 3.0), sharey=True)
    top = max(100 * float(one.max()) for one in values.values())
    for axes, (name, one) in zip(np.atleast_1d(grid), values.items(), strict=True):
        drawn = axes.imshow(100 * one, origin="lower", cmap="viridis", vmin=0, vmax=top, aspect="auto")
        axes.set_title(name, fontsize=11)
        axes.set_xlabel("head", fontsize=11)
        axes.set_xticks(range(0, one.shape[1], 2))
    np.atleast_1d(grid)[0].set_ylabel("layer")
    figure.colorbar(drawn, ax=grid, label=label, shrink=0.9)
    return figure


def dots(tables: Mapping[str, pd.DataFrame], labels: Sequence[str]) -> Figure:
    """Draws figures by arm: grey dots are seeds, the orange mark their mean, with its interval if it has one.

    Args:
        tables: Title → one row per arm; columns `seeds` (list of values), `value` and, or NaN, `low`, `high`.
        labels: Names of the panels' horizontal axes.
    """
    figure, grid = plt.subplots(1, len(tables), figsize=(3.4 * len(tables), 2.6), sharey=True)
    for axes, (title, rows), label in zip(np.atleast_1d(grid), tables.items(), labels, strict=True):
        y = np.arange(len(rows))[::-1]
        for place, row in zip(y, rows.itertuples(), strict=True):
            axes.plot(row.seeds, np.full(len(row.seeds), place - 0.18), "o", color=MUTED, markersize=5)
            axes.hlines(place, row.low, row.high, color=FOUND, linewidth=2.5)
            axes.plot(row.value, place, "D", color=FOUND, markersize=8)
        axes.set_yticks(y, rows.index)
        axes.set_ylim(-0.6, len(rows) - 0.5)
        axes.set_title(title, fontsize=11)
        axes.set_xlabel(label, fontsize=11)
    return figure
