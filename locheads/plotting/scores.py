"""Draws the figures of scores: bars, lines over a setting, effects of each choice, and recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from locheads.plotting.style import FOUND, MUTED, PALETTE, TRUE, two_lines


def score_bars(scores: dict[str, dict[str, tuple[float, float, float]]], label: str) -> Figure:
    """Draws grouped bars in per cent; the first series, the localization heads, is orange.

    Args:
        scores: Group → series → `(value, low, high)`, a value in [0, 1] with its interval.
        label: Name of the value, with unit.
    """
    figure, axes = plt.subplots(figsize=(8, 3.6))
    groups, series = list(scores), list(next(iter(scores.values())))
    width = 0.8 / len(series)
    for i, name in enumerate(series):
        value, low, high = 100 * np.array([scores[group][name] for group in groups]).T
        x = np.arange(len(groups)) + (i - (len(series) - 1) / 2) * width
        color = (FOUND, MUTED, *PALETTE[2:])[i]
        axes.bar(x, value, width, yerr=(value - low, high - value), color=color, label=name, capsize=2)
    axes.set_xticks(range(len(groups)), two_lines(groups))
    axes.set(ylabel=label, ylim=(0, 100))
    if len(series) > 1:
        axes.legend(frameon=False, ncols=len(series), loc="upper center", bbox_to_anchor=(0.5, 1.18))
    else:
        axes.set_title(f"{series[0]} heads", fontsize=12)
    return figure


def effect_dots(
    effects: pd.DataFrame,
    order: Sequence[str],
    metrics: Mapping[str, str],
    groups: Mapping[str, Sequence[str]],
) -> Figure:
    """Draws the effect of each choice with its interval: one row per choice, one panel per metric.

    Axes are linear; those of the scores are equal. A filled mark survives Holm's correction, an open one does
    not.

    Args:
        effects: Columns `variant`, `metric`, `value`, `low`, `high`, as `metrics` says, and `survives`.
        order: Variants, from top to bottom.
        metrics: Metric → its title with its unit.
        groups: Name → variants of at most four groups, each with its own marker.
    """
    figure, panels = plt.subplots(
        1,
        len(metrics),
        figsize=(4.2 + 2.6 * len(metrics), 1.4 + 0.27 * len(order)),
        sharey=True,
        squeeze=False,
    )
    places = {name: len(order) - 1 - row for row, name in enumerate(order)}
    shown = effects[effects.variant.isin(places)]
    for axes, (metric, label) in zip(panels[0], metrics.items(), strict=True):
        axes.axvline(0, color="black", linewidth=0.8)
        axes.hlines(range(len(order)), 0, 1, transform=axes.get_yaxis_transform(), color="0.93", zorder=0)
        for number, (group, members) in enumerate(groups.items()):
            some = shown[(shown.metric == metric) & shown.variant.isin(list(members))]
            _dots(axes, some, [places[name] for name in some.variant], number, group)
        axes.set(xlabel=f"difference in {label}")
        axes.tick_params(axis="y", length=0)
    scores = shown[shown.metric != "spearman"]
    margin = 0.05 * (scores.high.max() - scores.low.min()) if len(scores) else 1.0
    for axes, metric in zip(panels[0], metrics, strict=True):
        if metric != "spearman" and len(scores):
            axes.set_xlim(min(scores.low.min(), 0) - margin, max(scores.high.max(), 0) + margin)
    panels[0, 0].set_yticks(list(places.values()), list(places), fontsize=9)
    handles, names = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(groups), frameon=False)
    return figure


def _dots(axes: Axes, some: pd.DataFrame, y: Sequence[int], number: int, group: str) -> None:
    """Draws one group: bars for the intervals, and marks that are filled where a difference survives."""
    colour, marker = PALETTE[number], "oDs^"[number]
    axes.hlines(y, some.low, some.high, color=colour, linewidth=2, alpha=0.9)
    axes.plot(some.value, y, marker, color=colour, markerfacecolor="white", markersize=5)
    kept = some.survives.to_numpy(bool)
    axes.plot(some.value[kept], np.array(y)[kept], marker, color=colour, markersize=5)
    axes.plot([], [], marker, color=colour, label=group)


def gain_lines(
    here: pd.DataFrame, elsewhere: dict[str, list[float]], x: Sequence[int], label: str, name: str
) -> Figure:
    """Draws the gain over the paper's setting, in percentage points, with the paper's models in grey.

    Args:
        here: Columns `x`, `value`, `low`, `high`; differences in [-1, 1].
        elsewhere: Model of the paper → its differences in percentage points at `x`.
        x: Values of the setting at which the paper's models were measured.
        label: Name of the setting.
        name: Name of this model.
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


def recall_curves(ious: Mapping[str, Float[np.ndarray, " n"]], marked: float | None = None) -> Figure:
    """Draws how many samples reach each IoU threshold, in per cent; the area under a curve is the mean IoU.

    Args:
        ious: Name → IoUs, one curve each, that of the localization heads first.
        marked: A threshold marked by a line.
    """
    figure, axes = plt.subplots(figsize=(6.4, 3.6))
    for number, (name, values) in enumerate(ious.items()):
        ordered = np.concatenate([[0.0], np.sort(values), [1.0]])
        share = 100 * np.concatenate([[1.0], 1 - np.arange(len(values)) / len(values), [0.0]])
        style, color = ("-", "--", "-.", ":")[number % 4], (FOUND, TRUE, *PALETTE[2:])[number]
        axes.step(ordered, share, where="pre", linestyle=style, color=color, label=name)
    if marked is not None:
        axes.axvline(marked, color=MUTED, linestyle=":")
    axes.set(xlabel="IoU threshold", ylabel="samples that reach it [%]", xlim=(0, 1), ylim=(0, 102))
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
