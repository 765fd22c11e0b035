"""Draws the figures of one setting varied at a time: criteria, threshold, heads kept, samples, smoothing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from locheads.evaluation.metrics import Interval
from locheads.method.selection import Head
from locheads.plotting.style import FOUND, MUTED, PALETTE, TRUE, two_lines
from locheads.studies.ablation import Sweep

OTHERS = [PALETTE[i] for i in (0, 2, 4, 6, 7, 8, 9)]
"""Colours of heads that are not localization heads."""


def criteria_bars(table: pd.DataFrame, paper: pd.DataFrame, metrics: Mapping[str, str]) -> Figure:
    """Draws the six ways of Table 5, fixed beside greedy, one panel per metric, with the paper's values.

    Args:
        table: From `evaluation.scores.scores`, by variant, named as by `studies.criteria.criteria_variants`.
        paper: From `studies.criteria.beside_table5`, whose first columns are the paper's, in per cent.
        metrics: Metric → its title, in the order of the paper's columns.
    """
    uses = ("attention_sum", "entropy", "both")
    figure, panels = plt.subplots(1, len(metrics), figsize=(4.4 * len(metrics), 3.6), sharey=True)
    for axes, (metric, title), column in zip(panels, metrics.items(), paper.columns, strict=False):
        some = 100 * table[table.metric == metric].set_index("variant")[["value", "low", "high"]]
        for how, color, shift in (("greedy", MUTED, -0.2), ("fixed", FOUND, 0.2)):
            value, low, high = some.loc[[f"{how}_{use}" for use in uses]].to_numpy().T
            x = np.arange(len(uses)) + shift
            axes.bar(x, value, 0.4, color=color, yerr=(value - low, high - value), capsize=2, label=how)
            theirs = [paper.loc[f"{how}, {use.replace('_', ' ')}", column] for use in uses]
            axes.plot(x, theirs, "D", color="white", markeredgecolor="black", markersize=7,
                      label="paper" if how == "fixed" else None)  # fmt: skip
        axes.set_xticks(range(len(uses)), ["attention sum\nalone", "entropy\nalone", "both"])
        axes.set(title=title, ylim=(0, 100))
    panels[0].set_ylabel("score [%]")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def frequency_sweep(
    sweep: Sweep,
    chosen: Sequence[Head],
    label: str,
    marked: float | int,
    span: tuple[float | int, float | int],
) -> Figure:
    """Draws the selection frequency over one setting: localization heads, and what replaces them.

    Of all other heads only the highest frequency at each setting is drawn, dashed: where it stays
    below the localization heads, these stay the same.

    Args:
        sweep: The selections; settings without a choice (`Sweep.has_choice`) are shaded dark.
        chosen: The localization heads.
        label: Name of the setting, with unit.
        marked: Its value in this study.
        span: The range that the paper examines, shaded light.
    """
    figure, axes = plt.subplots(figsize=(8, 3.8))
    # A line for each localization head, and for each that replaces one.
    rivals = _rivals(sweep, chosen)[: len(OTHERS)]
    names = {}
    for marker, head in zip(itertools.cycle("D^so"), chosen):
        names[head] = axes.plot(sweep.values, _percent(sweep, head), f"{marker}-", color=FOUND, markersize=4)
    for color, head in zip(OTHERS, rivals, strict=False):
        names[head] = axes.plot(sweep.values, _percent(sweep, head), "-", color=color, linewidth=1.5)
    # The highest frequency of all remaining heads.
    rest = 100 * sweep.frequency.copy()
    for one in (*chosen, *rivals):
        rest[:, one.layer, one.head] = 0
    axes.plot(sweep.values, rest.max(axis=(1, 2)), "--", color=MUTED, label="highest of all other heads")
    # The paper's range, settings without a choice, and the value used here.
    half = np.diff(sweep.values).min() / 2
    axes.axvspan(*span, color=TRUE, alpha=0.08, linewidth=0, label="range the paper examines")
    for number, value in enumerate(sweep.values[~sweep.has_choice]):
        name = None if number else "no choice: all that pass are kept"
        axes.axvspan(value - half, value + half, color="black", alpha=0.2, linewidth=0, label=name)
    axes.axvline(marked, color="black", linestyle=":", linewidth=1.5, label=f"here: {marked:.3g}")
    # Legend: heads first, then the other marks.
    handles, words = axes.get_legend_handles_labels()
    lines = [line for drawn in names.values() for line in drawn]
    heads = [f"{head}{', localization head' if head in chosen else ''}" for head in names]
    axes.legend(
        [*lines, *handles],
        [*heads, *words],
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        fontsize=9,
        frameon=False,
    )
    axes.set(xlabel=label, ylabel="selection frequency [%]", ylim=(0, 102))
    return figure


def _rivals(sweep: Sweep, chosen: Sequence[Head]) -> list[Head]:
    """Returns the other heads that are ever among the most frequent ones, the most often first."""
    tops = [heads for heads, choice in zip(sweep.heads, sweep.has_choice, strict=True) if choice]
    often = {head: sum(head in heads for heads in tops) for heads in tops for head in heads}
    return sorted(often.keys() - set(chosen), key=lambda head: (-often[head], head))


def _percent(sweep: Sweep, head: Head) -> Float[np.ndarray, " setting"]:
    return 100 * sweep.frequency[:, head.layer, head.head]


def setting_lines(
    table: pd.DataFrame,
    label: str,
    metrics: Mapping[str, str],
    marked: Mapping[str, float | int],
    setting: str = "setting",
    log: bool = False,
) -> Figure:
    """Draws scores in per cent with their intervals over one setting, one panel per metric, with equal axes.

    Args:
        table: Columns `setting`, `metric`, `value`, `low`, `high`, the last three in [0, 1].
        label: Name of the setting, with unit.
        metrics: Metric → its title.
        marked: Name → value of the setting marked by a line.
        setting: The column of the setting.
        log: Whether the axis of the setting is logarithmic.
    """
    figure, panels = plt.subplots(
        1, len(metrics), figsize=(4.2 * len(metrics), 3.4), sharey=True, squeeze=False
    )
    for axes, (metric, title) in zip(panels[0], metrics.items(), strict=True):
        some = table[table.metric == metric].sort_values(setting)
        _band(axes, some[setting], some, FOUND)
        for number, (name, value) in enumerate(marked.items()):
            axes.axvline(value, color="black", linestyle=(":", "--")[number % 2], linewidth=1.2)
            axes.annotate(
                f" {name}: {value:.3g}", (value, 2), fontsize=9, rotation=90, ha="right", va="bottom"
            )
        axes.set(xlabel=label, title=title, xscale="log" if log else "linear", ylim=(0, 102))
        _few_ticks(axes, some[setting])
    panels[0, 0].set_ylabel("[%]")
    return figure


def _band(axes: Axes, x: pd.Series, some: pd.DataFrame, color: tuple[float, ...]) -> None:
    axes.fill_between(x, 100 * some.low, 100 * some.high, color=color, alpha=0.2, linewidth=0)
    axes.plot(x, 100 * some.value, "o-", color=color, markersize=4)


def _few_ticks(axes: Axes, x: pd.Series) -> None:
    if x.nunique() <= 8:
        axes.set_xticks(x.unique(), [f"{value:g}" for value in x.unique()])
        axes.minorticks_off()
    elif (x % 1 == 0).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def level_lines(groups: Mapping[str, pd.DataFrame], chosen: tuple[float, float]) -> Figure:
    """Draws REC Acc@0.5 over σ, one line per level of binarisation, one panel per group of samples.

    Args:
        groups: Title → `studies.smoothing.by_level`, the samples on which the setting is chosen first.
        chosen: σ and level with the highest score on these.
    """
    figure, panels = plt.subplots(
        1, len(groups), figsize=(4.6 * len(groups), 3.6), sharey=True, squeeze=False
    )
    looks = ((FOUND, "o-"), (PALETTE[0], "s--"), (PALETTE[2], "^-."), (PALETTE[4], "v:"))
    for axes, (title, grid) in zip(panels[0], groups.items(), strict=True):
        for (level, some), (color, style) in zip(grid.groupby("level"), looks, strict=False):
            axes.fill_between(
                some.sigma, 100 * some.low, 100 * some.high, color=color, alpha=0.12, linewidth=0
            )
            axes.plot(some.sigma, 100 * some.value, style, color=color, markersize=4)
            last = some.iloc[-1]
            at = (last.sigma, 100 * last.value)
            axes.annotate(
                f"{level:g} × mean", at, (6, 0), textcoords="offset points", color=color, va="center"
            )
        best = grid[(grid.sigma == chosen[0]) & (grid.level == chosen[1])].iloc[0]
        axes.plot(best.sigma, 100 * best.value, "o", color="none", markeredgecolor="black", markersize=13)
        axes.set(title=title, xlabel="σ [cells]", ylim=(0, 102))
        axes.margins(x=0.25)
        _few_ticks(axes, grid.sigma)
    panels[0, 0].set_ylabel("REC Acc@0.5 [%]")
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
    axes.set_xticks(range(len(heads)), two_lines(heads))
    axes.set(ylabel="selection frequency [%]", ylim=(0, None))
    axes.set_title("dots: trials; bars: 95 % intervals; orange: localization heads", fontsize=11)
    return figure
