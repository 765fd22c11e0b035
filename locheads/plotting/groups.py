"""Draws scores of groups of samples as bars, with the number of samples, small groups marked."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from locheads.plotting.style import FOUND, MUTED, PALETTE

FEW = 20
"""Bars of fewer samples are hatched."""
HATCH = "////"


def group_bars(table: pd.DataFrame, series: str, label: str) -> Figure:
    """Draws one bar with its interval per group and series, in per cent; the first series is orange.

    Args:
        table: Columns `group`, the series, `value`, `low`, `high` (in [0, 1]) and `samples` (of the group).
        series: The column of the series; that of the localization heads comes first.
        label: Name of the value, with unit.
    """
    groups, names = list(table["group"].unique()), list(table[series].unique())
    figure, axes = plt.subplots(figsize=(max(6.0, 1.4 * len(groups)), 3.6))
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        some = table[table[series] == name].set_index("group").loc[groups]
        x = np.arange(len(groups)) + (number - (len(names) - 1) / 2) * width
        draw_bars(axes, x, some, width, (FOUND, MUTED, *PALETTE[2:])[number])
    counts = table.drop_duplicates("group").set_index("group").samples
    axes.set_xticks(range(len(groups)), [f"{group}\nn = {counts[group]}" for group in groups], fontsize=10)
    axes.set(ylabel=label, ylim=(0, 100))
    handles = [Patch(color=(FOUND, MUTED, *PALETTE[2:])[n], label=name) for n, name in enumerate(names)]
    handles += few_samples(counts)
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return figure


def draw_bars(axes: Axes, x: np.ndarray, table: pd.DataFrame, width: float, color: tuple[float, ...]) -> None:
    """Draws bars in per cent with their intervals; those of fewer than `FEW` samples are hatched."""
    value, low, high = (100 * table[name].to_numpy(float) for name in ("value", "low", "high"))
    ends = np.maximum([value - low, high - value], 0)
    bars = axes.bar(x, value, width, yerr=ends, color=color, ecolor="black", capsize=3)
    for bar, samples in zip(bars, table.samples, strict=True):
        if samples < FEW:
            bar.set(hatch=HATCH, edgecolor="white")


def few_samples(counts: pd.Series) -> list[Patch]:
    """Returns the legend's entry of small groups; none where no group is small."""
    if (counts >= FEW).all():
        return []
    return [Patch(facecolor=MUTED, edgecolor="white", hatch=HATCH, label=f"fewer than {FEW} samples")]
