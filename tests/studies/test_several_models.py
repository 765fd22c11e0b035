"""Several models: pairs of stores, and what is saved."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_up_profile import made_up

from locheads.errors import LocheadsError
from locheads.studies.across_datasets import Hits
from locheads.studies.across_models import accuracies, compared, out_of_line
from locheads.studies.several_models import How, from_stores, summary


@pytest.mark.parametrize("entry", ["one-store", ["one-store"], ["a", "b", "c"]])
def test_an_entry_that_is_no_pair_is_refused_by_name(entry: str | list[str]) -> None:
    with pytest.raises(LocheadsError, match=r"profiles: .*no pair"):
        from_stores([entry], How())


def test_accuracies_by_hand() -> None:
    outcome = Hits(
        {"its heads": np.array([[1.0], [1.0]]), "random": np.array([[1.0, 0.0], [0.0, 0.0]])},
        np.array(["p", "p"]),
    )
    table = accuracies({"m": outcome})
    assert table.loc[("m", "its heads")].tolist() == [100, 100, 100]
    assert table.value["m", "random"] == 25


def test_what_is_saved_names_the_least_rho() -> None:
    models = [compared("a", made_up(), made_up()), compared("b", made_up(seed=1), made_up(seed=1))]
    index = pd.MultiIndex.from_tuples([("a", "its heads")], names=["model", "heads"])
    accuracy = pd.DataFrame({"value": [80.0], "low": [70.0], "high": [90.0]}, index=index)
    saved = summary(models, accuracy, 40, 40)
    assert saved["spearman_rho"] == models[0].correlation.rho
    assert saved["least_spearman_rho"] == min(one.correlation.rho for one in models)
    assert saved["rec_acc50_val"] == [
        {"model": "a", "heads": "its heads", "value": 0.8, "low": 0.7, "high": 0.9}
    ]


def test_heads_out_of_line_are_listed_in_percent() -> None:
    one = compared("a", made_up(), made_up())
    table = out_of_line({"a": one}, {"a": np.full(one.iou.shape, 0.5)})
    first = one.selection.heads[0]
    assert table.loc[("a", "localization", str(first)), "frequency [%]"] == pytest.approx(
        100 * one.selection.frequency[first]
    )
    assert (table["alike"] == 0.5).all() and len(table) == 6
