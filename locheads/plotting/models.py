"""Draws figures of several models side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from locheads.plotting.heads import iou_scatter
from locheads.plotting.style import MUTED, PALETTE
from locheads.studies.across_models import Compared, layer_shares

MARKERS = "osD^vP"


def iou_panels(models: Sequence[Compared]) -> Figure:
    """Draws mean IoU over selection frequency: one panel per model, one point per head (paper, figure 12)."""
    count = len(models)
    figure, panels = plt.subplots(
        1, count, figsize=(1 + 4.4 * count, 4.2), sharex=True, sharey=True, squeeze=False
    )
    for axes, one in zip(panels[0], models, strict=True):
        draw_heads(axes, one)
        axes.set_title(f"{one.name}\n{axes.get_title()}", fontsize=12)
    panels[0, 0].set_ylabel("mean IoU with the object [%]")
    panels[0, 0].legend(frameon=False, loc="upper left")
    return figure


def draw_heads(axes: Axes, one: Compared) -> None:
    """Draws the scatter of one model."""
    frequency, iou = (np.array([of[head] for head in one.often]) for of in (one.selection.frequency, one.iou))
    chosen = np.array([head in one.selection.heads for head in one.often])
    iou_scatter(axes, frequency, iou, chosen, one.correlation)


def rank_and_depth(
    models: Sequence[Compared],
    elsewhere: Mapping[str, Sequence[float]],
    depths: Mapping[str, Sequence[float]],
) -> Figure:
    """Draws selection frequency by rank, and the share of selections by depth of the layer.

    Args:
        models: The models, drawn in colour.
        elsewhere: Name → published frequencies in descending order, drawn in grey.
        depths: Model → depths, in [0, 1], of the heads that the paper names; grey marks at the top.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2))
    for i, one in enumerate(models):
        style = {"color": PALETTE[i], "marker": MARKERS[i % len(MARKERS)], "markersize": 5, "label": one.name}
        ranked = np.sort(one.selection.frequency, axis=None)[::-1][:20]
        left.plot(np.arange(1, len(ranked) + 1), 100 * ranked, **style)
        shares = layer_shares(one.selection.frequency)
        right.plot(np.linspace(0, 1, len(shares)), 100 * shares, **style)
    for name, values in elsewhere.items():
        ranks = np.arange(1, len(values) + 1)
        left.plot(ranks, 100 * np.asarray(values), "--", color=MUTED, label=name)
    left.set(xlabel="head, by rank", ylabel="selection frequency [%]", ylim=(0, None), xticks=range(0, 21, 5))
    for number, (name, places) in enumerate(depths.items()):
        height = 0.97 - 0.05 * number
        marker = "v<"[number % 2]
        axis = right.get_xaxis_transform()
        right.plot(places, [height] * len(places), marker, color=MUTED, transform=axis, label=name)
    right.set(xlabel="depth of the layer (0 first, 1 last)", ylabel="share of all choices [%]")
    right.set_ylim(0, 1.2 * right.get_ylim()[1])
    for axes in (left, right):
        axes.legend(frameon=False, fontsize=10, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return figure
