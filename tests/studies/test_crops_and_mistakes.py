from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Variant
from locheads.method.geometry import Window
from locheads.method.selection import Head
from locheads.studies.crops import Crops
from locheads.studies.diagnosis import Finding
from locheads.studies.mistakes import beside, everything, shuffled, taken_for_stretched


def crops() -> Crops:
    """Two wide pictures whose object lies at the left: the crop keeps all of it, and a quarter of it."""
    strips = [
        Sample(name, Path("x"), name, "it", (100, 50), box)
        for name, box in (("a", (25.0, 0.0, 75.0, 50.0)), ("b", (0.0, 0.0, 32.0, 50.0)))
    ]
    maps = np.zeros((2, 1, 1, 8, 8))
    maps[:, 0, 0, 3:5, 2:6] = 1
    found = np.array([strip.box for strip in strips])
    missed = np.array([[25.0, 0, 75, 50], [25, 0, 32, 50]])
    return Crops(strips, list(maps), found, missed, np.array([1.0, 7 / 32]))


def test_padded_against_cropped_by_hand():
    table = crops().table()
    assert table.loc["all"].tolist() == [1, 100, 100]
    assert table.loc["less than half"].tolist() == [1, 100, 0]
    assert crops().gain()["value"] == 0.5
    assert crops().hits().cropped.tolist() == [True, False]


def test_padding_taken_for_stretching_is_seen():
    """The padded picture's central rows are the strip: stretched, they are half as high."""
    finding = taken_for_stretched(crops(), Variant((Head(0, 0),), sigma=0.0))
    assert finding.signature == "displaced boxes" and finding.shows


def test_shuffling_keeps_the_values_of_each_sample():
    values = np.random.default_rng(0).random((5, 3, 4))
    found = shuffled(values)
    assert not np.array_equal(found, values)
    np.testing.assert_array_equal(np.sort(found.reshape(5, -1)), np.sort(values.reshape(5, -1)))


def test_everything_is_boxed():
    maps = np.full((1, 1, 8, 8), 0.5)
    maps[0, 0, 0, 0] = 2.0
    size = crops().strips[0].size
    way = everything(Variant((Head(0, 0),), sigma=0.0))
    box = way.ground(maps, Window.stretch(size, (8, 8)), 0).box
    assert box == pytest.approx([0, 0, 100, 50])


def test_mistakes_beside_the_run_without():
    fine = Finding("s", "m", 0.1, 0.2, False, "c")
    shown = Finding("s", "m", 0.5, 0.2, True, "c")
    assert beside({"x": shown}, {"x": fine}).loc["x"].tolist() == ["s", 0.1, 0.5, 0.2, True]
