"""Figures of kinds of heads: counts, places and maps are those of the data, each kind in its colour."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import same_color

from locheads.method.selection import Head
from locheads.plotting.kinds import COLORS, four_readings, kinds_by_layer, what_moves_them
from locheads.studies.head_kinds import KINDS

ROWS = [("localizing", 50.0, 60.0), ("sink", 1.0, 2.0), ("sink", 3.0, -1.0), ("text", 10.0, 0.0)]


@pytest.fixture
def heads() -> pd.DataFrame:
    """Two layers of two heads: a localizing and a sink head, then a sink and a text head."""
    index = [Head(0, 0), Head(0, 1), Head(1, 0), Head(1, 1)]
    return pd.DataFrame(ROWS, columns=["kind", "move", "word"], index=index)


def test_bars_stack_to_the_number_of_heads_with_each_kind_in_its_colour(heads: pd.DataFrame) -> None:
    figure = kinds_by_layer(heads)
    bars = {bar.get_label(): [part.get_height() for part in bar] for bar in figure.axes[0].containers}
    assert bars == {**{kind: [0, 0] for kind in KINDS}, "localizing": [1, 0], "sink": [1, 1], "text": [0, 1]}
    tops = [part.get_y() + part.get_height() for part in figure.axes[0].containers[-1]]
    assert tops == [2, 2]
    for bar in figure.axes[0].containers:
        assert all(same_color(part.get_facecolor(), COLORS[bar.get_label()]) for part in bar)
    plt.close(figure)


def test_the_legend_reads_downwards_as_the_bars_are_stacked(heads: pd.DataFrame) -> None:
    figure = kinds_by_layer(heads)
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == list(KINDS[::-1])
    plt.close(figure)


def test_heads_lie_at_what_moves_them_and_the_chosen_have_a_ring_and_a_name(heads: pd.DataFrame) -> None:
    figure = what_moves_them(heads, [Head(0, 0)])
    axes = figure.axes[0]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert drawn["localizing"] == [[50, 60]] and drawn["sink"] == [[1, 2], [3, -1]]
    (ring,) = (line for line in axes.lines if line.get_markersize() == 13)
    assert ring.get_xydata().tolist() == [[50, 60]]
    assert [text.get_text() for text in axes.texts] == ["L0 H0"]
    assert axes.get_xlabel().endswith("[% of attention to the picture]") and "[%" in axes.get_ylabel()
    plt.close(figure)


def test_a_row_per_head_a_column_per_reading_and_each_map_of_its_own_scale() -> None:
    pictures = {"“plain”": np.zeros((4, 6, 3)), "empty floor": np.ones((4, 6, 3))}
    maps = {"sink, L0 H1": [np.full((2, 3), 4.0), np.eye(2, 3)], "objects, L1 H0": [np.zeros((2, 3))] * 2}
    figure = four_readings(pictures, maps)
    assert [axes.get_title() for axes in figure.axes] == ["“plain”", "empty floor", "", ""]
    names = [axes.yaxis.label for axes in figure.axes[::2]]
    assert [(one.get_text(), one.get_rotation()) for one in names] == [
        ("sink\nL0 H1", 0),
        ("objects\nL1 H0", 0),
    ]
    shown = [axes.images[1].get_array() for axes in figure.axes]
    assert shown[0].max() == shown[0].min() == 1 and shown[1].max() == 1 and shown[2].max() == 0
    assert all(axes.images[1].get_extent() == [0, 6, 4, 0] for axes in figure.axes)
    plt.close(figure)
