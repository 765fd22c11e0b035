from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from locheads.data.samples import Sample, encode_mask, tight_box
from locheads.studies.failures import (
    central_square,
    counts,
    covered,
    cut,
    kind_of,
    oblong,
    rates,
    solidity,
    swallowed,
)

NOTHING = np.zeros((0, 4))


def box(*sides: float) -> np.ndarray:
    return np.array(sides, float)


def sample(tmp_path, mask: np.ndarray) -> Sample:
    """A picture whose pixel values tell their place, with this mask."""
    height, width = mask.shape
    y, x = np.mgrid[:height, :width]
    Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8)).save(tmp_path / "a.png")
    found = tight_box(mask)
    return Sample("s", tmp_path / "a.png", "i", "it", (width, height), found, encode_mask(mask))


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
    table = pd.DataFrame({"group": ["a", "a", "b", "b"], "hit": [True, False, True, True]})
    found = rates(table, "group")
    assert list(found.samples) == [2, 2] and list(found.value) == [0.5, 1.0]
    assert (found.loc["b", ["low", "high"]] == 1).all()
    assert found.loc["a", "low"] == 0 and found.loc["a", "high"] == 1


def test_a_cut_shows_the_same_pixels(tmp_path):
    mask = np.zeros((30, 30), bool)
    mask[10:20, 12:16] = True
    part = cut(sample(tmp_path, mask), (14, 5, 30, 15), "part").checked()
    assert part.size == (16, 10) and part.box == (0, 5, 2, 10)
    np.testing.assert_array_equal(part.mask, mask[5:15, 14:])
    assert np.array(part.image)[3, 2, :2].tolist() == [16, 8]
    assert part.sample_id == "s-part" and part.image_id != "i"


def test_a_cut_without_the_object_has_neither_box_nor_mask(tmp_path):
    mask = np.zeros((30, 30), bool)
    mask[:5, :5] = True
    part = cut(sample(tmp_path, mask), (10, 10, 20, 20), "part")
    assert part.box is None and part.mask is None


@pytest.mark.parametrize(("rows", "top"), [((0, 6), 0), ((24, 30), 10), ((12, 18), 5), ((5, 25), 5)])
def test_a_strip_holds_the_whole_object(tmp_path, rows, top):
    mask = np.zeros((30, 30), bool)
    mask[slice(*rows), 3:9] = True
    strip = oblong(sample(tmp_path, mask))
    assert strip.size == (30, 20) and strip.mask.sum() == mask.sum()
    assert strip.box == (3, rows[0] - top, 9, rows[1] - top)


def test_what_has_no_strip(tmp_path):
    high = np.zeros((30, 30), bool)
    high[2:28, 3:9] = True
    assert oblong(sample(tmp_path, high)) is None
    wide = sample(tmp_path, np.ones((20, 30), bool))
    assert oblong(wide) is wide
    assert central_square(wide) == (5, 0, 25, 20)
