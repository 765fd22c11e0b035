"""Draws kinds of heads: how many in each layer, what tells them apart, and what one of each looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from jaxtyping import Float
from matplotlib.figure import Figure

from locheads.method.selection import Head
from locheads.plotting.style import FOUND, MUTED, PALETTE, TRUE
from locheads.studies.head_kinds import KINDS

COLORS = dict(zip(KINDS, (FOUND, PALETTE[2], PALETTE[4], PALETTE[9], MUTED, TRUE), strict=True))
MARKS = dict(zip(KINDS, "DsP^.x", strict=True))
MARKS["text"] = "*"


def kinds_by_layer(heads: pd.DataFrame) -> Figure:
    """Draws the number of heads of each kind in each layer, stacked; `heads` is from `head_kinds.table`."""
    layers = sorted({head.layer for head in heads.index})
    counts = pd.crosstab([head.layer for head in heads.index], heads.kind.to_numpy())
    counts = counts.reindex(index=layers, columns=KINDS, fill_value=0)
    figure, axes = plt.subplots(figsize=(7.5, 3.4))
    below = np.zeros(len(layers))
    for kind in KINDS:
        axes.bar(layers, counts[kind], 0.8, below, color=COLORS[kind], label=kind)
        below += counts[kind].to_numpy()
    axes.set(xlabel="layer", ylabel="heads", xticks=layers)
    axes.legend(
        loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, reverse=True
    )  # as they are stacked
    return figure


def what_moves_them(heads: pd.DataFrame, chosen: Sequence[Head]) -> Figure:
    """Draws what follows the word over what follows the object; localization heads have a ring.

    Args:
        heads: From `head_kinds.table`.
        chosen: The localization heads.
    """
    figure, axes = plt.subplots(figsize=(6, 4.2))
    for kind in KINDS[::-1]:
        some = heads[heads.kind == kind]
        axes.plot(some.move, some.word, MARKS[kind], color=COLORS[kind], linestyle="none", label=kind)
    for head in chosen:
        axes.plot(
            heads.move[head], heads.word[head], "o", color="none", markeredgecolor="black", markersize=13
        )
        axes.annotate(
            str(head), (heads.move[head], heads.word[head]), (9, -9), textcoords="offset points", fontsize=9
        )
    axes.set(xlabel="follows the object that is moved [% of attention to the picture]",
             ylabel="follows the word [% of the same]")  # fmt: skip
    axes.legend(loc="upper left", frameon=False)
    return figure


def four_readings(
    pictures: Mapping[str, np.ndarray], maps: Mapping[str, Sequence[Float[np.ndarray, "row column"]]]
) -> Figure:
    """Draws one head per row and one reading per column: the picture, and the head's map over it.

    Args:
        pictures: Title → the picture that was read.
        maps: Name of a head → its map in each reading; each map has a brightness scale of its own.
    """
    shape = (len(maps), len(pictures))
    figure, grid = plt.subplots(*shape, figsize=(2.1 * shape[1] + 0.8, 2.1 * shape[0]), squeeze=False)
    for title, axes in zip(pictures, grid[0], strict=True):
        axes.set_title(title, fontsize=10)
    for row, (name, some) in zip(grid, maps.items(), strict=True):
        for axes, picture, one in zip(row, pictures.values(), some, strict=True):
            height, width = picture.shape[:2]
            lit = one / max(float(one.max()), 1e-12)
            axes.imshow(picture)
            axes.imshow(lit, cmap="inferno", alpha=0.35 + 0.55 * lit, extent=(0, width, height, 0))
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(name.replace(", ", "\n"), fontsize=10, rotation=0, ha="right", va="center")
    return figure
