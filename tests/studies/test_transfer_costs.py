from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from locheads.studies.across_datasets import Hits, by_style, mirrored, transfer
from locheads.studies.transfer_costs import costs, mean_cost


def used_on() -> dict[str, Hits]:
    """Heads of `a` and `b` are equally good on `a`; on `b` those of `a` are right in half of the samples."""
    ones, half = np.ones((40, 1)), np.tile([[1.0], [0.0]], (20, 1))
    nothing = np.zeros((40, 2))
    return {
        "a": Hits({"a": ones, "b": ones, "random": nothing}, np.arange(40)),
        "b": Hits({"a": half, "b": ones, "random": nothing}, np.arange(40)),
    }


def test_costs_by_hand():
    right = used_on()
    found = costs(right, transfer(right))
    assert (found.foreign_mean, found.random_mean) == (-0.25, -1.0)
    assert found.foreign_interval.low < -0.25 < found.foreign_interval.high < 0
    pairs = found.foreign.set_index(["found", "used"])
    assert np.isnan(pairs.p["b", "a"]) and not pairs.survives["b", "a"]  # no box differs: no comparison
    assert pairs.survives["a", "b"]
    assert str(found).startswith("2 pairs of sets, 1 differ on some expression; by chance 0.1")
    numbers = found.numbers()
    assert (numbers["pairs_of_sets"], numbers["pairs_that_differ"], numbers["pairs_that_survive"]) == (
        2,
        1,
        1,
    )
    assert numbers["largest_cost_of_foreign_heads"] == 0.5 == -2 * found.foreign_mean


def test_the_mean_by_set_shows_which_pays():
    right = used_on()
    table = mean_cost(costs(right, transfer(right)).foreign)
    assert table["foreign heads used on it"].to_dict() == {"a": 0.0, "b": -50.0}
    assert table["its heads used elsewhere"].to_dict() == {"a": -50.0, "b": 0.0}


def test_agreement_by_style():
    rows = [("x", "x", 0.9), ("x", "y", 0.7), ("x", "reasonseg", 0.3), ("y", "reasonseg", 0.5)]
    agreement = pd.DataFrame(rows, columns=["first", "second", "rho"]).assign(low=0.0, high=1.0)
    found = by_style(agreement)
    assert found.loc["implicit against referring", ["pairs", "least", "mean", "largest"]].tolist() == (
        pytest.approx([2, 0.3, 0.4, 0.5])
    )
    assert found.loc["halves of one set", "mean"] == 0.9 and found.loc["two referring sets", "mean"] == 0.7
    assert len(mirrored(agreement)) == 4 + 3
