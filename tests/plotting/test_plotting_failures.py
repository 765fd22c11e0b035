from __future__ import annotations

import numpy as np
import pandas as pd

from locheads.plotting.failures import kind_bars, rate_panels, transfer_matrix
from locheads.studies.failures import KINDS


def test_the_matrix_has_found_down_and_used_across():
    rows = [("a", "a", 0.9), ("b", "a", 0.1), ("a", "b", 0.5), ("b", "b", 0.7)]
    table = pd.DataFrame(rows, columns=["found", "used", "value"]).assign(low=0.0, high=1.0)
    axes = transfer_matrix(table, "Acc@0.5").axes[0]
    words = [text.get_text() for text in axes.texts]
    assert words == [f"{v:.2f}\n[0.00, 1.00]" for v in (0.9, 0.5, 0.1, 0.7)]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("found on", "used on")


def test_a_bar_a_group_with_its_number_of_samples():
    rates = pd.DataFrame({"samples": [3, 4], "value": [0.2, 0.6], "low": 0.1, "high": 0.7}, index=["x", "y"])
    first, second = rate_panels({"one": rates, "two": rates}, "Acc@0.5", columns=1).axes
    assert [bar.get_height() for bar in first.patches] == [0.2, 0.6]
    assert [tick.get_text() for tick in second.get_xticklabels()] == ["x\nn = 3", "y\nn = 4"]


def test_kinds_are_stacked():
    shares = pd.DataFrame([[0.5, 0.25, 0.25, 0.0], [0.25, 0.0, 0.25, 0.5]], columns=KINDS, index=["2", "3"])
    axes = kind_bars(shares, [4, 4], "objects").axes[0]
    tops = np.array([bar.get_y() + bar.get_height() for bar in axes.patches]).reshape(4, 2)
    np.testing.assert_allclose(tops, [[0.5, 0.25], [0.75, 0.25], [1, 0.5], [1, 1]])
