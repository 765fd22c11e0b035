"""Figures of arms against values computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.studies import arms
from locheads.studies.arms import Measured, compared, half_way, half_ways, own_ious


def found(**changed: np.ndarray) -> dict[str, np.ndarray]:
    """Four heads in two layers; the first of the second layer is the best on training expressions."""
    return {
        "attention_sum": np.array([[0.1, 0.2], [0.4, 0.6]]),
        "spatial_entropy": np.ones((2, 2)),
        "frequency": np.array([[0.02, 0.3], [0.9, 0.5]]),
        "threshold": np.array(0.15),
        "iou_train": np.array([[0.1, 0.2], [0.5, 0.4]]),
        "iou": np.array([[0.1, 0.2], [0.45, 0.5]]),
        "box_iou": np.array([0.6, 0.5, 0.4, 0.0]),
        "box_iou_best": np.array([0.6, 0.1, 0.4, 0.0]),
        "answers": np.array([True, True, False, True]),
        "image": np.array(["1", "1"]),
        "said": np.array(["ring 0 6 12 18", "star top left"]),
    } | changed


def test_figures_by_hand() -> None:
    """Ranks of frequency 1 2 4 3 and of IoU 1 2 3 4: the squared differences add up to 2, ρ = 1 − 12/60."""
    figures = Measured("places", 0, 10, found()).figures()
    assert figures == pytest.approx(
        {
            "answers": 0.75,
            "best head's IoU": 0.45,
            "three heads": 0.5,
            "best head": 0.25,
            "ρ": 0.8,
            "chosen heads": 4,
            "median attention sum": 0.3,
            "threshold": 0.15,
        }
    )
    few = found(frequency=np.array([[0.0, 0.0], [1.0, 1.0]]))
    assert np.isnan(Measured("places", 0, 10, few).figures()["ρ"])


def test_half_way_counts_the_last_passage() -> None:
    steps = np.array([0.0, 10, 20, 30, 40])
    assert half_way(steps, np.array([0.0, 0.8, 0.2, 0.6, 1.0])) == pytest.approx(27.5)
    assert half_way(steps, np.array([0.0, 0.1, 0.5, 0.7, 0.9]), start=0.5) == pytest.approx(30.0)
    assert half_way(steps, np.array([1.0, 0.9, 0.4, 0.1, 0.0])) == pytest.approx(18.0)


def test_half_ways_by_seed() -> None:
    rows = pd.DataFrame(
        {"seed": [0, 0, 1, 1], "step": [0, 100, 0, 100], "a": [0.0, 1, 0, 2], "b": [0.0, 1, 1, 3]}
    )
    assert half_ways(rows, {"a": None, "b": None}).to_dict() == {
        "a": {0: 50.0, 1: 50.0},
        "b": {0: 50.0, 1: 50.0},
    }


def sample(box: tuple[float, float, float, float]) -> Sample:
    return Sample("1", Path("1.png"), "1", "ring.", (240, 240), tuple(map(float, box)))


def test_a_stated_box_counts_patches_and_two_words_name_a_region() -> None:
    """Numbers 0 6 12 18 of 24 patches in 240 pixels; the top left region ends at 0.4 of the side."""
    truth = [sample((0, 60, 120, 180)), sample((0, 0, 48, 96))]
    ious = own_ious(Measured("boxes", 0, 10, found()), truth)
    assert ious == pytest.approx([1.0, 0.5])
    silent = found(said=np.array(["ring", ""]))
    assert own_ious(Measured("words", 0, 10, silent), truth) == pytest.approx([0.0, 0.0])


def test_other_samples_are_refused() -> None:
    with pytest.raises(LocheadsError, match="other samples"):
        own_ious(Measured("boxes", 0, 10, found(image=np.array(["1", "2"]))), [sample((0, 0, 9, 9))] * 2)


def test_equal_arms_do_not_differ_and_a_shift_is_found() -> None:
    rng = np.random.default_rng(0)
    values = rng.random((3, 200))
    hits = {"a": values, "b": values.copy(), "c": values + 0.25}
    rows = compared(hits, np.arange(200) // 2, "a")
    assert rows.loc["b", ["difference", "from", "to"]].abs().max() < 1e-12
    assert rows.loc["c", ["difference", "from", "to"]].tolist() == pytest.approx([0.25] * 3)
    assert rows.loc["a", "value"] == pytest.approx(values.mean())
    assert rows.loc["a", "low"] < values.mean() < rows.loc["a", "high"]


def test_seeds_that_differ_widen_the_interval() -> None:
    values = np.tile([[0.2], [0.5], [0.8]], 100)
    rows = compared({"a": values}, np.arange(100), "a")
    assert rows.loc["a", "high"] - rows.loc["a", "low"] > 0.3


def test_decoders_that_are_not_finished_are_left_out(tmp_path: Path) -> None:
    for name in ("words-0-00000", f"places-1-{arms.STEPS:05}", "places-1-00250", "places-10-00250"):
        np.savez(tmp_path / f"{name}.npz", **found())
    read = arms.read(tmp_path)
    assert [(one.arm, one.seed, one.step) for one in read] == [("places", 1, 250), ("places", 1, arms.STEPS)]
    assert read[0].figures()["answers"] == 0.75


def test_no_records_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LocheadsError, match="train arms"):
        arms.read(tmp_path)
