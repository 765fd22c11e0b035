"""The explorer's JavaScript grounds as the package does; node runs the module of page and widget."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_explorer import made_up_explorer

from locheads.evaluation.metrics import box_iou
from locheads.explorer.page import module
from locheads.method.criteria import spatial_entropy
from locheads.method.geometry import Window
from locheads.method.grounding import ground, smooth

NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(
    NODE is None, reason="node is not installed; it runs the explorer's JavaScript"
)

SCRIPT = """
import { readFileSync } from "node:fs";
import { boxIou, convexHull, decodeMaps, ground, smooth, spatialEntropy } from "./explorer.mjs";
const { data, cases } = JSON.parse(readFileSync(0, "utf8"));
const decoded = data?.expressions.map((one) => decodeMaps(data, one));
const run = {
  ground: ({ expression, heads, maps, window, ...setting }) =>
    ground(maps ?? heads.map((head) => decoded[expression][head]), window, setting),
  smooth: ({ map, rows, columns, kernel, sigma }) => [...smooth(map, rows, columns, kernel, sigma)],
  entropy: ({ map, rows, columns }) => String(spatialEntropy(map, rows, columns)),
  iou: ({ a, b }) => boxIou(a, b),
  decoded: ({ expression }) => decoded[expression].map((map) => [...map]),
};
const answers = cases.map(({ what, ...given }) => run[what](given));
console.log(JSON.stringify(answers, (_, value) => (ArrayBuffer.isView(value) ? [...value] : value)));
"""


def in_node(folder: Path, cases: Sequence[dict[str, Any]], data: dict[str, Any] | None = None) -> list[Any]:
    """What the explorer's functions give for the cases."""
    (folder / "explorer.mjs").write_text(module(), encoding="utf-8")
    (folder / "run.mjs").write_text(SCRIPT, encoding="utf-8")
    given = json.dumps({"cases": cases, "data": data})
    done = subprocess.run([str(NODE), "run.mjs"], input=given, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def settings(data: dict[str, Any], heads: Sequence[int], number: int, seed: int) -> list[dict[str, Any]]:
    """Random settings: an expression, k of the heads, σ and level."""
    rng = np.random.default_rng(seed)
    return [
        {
            "expression": int(rng.integers(len(data["expressions"]))),
            "heads": rng.choice(heads, int(rng.integers(1, 11)), replace=False).tolist(),
            "sigma": round(float(rng.uniform(0, 3)), 1),
            "level": round(float(rng.uniform(0.5, 3)), 2),
        }
        for _ in range(number)
    ]


def asked(data: dict[str, Any], setting: dict[str, Any]) -> dict[str, Any]:
    """The case that makes node ground a setting from the explorer's own data."""
    x0, y0, x1, y1 = data["expressions"][setting["expression"]]["window"]
    window = {"x0": x0, "y0": y0, "x1": x1, "y1": y1, "rows": data["rows"], "columns": data["columns"]}
    return {
        "what": "ground",
        "window": window | {"size": data["expressions"][setting["expression"]]["size"]},
        **setting,
    }


def assert_equal_boxes(
    folder: Path,
    data: dict[str, Any],
    profile: xr.Dataset,
    shown: Sequence[int],
    windows: Sequence[Window],
    seed: int,
) -> None:
    """In 50 settings node's box from the explorer's data is the package's from the maps of the profile."""
    chosen = settings(data, data["exact"], 50, seed)
    answers = in_node(folder, [asked(data, setting) for setting in chosen], data)
    maps = profile.maps.values.reshape(profile.sizes["sample"], -1, data["rows"], data["columns"])
    boxes = set()
    for setting, answer in zip(chosen, answers, strict=True):
        place = setting["expression"]
        expected = ground(
            maps[shown[place]][setting["heads"]],
            windows[place],
            sigma=setting["sigma"],
            level=setting["level"],
        )
        assert answer["box"] == expected.box.tolist(), setting
        assert answer["found"] == expected.found
        assert np.array_equal(np.reshape(answer["mask"], expected.mask.shape), expected.mask), setting
        assert sorted(answer["region"]) == np.flatnonzero(expected.region).tolist()
        boxes.add(tuple(answer["box"]))
    assert len(boxes) > 10  # the settings matter


@pytest.mark.parametrize("seed", [0, 1])
def test_its_box_is_grounds_in_50_settings(tmp_path: Path, seed: int) -> None:
    made = made_up_explorer(seed=seed)
    windows = [made.window_of(made.samples[place].size) for place in made.shown]
    assert_equal_boxes(tmp_path, made.data, made.profile, made.shown, windows, seed)


@pytest.mark.slow
def test_its_box_is_grounds_in_50_settings_of_the_specimen(tmp_path: Path) -> None:
    from locheads.data import read_samples
    from locheads.explorer.data import explorer_data
    from locheads.method.selection import select_heads
    from locheads.model.loading import load_lvlm
    from locheads.profiling.profile import profile

    lvlm, samples = load_lvlm("specimen"), read_samples("specimen", "refcoco", "val", limit=6, seed=0)
    profiled = profile(lvlm, samples, tmp_path / "profile", batch=6)
    selection = select_heads(profiled.attention_sum.values, profiled.spatial_entropy.values)
    shown = list(range(len(samples)))
    data = explorer_data(profiled, samples, shown, lvlm.window, selection)
    assert_equal_boxes(tmp_path, data, profiled, shown, [lvlm.window(s.size) for s in samples], seed=0)


def test_the_other_heads_are_stored_to_a_step_and_their_boxes_are_grounds_of_what_is_stored(
    tmp_path: Path,
) -> None:
    made = made_up_explorer()
    others = [head for head in made.data["ranking"] if head not in made.data["exact"]]
    (decoded,) = in_node(tmp_path, [{"what": "decoded", "expression": 0}], made.data)
    stored = np.array(decoded)
    original = made.profile.maps.values[made.shown[0]].reshape(stored.shape)
    steps = original.max(axis=1, keepdims=True) / 65535
    assert (np.abs(stored - original)[others] <= 0.5001 * steps[others]).all()
    assert (stored == original)[made.data["exact"]].all()
    chosen = [setting | {"expression": 0} for setting in settings(made.data, others, 20, seed=5)]
    answers = in_node(tmp_path, [asked(made.data, setting) for setting in chosen], made.data)
    window = made.window_of(made.samples[made.shown[0]].size)
    for setting, answer in zip(chosen, answers, strict=True):
        maps = stored[setting["heads"]].reshape(-1, window.rows, window.columns)
        assert (
            answer["box"] == ground(maps, window, sigma=setting["sigma"], level=setting["level"]).box.tolist()
        )


def as_case(maps: list[Any], window: Window, **setting: float) -> dict[str, Any]:
    return {
        "what": "ground",
        "maps": [np.ravel(one).tolist() for one in maps],
        "window": vars(window),
        **setting,
    }


def test_rules_for_what_stands_out_nowhere_ties_and_padding(tmp_path: Path) -> None:
    """A uniform map, two components of equal hull, and one that lies in the padding alone."""
    wide, tied = Window.stretch((50, 10), (1, 5)), [[9.0, 0.0, 0.0, 0.0, 9.0]]
    padded, above = Window.pad_to_square((40, 20), (4, 4)), np.zeros((4, 4))
    above[0, 1] = 1.0
    uniform, first, heavier, outside = in_node(
        tmp_path,
        [
            as_case([[[0.1] * 5]], wide),
            as_case([tied], wide, kernel=1),
            as_case([[[8.0, 0.0, 0.0, 0.0, 9.0]]], wide, kernel=1),
            as_case([above], padded, sigma=0),
        ],
    )
    assert (uniform["found"], uniform["box"]) == (False, [0, 0, 50, 10])
    assert (first["found"], first["box"]) == (True, [0, 0, 10, 10])
    assert heavier["box"] == [40, 0, 50, 10]
    assert (outside["found"], outside["box"]) == (False, [0, 0, 40, 20])


@pytest.mark.parametrize("shape", [(24, 24), (5, 9), (3, 1), (1, 1)])
@pytest.mark.parametrize(("kernel", "sigma"), [(7, 1.0), (3, 0.4), (7, 0.0), (1, 2.0)])
def test_smoothing_mirrors_as_in_the_package(
    tmp_path: Path, shape: tuple[int, int], kernel: int, sigma: float
) -> None:
    one = np.random.default_rng(0).random(shape)
    case = {"what": "smooth", "map": one.ravel().tolist(), "rows": shape[0], "columns": shape[1]}
    (found,) = in_node(tmp_path, [case | {"kernel": kernel, "sigma": sigma}])
    np.testing.assert_allclose(found, smooth(one, kernel, sigma).ravel(), rtol=1e-14)


def test_entropy_and_iou(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((30, 12, 12)) ** 3
    maps[0] = 0.25
    cases = [{"what": "entropy", "map": one.ravel().tolist(), "rows": 12, "columns": 12} for one in maps]
    found = in_node(tmp_path, [*cases, {"what": "iou", "a": [0, 0, 4, 2], "b": [2, 0, 6, 2]}])
    assert found[0] == "Infinity"
    np.testing.assert_allclose([float(one) for one in found[1:-1]], spatial_entropy(maps)[1:], rtol=1e-12)
    assert found[-1] == pytest.approx(4 / 12)
    assert found[-1] == pytest.approx(box_iou(np.array([[0.0, 0, 4, 2]]), np.array([[2.0, 0, 6, 2]]))[0])
