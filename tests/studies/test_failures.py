from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from locheads.studies.failures import (
    counts,
    covered,
    kind_of,
    rates,
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
