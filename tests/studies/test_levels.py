"""The number of heads is chosen on one set of expressions and reported on another."""

from __future__ import annotations

import pandas as pd

from locheads.studies.levels import best_numbers


def table(values: list[float]) -> pd.DataFrame:
    rows = pd.DataFrame({"k": [1, 2, 1, 2], "level": [1.0, 1.0, 2.0, 2.0], "value": values})
    return rows.assign(low=rows.value - 5, high=rows.value + 5)


def test_chosen_on_training_and_reported_on_held_out_expressions() -> None:
    best = best_numbers(table([80.0, 70.0, 60.0, 60.0]), table([50.0, 90.0, 40.0, 95.0]))
    assert best.k.tolist() == [1, 1]  # of equal ones the fewer heads
    assert best.value.tolist() == [50, 40]
    assert best.index.tolist() == [1.0, 2.0]
