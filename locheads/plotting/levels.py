"""Draws what the number of heads does at each level of the pseudo-mask."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from locheads.plotting.style import PALETTE


def number_by_level(tables: Mapping[str, pd.DataFrame], best: pd.DataFrame) -> Figure:
    """Draws REC Acc@0.5 over the number of heads: one panel per set of expressions, one line per level.

    The panels share their axes. A ring marks the number that is best on training expressions, at each level.

    Args:
        tables: From `studies.levels.number_by_level` by the name of the expressions.
        best: From `studies.levels.best_numbers`.
    """
    figure, panels = plt.subplots(
        1, len(tables), figsize=(4.6 * len(tables), 3.4), sharey=True, squeeze=False
    )
    for axes, (name, table) in zip(panels[0], tables.items(), strict=True):
        for number, (level, some) in enumerate(table.groupby("level")):
            color, marker = PALETTE[number + 2], "osD^"[number % 4]
            axes.fill_between(some.k, some.low, some.high, color=color, alpha=0.15, linewidth=0)
            axes.plot(some.k, some.value, marker + "-", color=color, markersize=4)
            chosen = some[some.k == best.k[level]]
            axes.plot(chosen.k, chosen.value, "o", color="none", markeredgecolor="black", markersize=13)
            last = some.iloc[-1]
            axes.annotate(f"{level:g} × mean", (last.k, last.value), (11, 0), textcoords="offset points",
                          va="center", color=color)  # fmt: skip
        axes.set(xlabel="heads combined, k", title=name, xticks=sorted(table.k.unique()))
        axes.margins(x=0.25)
    panels[0, 0].set_ylabel("REC Acc@0.5 [%]")
    return figure
