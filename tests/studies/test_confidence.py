"""Signals of confidence on maps made by hand, and their comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.method.geometry import Window
from locheads.plotting import confidence as figures
from locheads.studies import confidence
from locheads.studies.confidence import AGREEMENT, SIZE


def sample(name: str, box: tuple[float, float, float, float] | None) -> Sample:
    return Sample(name, Path("x"), name, f"the {name}", (120, 120), box)


def spot(row: int, column: int, side: int = 4) -> np.ndarray:
    one = np.zeros((12, 12))
    one[row : row + side, column : column + side] = 1 / side**2
    return one


def window_of(size: tuple[int, int]) -> Window:
    return Window.stretch(size, (12, 12))


SAMPLES = [sample("a", (30.0, 30.0, 90.0, 90.0)), sample("b", (0.0, 0.0, 20.0, 20.0)), sample("c", None)]
MAPS = [
    np.stack([spot(4, 4)] * 3),
    np.stack([spot(1, 1), spot(7, 7), spot(7, 1)]),
    np.stack([spot(3, 3, 7)] * 3),
]


def test_signals_of_equal_and_of_scattered_maps() -> None:
    table = confidence.signals_of(SAMPLES, MAPS, window_of)
    assert table.hit.tolist() == [True, False, False] and np.isnan(table.box_iou[2])
    assert table[AGREEMENT].tolist() == pytest.approx([1, 0, 1], abs=1e-9)
    assert (
        table["correlation of the maps"][0] == pytest.approx(1) and table["correlation of the maps"][1] < 0.3
    )
    assert table["agreement of the masks"].tolist() == pytest.approx([1, 0, 1], abs=0.05)
    assert table["attention sum"].tolist() == pytest.approx([1, 1, 1])
    assert table["low spatial entropy"].tolist() == pytest.approx([0, 0, 0])  # one component in each map
    assert table["mass in the box"][0] > 0.9 and table["mass in the box"][1] < 0.5
    assert table[SIZE][2] < table[SIZE][0] < 0


def test_one_head_has_nothing_to_agree_with() -> None:
    with pytest.raises(LocheadsError, match="k = 1: agreement takes at least two heads"):
        confidence.signals_of(SAMPLES[:1], [MAPS[0][:1]], window_of)


def table_of(good: np.ndarray, poor: np.ndarray, hit: np.ndarray) -> pd.DataFrame:
    names = [f"p{number // 2}" for number in range(len(hit))]
    return pd.DataFrame({"image_id": names, "hit": hit, "good": good, "poor": poor, SIZE: poor})


def planted(n: int = 200) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    hit = rng.random(n) < 0.7
    return table_of(hit + rng.normal(0, 0.4, n), rng.random(n), hit)


def test_a_planted_signal_is_found_and_noise_is_not() -> None:
    found = confidence.aurocs({"here": planted()}, ["good", "poor"]).set_index("signal")
    assert found.low["good"] > 0.85 and found.low["poor"] < 0.5 < found.high["poor"]
    assert found.samples["good"] == 200 and found.misses["good"] == (~planted().hit).sum()
    said = confidence.verdicts(found.reset_index())
    assert said[0].startswith("good tells hits from misses: AUROC 9")
    assert said[1].startswith("poor cannot be told from chance") and said[1].endswith("(here)")
    ahead = confidence.gain(planted(), "good", "poor")
    assert ahead["low"] > 0.2 and ahead["value"] == pytest.approx(found.value["good"] - found.value["poor"])


def test_where_all_miss_nothing_is_said_of_the_signals() -> None:
    misses = planted(20).assign(hit=False)
    found = confidence.aurocs({"here": misses}, ["good"])
    assert confidence.verdicts(found) == ["good: AUROC not defined, 20 of 20 miss (here)"]
    assert confidence.points(confidence.gain(misses, "good", "poor")) == "not defined"
    assert confidence.points({"value": 0.05, "low": -0.01, "high": 0.125}) == "+5.0 points [-1.0, +12.5]"


def test_parts_of_like_size_hold_the_smallest_boxes_first() -> None:
    hit = np.array([True, False, True, True, False, True])
    size = np.array([-1.0, -2.0, -9.0, -3.0, -8.0, -7.0])  # less is larger
    parts = confidence.within_sizes(table_of(np.arange(6.0), size, hit), "good", 2)
    assert parts.boxes.tolist() == [3, 3] and parts.misses.tolist() == [1, 1]
    assert parts.AUROC.tolist() == [0.5, 0.5]  # misses score 1 among 0, 1, 3 and 4 among 2, 4, 5


def test_random_maps_know_nothing() -> None:
    hit = np.random.default_rng(1).random(60) < 0.6
    found = confidence.random_aurocs(hit, (8, 8), 3, draws=8)
    assert len(found) == 8 and abs(found.mean() - 0.5) < 0.1


def test_the_four_cases_are_the_extremes() -> None:
    rows = {"box_iou": [0.9, 0.8, 0.1, 0.2], AGREEMENT: [0.9, 0.3, 0.8, 0.1]}
    table = pd.DataFrame(rows).assign(hit=lambda t: t.box_iou >= 0.5)
    some = [Drawn(name, Path("x"), name, name, (120, 120), (0.0, 0.0, 9.0, 9.0)) for name in "abcd"]
    cases = confidence.four_cases(some, [MAPS[0]] * 4, window_of, table)
    assert [title.split("\n")[0] for _, title, *_ in cases] == ["a", "b", "d", "c"]
    np.testing.assert_allclose(cases[0][2], np.repeat(cases[0][3][None], 3, axis=0))  # single boxes in pixels
    axes = figures.single_boxes(cases).axes
    assert len(axes) == 4 and len(axes[0].patches) == 5


class Drawn(Sample):
    @property
    def image(self) -> Image.Image:
        return Image.new("RGB", self.size)
