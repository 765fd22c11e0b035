from __future__ import annotations

import numpy as np
import pandas as pd

from locheads.plotting import confidence as figures


def test_dots_are_in_per_cent_one_row_per_signal() -> None:
    rows = [(d, s, v) for s, v in (("good", 0.9), ("poor", 0.5)) for d in ("one", "two")]
    table = pd.DataFrame(rows, columns=["dataset", "signal", "value"]).assign(low=0.4, high=0.95)
    axes = figures.auroc_dots(table).axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["poor", "good"]
    drawn = {line.get_label(): list(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2}
    assert drawn["one"] == drawn["two"] == [90, 50]


def test_risk_ends_at_the_share_of_misses_and_the_best_order_is_never_above() -> None:
    wrong = np.arange(20) % 4 == 0
    axes = figures.risk_coverage({"agreement": np.arange(20.0)}, wrong).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axes.lines}
    assert lines["agreement"][-1] == lines["best possible order"][-1] == 25
    assert (lines["best possible order"] <= lines["agreement"] + 1e-9).all()
    assert lines["best possible order"][0] == 0


def test_reliability_has_a_panel_per_prediction() -> None:
    bins = pd.DataFrame({"predicted": [0.2, 0.8], "value": [0.3, 0.9], "low": 0.1, "high": 1.0})
    first, second = figures.reliability_panels({"one": bins, "both": bins}).axes
    assert [first.get_title(), second.get_title()] == ["one", "both"]
    assert first.lines[1].get_xdata().tolist() == [20, 80]


def test_cumulative_shares_reach_the_whole_group() -> None:
    axes = figures.cumulative({"hits": np.array([0.5, 0.75])}, "agreement", 0.6).axes[0]
    assert axes.lines[0].get_ydata().tolist() == [0, 50, 100, 100]
    assert axes.lines[1].get_xdata()[0] == 0.6
    groups = {"hits": np.zeros(0), "misses": np.array([0.5, 0.75])}
    axes = figures.cumulative(groups, "agreement", float("nan")).axes[0]
    assert [line.get_label() for line in axes.lines] == ["misses"]  # no hit, and so no threshold
