"""Figures of causes: the drawn shares are those of the tables, and what is drawn has a name."""

from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.colors import same_color
from matplotlib.figure import Figure
from matplotlib.text import Text

from locheads.method.selection import Head
from locheads.plotting.causes import answer_curves, single_losses
from locheads.plotting.style import FOUND, TRUE
from locheads.studies.causes import RANDOM

ROWS = [
    ("frequency", 3, 90.0),
    ("frequency", 10, 40.0),
    ("IoU", 3, 80.0),
    ("IoU", 10, 60.0),
    (RANDOM, 3, 95.0),
    (RANDOM, 10, 85.0),
    ("all", 192, 5.0),
]


@pytest.fixture
def table() -> pd.DataFrame:
    shares = pd.DataFrame(ROWS, columns=["order", "size", "value"])
    return shares.assign(low=shares.value - 4, high=shares.value + 4)


@pytest.fixture
def heads() -> pd.DataFrame:
    """Three heads: one that is chosen, one that costs most, one that does nothing."""
    index = [Head(0, 1), Head(1, 0), Head(1, 1)]
    return pd.DataFrame({"frequency [%]": [80.0, 5.0, 0.0], "loss": [0.02, 0.15, 0.0]}, index=index)


def test_each_order_is_drawn_at_its_shares_and_all_heads_as_a_cross(table: pd.DataFrame) -> None:
    figure = answer_curves({"removed": table}, "right [%]", "heads", 96.0)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["by frequency"].get_xydata().tolist() == [[3, 90], [10, 40]]
    assert lines["by IoU"].get_xydata().tolist() == [[3, 80], [10, 60]]
    assert lines["random, layers as by frequency"].get_xydata().tolist() == [[3, 95], [10, 85]]
    assert lines["all heads"].get_xydata().tolist() == [[192, 5]]
    assert same_color(lines["by frequency"].get_color(), FOUND)
    band = figure.axes[0].collections[0].get_paths()[0].get_extents()
    assert (band.y0, band.y1) == (36, 94)
    plt.close(figure)


def test_the_untouched_share_is_a_named_line_where_there_is_one(table: pd.DataFrame) -> None:
    for base in (96.0, None):
        figure = answer_curves({"a": table, "b": table}, "right [%]", "heads", base)
        notes = [[text.get_text() for text in axes.texts] for axes in figure.axes]
        dotted = [
            [line.get_ydata()[0] for line in axes.lines if line.get_linestyle() == ":"]
            for axes in figure.axes
        ]
        assert notes == ([["unchanged"]] * 2 if base else [[]] * 2)
        assert dotted == ([[96.0]] * 2 if base else [[]] * 2)
        plt.close(figure)


def test_sizes_are_the_ticks_and_panels_share_the_axis_of_per_cent(table: pd.DataFrame) -> None:
    figure = answer_curves({"a": table, "b": table}, "right [%]", "heads removed", None)
    for axes in figure.axes:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["3", "10", "192"]
        assert axes.get_ylim() == (-2, 102) and axes.get_xlabel() == "heads removed"
    assert [axes.get_ylabel() for axes in figure.axes] == ["right [%]", ""]
    plt.close(figure)


def test_heads_lie_at_their_values_and_the_chosen_are_orange(heads: pd.DataFrame) -> None:
    figure = single_losses(heads, ["frequency [%]"], [Head(0, 1)], [Head(1, 0)])
    rest, chosen = (line for line in figure.axes[0].lines if line.get_marker() in "oD")
    assert rest.get_xydata().tolist() == [[5, 0.15], [0, 0]] and same_color(rest.get_color(), TRUE)
    assert chosen.get_xydata().tolist() == [[80, 0.02]] and same_color(chosen.get_color(), FOUND)
    at = {text.get_text(): tuple(text.xy) for text in figure.axes[0].texts}
    assert at == {"L1 H0": (5, 0.15), "localization heads": (80, 0.02)}
    plt.close(figure)


def named(figure: Figure) -> list[Text]:
    """Titles, names of axes, notes and entries of the legend."""
    texts = [text for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        texts += [axes.title, axes.xaxis.label, axes.yaxis.label, *axes.texts]
    return [text for text in texts if text.get_text()]


def test_no_two_names_overlap(table: pd.DataFrame, heads: pd.DataFrame) -> None:
    curves = answer_curves({"removed": table, "replaced": table}, "right [%]", "heads", 96.0)
    losses = single_losses(heads, ["frequency [%]"], [Head(0, 1)], [Head(1, 0)])
    for figure in (curves, losses):
        figure.draw_without_rendering()
        boxes = [(text.get_text(), text.get_window_extent()) for text in named(figure)]
        assert len(boxes) >= 4
        assert [(a, b) for (a, one), (b, two) in itertools.combinations(boxes, 2) if one.overlaps(two)] == []
        plt.close(figure)
