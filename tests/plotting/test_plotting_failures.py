from __future__ import annotations

import numpy as np
import pandas as pd

from locheads.plotting.failures import kind_bars, rate_panels, transfer_matrix
from locheads.plotting.groups import group_bars
from locheads.studies.failures import KINDS


def test_the_matrix_has_found_down_and_used_across():
    rows = [("a", "a", 0.9), ("b", "a", 0.1), ("a", "b", 0.5), ("b", "b", 0.7)]
    table = pd.DataFrame(rows, columns=["found", "used", "value"]).assign(low=0.0, high=1.0)
    axes = transfer_matrix(table, "Acc@0.5").axes[0]
    words = [text.get_text() for text in axes.texts]
    assert words == [f"{v}\n[0, 100]" for v in (90, 50, 10, 70)]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("found on", "used on")


def test_a_star_marks_what_survives_and_correlations_stay_as_they_are():
    rows = [("a", "a", 0.9, np.nan), ("b", "a", 0.1, True), ("a", "b", 0.5, False), ("b", "b", 0.7, np.nan)]
    table = pd.DataFrame(rows, columns=["found", "used", "value", "survives"]).assign(low=0.0, high=1.0)
    words = [text.get_text()[:4] for text in transfer_matrix(table, "ρ", percent=False).axes[0].texts]
    assert words == ["0.90", "0.50", "0.10", "0.70"]
    starred = [text.get_text().split()[0] for text in transfer_matrix(table, "%").axes[0].texts]
    assert starred == ["90", "50", "10*", "70"]


def test_a_bar_a_group_with_its_number_of_samples():
    rates = pd.DataFrame(
        {"samples": [19, 20], "value": [0.2, 0.6], "low": 0.1, "high": 0.7}, index=["x", "y"]
    )
    first, second = rate_panels({"one": rates, "two": rates}, "Acc@0.5", columns=1).axes
    assert [bar.get_height() for bar in first.patches] == [20, 60]
    assert [bool(bar.get_hatch()) for bar in first.patches] == [True, False]
    assert [tick.get_text() for tick in second.get_xticklabels()] == ["x\nn = 19", "y\nn = 20"]


def test_kinds_are_stacked():
    shares = pd.DataFrame([[0.5, 0.25, 0.25, 0.0], [0.25, 0.0, 0.25, 0.5]], columns=KINDS, index=["2", "3"])
    axes = kind_bars(shares, [4, 40], "objects").axes[0]
    tops = np.array([bar.get_y() + bar.get_height() for bar in axes.patches]).reshape(4, 2)
    np.testing.assert_allclose(tops, [[50, 25], [75, 25], [100, 50], [100, 100]])
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [True, False] * 4


def test_grouped_bars_are_in_per_cent_with_small_groups_hatched():
    rows = [("x", "one", 0.2, 5), ("x", "two", 0.4, 5), ("y", "one", 0.6, 50), ("y", "two", 0.8, 50)]
    table = pd.DataFrame(rows, columns=["group", "way", "value", "samples"]).assign(low=0.1, high=0.9)
    figure = group_bars(table, "way", "score [%]")
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.patches] == [20, 60, 40, 80]
    assert [bool(bar.get_hatch()) for bar in axes.patches] == [True, False, True, False]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["x\nn = 5", "y\nn = 50"]
    assert [text.get_text() for text in figure.legends[0].texts] == ["one", "two", "fewer than 20 samples"]
