from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from locheads.data.samples import Sample
from locheads.studies.failure_cases import box_cases
from locheads.studies.failures import (
    KINDS,
    counts,
    covered,
    grouped,
    hull_table,
    in_percent,
    kind_of,
    rates,
    shares_of_kinds,
    solidity,
    swallowed,
)

NOTHING = np.zeros((0, 4))


def box(*sides: float) -> np.ndarray:
    return np.array(sides, float)


@pytest.mark.parametrize("text", ["The second star", "odd one out", "3rd from left", "two cats", "12th man"])
def test_counting_is_told_by_words(text):
    assert counts(text)


@pytest.mark.parametrize("text", ["the red ring", "a seconds-hand", "someone", "a stone", "left"])
def test_other_words_do_not_count(text):
    assert not counts(text)


def test_solidity_by_hand():
    full = np.zeros((20, 20), bool)
    full[4:14, 5:15] = True
    assert solidity(full) == 1
    ring = full.copy()
    ring[6:12, 7:13] = False
    assert solidity(ring) == pytest.approx(64 / 100)
    bracket = full.copy()
    bracket[6:12, 7:] = False  # open to the right; its hull is the square
    assert solidity(bracket) == pytest.approx((100 - 6 * 8) / 100)
    two = np.zeros((20, 20), bool)
    two[0, 0] = two[0, 9] = True
    assert solidity(two) == pytest.approx(2 / 10)


def test_covered_by_hand():
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [3, 3, 3, 9]], float)
    np.testing.assert_allclose(covered(boxes, box(0, 0, 10, 10)), [1, 0.5, 0, 0])


def test_every_kind_of_box():
    true, other = box(0, 0, 10, 10), np.array([[20, 0, 30, 10]], float)
    assert kind_of(box(0, 0, 10, 12), true, other) == "hit"
    assert kind_of(box(0, 0, 30, 10), true, other) == "merged"
    assert kind_of(box(19, 0, 30, 10), true, other) == "rival"
    assert kind_of(box(0, 0, 25, 25), true, other) == "merged"  # half of the other
    assert kind_of(box(0, 0, 24, 24), true, other) == "off"  # less than half of it
    assert kind_of(box(0, 0, 30, 30), true, NOTHING) == "off"


def test_what_the_true_box_holds_is_not_swallowed():
    """A hat on a head: the true box of the person covers the hat, so any good box does."""
    true, hat = box(0, 0, 10, 20), np.array([[2, 0, 8, 4]], float)
    assert not swallowed(box(0, 0, 40, 20), true, hat)
    assert not swallowed(box(20, 0, 40, 20), true, np.array([[21, 0, 39, 19]], float))  # a rival alone


def test_rates_by_hand():
    table = pd.DataFrame(
        {"group": ["a", "a", "b", "b"], "hit": [True, False, True, True], "image_id": list("pqrs")}
    )
    found = rates(table, "group")
    assert list(found.samples) == [2, 2] and list(found.value) == [0.5, 1.0]
    assert (found.loc["b", ["low", "high"]] == 1).all()
    assert found.loc["a", "low"] == 0 and found.loc["a", "high"] == 1


def anatomy() -> pd.DataFrame:
    kinds = ["hit", "merged", "rival", "hit", "off", "hit"]
    return pd.DataFrame(
        {"kind": kinds, "counting": [True] + [False] * 5, "objects": [2, 3, 9, 2, 3, 6],
         "solidity": [0.6, 0.7, 0.8, 0.9, 0.95, 1.0], "cells": [6, 5, 4, 3, 2, 1],
         "margin": [0.0, 0.5, 1.0, 2.0, 3.0, 4.0], "mask_iou": 0.5, "true_box_iou": 0.75}
    )  # fmt: skip


def test_groups_of_each_property():
    table = grouped(anatomy())
    assert table["expression"].tolist() == ["counts"] + ["does not"] * 5
    assert table["shape"].tolist() == ["< 0.7"] * 2 + ["0.7–0.9"] * 2 + ["> 0.9"] * 2
    assert table["size"].tolist() == ["large"] * 2 + ["middle"] * 2 + ["small"] * 2
    assert table["company"].tolist() == ["2", "3", "6 or more", "2", "3", "6 or more"]
    assert table["border"].tolist() == ["at the border"] * 2 + ["inside"] * 4
    assert table.hit.sum() == 3 and table.merged.sum() == 1


def test_shares_of_kinds_add_up():
    table = grouped(anatomy())
    assert shares_of_kinds(table).loc["all"].tolist() == pytest.approx([3 / 6, 1 / 6, 1 / 6, 1 / 6])
    by_company = shares_of_kinds(table, "company")
    assert list(by_company.columns) == list(KINDS) and by_company.loc["2", "hit"] == 1
    assert (by_company.sum(axis=1) == 1).all()


def test_hulls_and_masks_in_per_cent():
    table = hull_table(grouped(anatomy()))
    assert table.loc["< 0.7"].tolist() == pytest.approx([65, 75, 50, 2])


def test_rates_in_percent():
    table = pd.DataFrame({"samples": [4], "value": [0.5], "low": [0.25], "high": [1.0]})
    assert in_percent(table).loc[0].tolist() == [4, 50, 25, 100]


def test_cases_of_each_kind_in_the_order_wanted(monkeypatch):
    monkeypatch.setattr(Sample, "image", property(lambda self: Image.new("RGB", self.size)))
    samples = [Sample(n, Path("x"), n, n, (9, 9), (0.0, 0.0, 3.0, 3.0)) for n in "abcd"]
    boxes = np.arange(16, dtype=float).reshape(4, 4)
    kinds = ["hit", "off", "merged", "off"]
    cases = box_cases(samples, boxes, {"c": [(1.0, 1.0, 2.0, 2.0)]}, kinds, {"merged": 1, "off": 1})
    assert [case[1] for case in cases] == ["c (merged)", "b (off)"]
    assert cases[0][3].tolist() == [8, 9, 10, 11] and cases[0][4].shape == (1, 4)
    assert cases[1][4].shape == (0, 4)
