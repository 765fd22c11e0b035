from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from PIL import Image

from locheads.data.samples import Sample
from locheads.method.selection import Head
from locheads.model.loading import load_lvlm
from locheads.studies import smoothing

HEADS = (Head(0, 1), Head(1, 0))


def scene(tmp_path: Path, side: float, name: str = "a", start: float = 0.0) -> Sample:
    Image.new("RGB", (120, 120)).save(tmp_path / f"{name}.png")
    return Sample(
        name,
        tmp_path / f"{name}.png",
        name,
        f"the {name}",
        (120, 120),
        (start, start, start + side, start + side),
    )


def maps_of_a_square() -> xr.Dataset:
    """Both heads see a bright square of eight cells a side, one of them in a dim one of twenty."""
    maps = np.zeros((1, 2, 2, 24, 24), np.float32)
    maps[0, 0, 1, 2:22, 2:22] = 0.2
    maps[0, :, :, 8:16, 8:16] = 1
    return xr.Dataset({"maps": (("sample", "layer", "head", "row", "column"), maps)})


def test_variants_of_table_8_hold_the_papers_setting_once():
    variants = smoothing.smoothing_variants(HEADS, [0.0, 1.8], [1, 7])
    assert list(variants) == ["sigma0.0_kernel7", "sigma1.8_kernel7", "sigma1.0_kernel7", "sigma1.0_kernel1"]
    assert (variants["sigma1.0_kernel1"].sigma, variants["sigma1.0_kernel1"].kernel) == (1.0, 1)
    table = pd.DataFrame({"variant": list(variants), "metric": "rec_acc50", "value": [0.1, 0.2, 0.3, 0.4]})
    assert smoothing.along(table, variants, "sigma")[["setting", "value"]].to_numpy().tolist() == [
        [0.0, 0.1],
        [1.0, 0.3],
        [1.8, 0.2],
    ]
    assert smoothing.along(table, variants, "kernel").setting.to_list() == [1, 7]


def test_a_higher_level_gives_the_bright_square_and_a_lower_one_the_border(tmp_path):
    sample = scene(tmp_path, 40.0, start=40.0)
    grid = smoothing.by_level(load_lvlm(), [sample], maps_of_a_square(), HEADS, [0.0], [0.5, 2.0])
    assert grid.level.to_list() == [0.5, 2.0]
    assert grid.value.to_list() == [0, 1]
    assert grid.area.to_list() == [6.25, 1]  # twenty cells a side against eight
    assert smoothing.best_of(grid).level == 2.0


def test_median_areas_and_the_extreme_samples(tmp_path):
    samples = [scene(tmp_path, 10.0, "a"), scene(tmp_path, 20.0, "b")]
    boxes = [(0, 0, 10, 10), (0, 0, 10, 20), (0, 0, 10, 10), (0, 0, 20, 20), (0, 0, 20, 80), (0, 0, 20, 20)]
    outcomes = pd.DataFrame({"sample_id": list("aaabbb"), "variant": list("xyzxyz"), "box": boxes})
    outcomes["box_iou"] = [0.9, 0.5, 0.9, 0.2, 0.4, 1.0]
    assert smoothing.box_areas(outcomes, samples).to_dict() == {"x": 1, "y": 3, "z": 1}
    variants = dict(
        zip("xyz", smoothing.smoothing_variants(HEADS, [0.0, 1.0, 1.8], []).values(), strict=True)
    )
    cases = smoothing.extremes(outcomes, samples, variants, ["x", "y", "z"])
    assert [case[1] for case in cases[::2]] == ["σ = 0: the b", "σ = 1.8: the b", "σ = 1: the a"]
    assert [case[4] for case in cases] == [0.2, 0.4, 1.0, 0.9, 0.5, 0.9]


def test_table_8_beside_a_model():
    variants = smoothing.smoothing_variants(HEADS, [0.0, 2.5], [11])
    rows = [(name, metric, 0.5) for name in variants for metric in ("rec_acc50", "res_ciou")]
    beside = smoothing.beside_table8(
        pd.DataFrame(rows, columns=["variant", "metric", "value"]), variants, "toy"
    )
    assert beside.loc[(0.0, 7)].to_list() == pytest.approx([85.5, 74.3, 50, 50])
    assert beside.loc[(1.0, 11)].to_list()[:2] == [87.2, 76.1]
    assert np.isnan(beside.loc[(2.5, 7)].iloc[0])
