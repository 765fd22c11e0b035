from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from locheads.data import readable
from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.evaluation.evaluate import Variant, boxes_of
from locheads.method.geometry import Window
from locheads.method.selection import Head, select_heads
from locheads.model.lvlm import Lvlm
from locheads.studies.across_datasets import Hits, frequency_agreement, hits, shared_heads, transfer

HERE, THERE = Head(0, 0), Head(1, 1)


class Stretching(Lvlm):
    """No model, only its window."""

    def __init__(self) -> None: ...

    def window(self, size: tuple[int, int]) -> Window:
        return Window.stretch(size, (8, 8))


def maps_that_look(samples: int) -> np.ndarray:
    """Two layers of two heads on 8 × 8 cells: one head looks at the object, all others at a corner."""
    maps = np.zeros((samples, 2, 2, 8, 8))
    maps[..., 6:, 6:] = 1
    maps[:, 0, 0] = 0
    maps[:, 0, 0, 1:4, 1:4] = 1
    return maps


def selection_of(planted: tuple[int, int, int], seed: int = 0):
    rng = np.random.default_rng(seed)
    sums = np.sort(rng.random(32)).reshape(4, 8) ** 4 + 0.01 * rng.random((40, 4, 8))
    entropies = rng.random((40, 4, 8))
    for head in planted:
        entropies[:, 3, head] = -1.0
    return select_heads(sums, entropies, kept=4)


def test_hits_of_own_and_random_heads():
    """Smoothing widens the 3 × 3 cells that the head looks at by one cell on each side."""
    dims = ("sample", "layer", "head", "row", "column")
    samples = [Sample(n, Path("x"), n, "it", (80, 80), (0.0, 0.0, 50.0, 50.0)) for n in ("a", "b")]
    measured = xr.Dataset({"maps": (dims, maps_that_look(2))})
    found = {"one": [(HERE,)], "two": [(THERE,)], "random": [(HERE,), (THERE,)]}
    outcome = hits(Stretching(), samples, measured, found)
    assert outcome.pictures.tolist() == ["a", "b"]
    assert {name: right[0].tolist() for name, right in outcome.right.items()} == {
        "one": [1.0],
        "two": [0.0],
        "random": [1.0, 0.0],
    }


def test_boxes_of_one_way():
    windows = [Window.stretch((80, 80), (8, 8)), Window.stretch((160, 160), (8, 8))]
    boxes = boxes_of(Variant((HERE,), sigma=0.0), iter(maps_that_look(2)), windows)
    np.testing.assert_allclose(boxes, [[10, 10, 40, 40], [20, 20, 80, 80]])
    with pytest.raises(ValueError, match="zip"):
        boxes_of(Variant((HERE,)), iter(maps_that_look(1)), windows)


def test_transfer_by_hand():
    first = {"a": np.array([[1.0], [1], [0], [0]]), "b": np.array([[1.0], [0], [0], [0]])}
    used = {
        "a": Hits(first, np.arange(4)),
        "b": Hits({"a": np.ones((1, 1)), "b": np.ones((1, 1))}, np.arange(1)),
    }
    table = transfer(used).set_index(["found", "used"])
    assert table.value["b", "a"] == 0.25 and table.gain["b", "a"] == -0.25
    assert table.gain_low["b", "a"] < table.gain_high["b", "a"] <= 0
    assert (table.loc[[("a", "a"), ("b", "b")], ["gain", "gain_low", "gain_high"]] == 0).all(axis=None)


def test_shared_heads_are_counted():
    shared = shared_heads({"a": selection_of((5, 6, 7)), "b": selection_of((4, 6, 7), seed=1)})
    assert shared.loc["a", "a"] == 3 and shared.loc["a", "b"] == shared.loc["b", "a"] == 2


def test_halves_of_a_set_are_the_yardstick():
    a, b = selection_of((5, 6, 7)), selection_of((5, 6, 7))
    found = frequency_agreement({"a": a, "b": b}).set_index(["first", "second"])
    assert list(found.index) == [("a", "a"), ("a", "b"), ("b", "b")]
    assert found.rho["a", "b"] == pytest.approx(1)  # the same draws
    assert found.rho["a", "a"] < 1 and found.heads["a", "a"] <= (a.frequency > 0).sum()


def test_what_is_not_there_is_left_out(tmp_path, capsys):
    with pytest.raises(LocheadsError, match="none of refcoco, png is there"):
        readable(tmp_path, ["refcoco", "png"], ["train"])
    assert "refcoco is left out: " in capsys.readouterr().out


def test_the_draw_of_random_heads_is_in_the_interval():
    right = {"a": np.ones((40, 1)), "random": np.tile([[0.0, 1.0] * 15], (40, 1))}
    row = transfer({"a": Hits(right, np.arange(40))}).set_index("found").loc["random"]
    assert row.value == 0.5 and row.low < 0.35 and row.high > 0.65
