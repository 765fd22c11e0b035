"""One head, two heads and so on, by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from made_up_profile import made_up

from locheads.evaluation.scores import in_percent
from locheads.method.selection import select_heads
from locheads.studies import numbers


def scored() -> pd.DataFrame:
    values = {"k1": (0.5, 0.6), "k2": (0.7, 0.6), "k3": (0.7, 0.5), "all": (0.9, 0.9)}
    rows = [
        {"variant": name, "metric": metric, "value": value}
        for name, both in values.items()
        for metric, value in zip(("rec_acc50", "res_ciou"), both, strict=True)
    ]
    table = pd.DataFrame(rows)
    return table.assign(low=table.value - 0.1, high=table.value + 0.1)


def test_the_best_number_is_the_fewest_of_equal_ones_and_all_is_no_number() -> None:
    assert numbers.best(scored()) == {"rec_acc50": 2, "res_ciou": 1}


def test_scores_are_written_in_percent_in_the_given_order() -> None:
    text = in_percent(scored(), "variant")
    assert list(text.index) == ["k1", "k2", "k3", "all"]
    assert text.loc["k2", "rec_acc50"] == "70.0 [60.0, 80.0]"


def test_all_combines_the_heads_that_pass() -> None:
    made = made_up()
    selection = select_heads(made.attention_sum.values, made.spatial_entropy.values, k=4)
    variants = numbers.variants_of(selection)
    assert list(variants) == ["k1", "k2", "k3", "k4", "all"]
    assert variants["k2"].heads == selection.heads[:2]
    assert len(variants["all"].heads) == selection.passing.sum()
    assert all(selection.passing[head] for head in variants["all"].heads)


def test_only_the_mean_of_four_heads_is_misprinted() -> None:
    means = numbers.printed_means()
    assert means.loc["k=4"].tolist() == pytest.approx([65.4, 66.63])
    rest = means.drop("k=4")
    assert (rest["printed mean"] - rest["mean of the column"]).abs().max() < 0.06


def test_this_model_stands_below_the_papers() -> None:
    table = numbers.beside_table4(scored(), "specimen")
    assert len(table) == 11 and table.iloc[-1].name == "specimen, here"
    assert table.loc["specimen, here", "k=2"] == pytest.approx(60)
    assert table.loc["LLaVA-1.5-7B", "k=3"] == 74.2


def test_verdicts_follow_the_intervals() -> None:
    gains = pd.DataFrame({"variant": ["k1", "k2", "all"], "low": [0.1, -0.1, -0.5], "high": [0.2, 0.1, -0.3]})
    assert numbers.verdict(gains) == "better than three heads: k1; worse: all"
