"""What the figures of the ablations show is what they were given, in per cent."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from locheads.evaluation.metrics import Interval
from locheads.method.selection import Head
from locheads.plotting import criteria_bars, frequency_sweep, level_lines, setting_lines, trial_frequencies
from locheads.plotting.style import FOUND
from locheads.studies.ablation import Sweep
from locheads.studies.criteria import CRITERIA, beside_table5


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def six_ways() -> pd.DataFrame:
    rows = [
        (f"{how}_{use}", metric, value)
        for metric, base in (("rec_acc50", 0.1), ("res_ciou", 0.2))
        for how, value in (("greedy", base), ("fixed", base + 0.5))
        for use in CRITERIA
    ]
    table = pd.DataFrame(rows, columns=["variant", "metric", "value"])
    return table.assign(low=table.value - 0.1, high=table.value + 0.1)


def test_criteria_stand_beside_the_papers_on_one_scale():
    table = six_ways()
    figure = criteria_bars(table, beside_table5(table, "toy"), {"rec_acc50": "REC", "res_ciou": "RES"})
    left, right = figure.axes
    assert [round(bar.get_height()) for bar in left.patches] == [10, 10, 10, 60, 60, 60]
    assert [round(bar.get_height()) for bar in right.patches] == [20, 20, 20, 70, 70, 70]
    assert left.get_ylim() == right.get_ylim() == (0, 100)
    marks = [line.get_ydata().tolist() for line in left.get_lines() if line.get_marker() == "D"]
    assert marks == [[23.7, 29.8, 67.4], [23.9, 31.3, 87.2]]


def a_sweep() -> Sweep:
    frequency = np.array([[[0.9, 0.5, 0.1]], [[0.2, 1.0, 0.3]], [[1.0, 1.0, 0.0]]])
    heads = ((Head(0, 0),), (Head(0, 1),), (Head(0, 0),))
    return Sweep(np.array([0.0, 0.5, 1.0]), frequency, np.array([3, 3, 2]), np.full(3, 2), heads)


def test_a_sweep_draws_chosen_heads_rivals_and_the_best_of_the_rest():
    axes = frequency_sweep(a_sweep(), (Head(0, 0),), "τ", 0.4, (0.2, 0.6)).axes[0]
    handles, words = axes.get_legend().legend_handles, [t.get_text() for t in axes.get_legend().get_texts()]
    assert words[:2] == ["L0 H0, localization head", "L0 H1"]
    assert {"highest of all other heads", "range the paper examines", "here: 0.4"} <= set(words)
    assert handles[0].get_color() == FOUND != handles[1].get_color()
    curves = [line.get_ydata().tolist() for line in axes.get_lines() if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(curves, [[90, 20, 100], [50, 100, 100], [10, 30, 0]])
    spans = sorted((patch.get_extents().x0, patch.get_extents().x1) for patch in axes.patches)
    assert len(spans) == 2  # the paper's range, and one setting without a choice


def line_table(x: list[float], metric: str, start: float = 0.0) -> pd.DataFrame:
    value = start + np.arange(len(x)) / 10
    return pd.DataFrame(
        {"setting": x, "metric": metric, "value": value, "low": value - 0.1, "high": value + 0.2}
    )


def test_lines_are_sorted_in_per_cent_on_equal_axes():
    table = pd.concat([line_table([3.0, 1.0, 2.0], "rec_acc50"), line_table([5.0], "res_ciou", 0.7)])
    left, right = setting_lines(table, "k", {"rec_acc50": "REC", "res_ciou": "RES"}, {"paper": 3}).axes
    curve = next(line for line in left.get_lines() if line.get_marker() == "o")
    np.testing.assert_allclose(curve.get_xydata(), [[1, 10], [2, 20], [3, 0]])
    band = left.collections[0].get_paths()[0].get_extents()
    np.testing.assert_allclose([band.y0, band.y1], [-10, 40])
    assert left.get_ylim() == right.get_ylim() == (0, 102)
    assert (left.get_title(), right.get_title(), left.get_ylabel()) == ("REC", "RES", "[%]")


def test_every_level_is_a_line_and_the_choice_a_ring_in_both_panels():
    rows = [(sigma, level, sigma / 10 + level / 4) for level in (1.0, 2.0) for sigma in (0.0, 1.0)]
    grid = pd.DataFrame(rows, columns=["sigma", "level", "value"]).assign(low=0.0, high=1.0)
    figure = level_lines({"training": grid, "held out": grid.assign(value=grid.value / 2)}, (1.0, 2.0))
    for axes, scale in zip(figure.axes, (1, 0.5), strict=True):
        lines = [line.get_xydata().tolist() for line in axes.get_lines()]
        np.testing.assert_allclose(lines[0], [[0, 25 * scale], [1, 35 * scale]])
        np.testing.assert_allclose(lines[2], [[1, 60 * scale]])
        assert [text.get_text() for text in axes.texts] == ["1 × mean", "2 × mean"]


def test_every_trial_is_a_dot():
    trials = np.array([[0.9, 0.1], [0.8, 0.2]])
    bars = [Interval(0.7, 1.0), Interval(0.0, 0.3)]
    axes = trial_frequencies([Head(2, 1), Head(3, 0)], trials, bars, [Head(2, 1)]).axes[0]
    dots = [line.get_ydata() for line in axes.get_lines() if line.get_marker() == "."]
    np.testing.assert_allclose(dots, [[90, 80], [10, 20]])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["L2\nH1", "L3\nH0"]
