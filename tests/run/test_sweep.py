"""A sweep over a tiny notebook: its table and worlds, what is skipped, what fails; the same on workers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from locheads import cli
from locheads.errors import LocheadsError
from locheads.run import outputs
from locheads.run.parameters import declared, read_preset
from locheads.run.sweep import read_sweep, run_sweep, write_table

pytestmark = pytest.mark.slow

PARAMETERS = 'world = "specimen"\nk = 3  # heads\nsigma = 1.0  # cells\nname = "ring"\n'
BODY = """
from pathlib import Path
from locheads.run import outputs
outputs.ROOT = Path('..').resolve()
with (outputs.ROOT / 'ran').open('a') as log:
    log.write(f'{world}\\n')
values = {'half': sigma / (k if k < 9 else 0), 'k': k + 1, 'told': name, 'rows': [{'a': 1}]}
outputs.save_results(world, '03_tiny', values);
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of one notebook, which fails when k is 9."""
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    first = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    document = nbformat.v4.new_notebook(cells=[first, nbformat.v4.new_code_cell(BODY)])
    nbformat.write(document, tmp_path / "notebooks" / "03_tiny.ipynb")
    return tmp_path


def written(root: Path, text: str) -> Path:
    path = root / "few.yaml"
    path.write_text(text)
    return path


def ran(root: Path) -> list[str]:
    return (root / "ran").read_text().split() if (root / "ran").exists() else []


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["locheads", "sweep", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


@pytest.mark.parametrize("where", [[], ["--workers", "2"]])
def test_points_run_once_and_one_that_fails_does_not_lose_the_others(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: list[str]
) -> None:
    path = written(root, "notebook: 03\nbase: {name: star}\ngrid: {k: [1, 9], sigma: [0.5, 2]}\n")
    worlds = ["few.k-1.sigma-0.5", "few.k-1.sigma-2", "few.k-9.sigma-0.5", "few.k-9.sigma-2"]
    assert call(monkeypatch, str(path), *where) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "2 of 4 points failed, the others are in" in last
    assert all(f"{world}: 03_tiny.ipynb failed at In [3]" in last for world in worlds[2:])
    assert "few.k-1" not in last and "ZeroDivisionError" in last
    assert sorted(ran(root)) == sorted(worlds)
    table = pd.read_csv(root / "results" / "few.csv")
    assert table.columns.tolist() == ["world", "name", "k", "sigma", "half", "k_found"]
    assert table.values.tolist() == [[worlds[0], "star", 1, 0.5, 0.5, 2], [worlds[1], "star", 1, 2.0, 2.0, 2]]
    assert json.loads((root / "results" / worlds[1] / "03_tiny.json").read_text())["half"] == 2

    # Again, with a value mended and one added: only what is new runs.
    (root / "ran").unlink()
    path = written(root, "notebook: 03\nbase: {name: star}\ngrid: {k: [1, 2], sigma: [0.5, 2]}\n")
    assert call(monkeypatch, str(path), *where) == 0
    assert sorted(ran(root)) == ["few.k-2.sigma-0.5", "few.k-2.sigma-2"]
    assert pd.read_csv(root / "results" / "few.csv").half.tolist() == [0.5, 2, 0.25, 1]


def test_other_parameters_of_the_base_run_again(root: Path) -> None:
    for name in ("ring", "star", "star"):
        path = written(root, f"notebook: 3\nbase: {{name: {name}}}\ngrid: {{k: [1]}}\n")
        assert [wrong for _, wrong in run_sweep(read_sweep(path))] == [None]
    assert ran(root) == ["few.k-1", "few.k-1"]
    assert pd.read_csv(write_table(path, read_sweep(path))).name.tolist() == ["star"]


def test_a_point_that_fails_after_it_had_run_is_not_in_the_table(root: Path) -> None:
    path = written(root, "notebook: '03'\nbase: {k: 1}\ngrid: {sigma: [1.0]}\n")
    assert [wrong for _, wrong in run_sweep(read_sweep(path))] == [None]
    broken = written(root, "notebook: '03'\nbase: {k: 9}\ngrid: {sigma: [1.0]}\n")
    ((point, wrong),) = run_sweep(read_sweep(broken))
    assert wrong and point.finished() is None
    assert [point.finished() for point in read_sweep(written(root, path.read_text()))] == [None]


def test_a_preset_is_a_base_and_awkward_values_get_names_of_their_own(root: Path) -> None:
    (root / "notebooks" / "params").mkdir()
    (root / "notebooks" / "params" / "large.yaml").write_text("world: large\nk: 7\n")
    points = read_sweep(written(root, "notebook: 03\nbase: large\ngrid: {name: [a/b, a b, a/b]}\n"))
    assert [point.parameters for point in points] == [{"k": 7, "name": "a/b"}, {"k": 7, "name": "a b"}]
    worlds = [point.world for point in points]
    assert len(set(worlds)) == 2 and all(world.startswith("few.name-a_b.") for world in worlds)


def test_points_share_their_stores_where_model_and_data_are_the_same(root: Path) -> None:
    points = read_sweep(written(root, "notebook: 03\ngrid: {k: [1, 2], name: [a, b]}\n"))
    assert len({point.stores for point in points}) == 1 and points[0].stores.startswith("few.stores-")
    other = replace(points[0], parameters={**points[0].parameters, "prompt": "plain"})
    assert other.stores != points[0].stores
    points[0].run()
    assert outputs.stores_of(points[0].world) == points[0].stores
    assert (root / "runs" / points[0].stores).is_dir()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("notebook: 07\ngrid: {k: [1]}", "no notebook '07'"),
        ("notebook: 03\ngrid: {k: [1], kay: [2]}", "no parameter 'kay'"),
        ("notebook: 03\ngrid: {k: [1, 2.5]}", "'k' takes int"),
        ("notebook: 03\nbase: {sigma: wide}\ngrid: {k: [1]}", "'sigma' takes float"),
        ("notebook: 03\nbase: none\ngrid: {k: [1]}", "no preset 'none'"),
        ("notebook: 03\ngrid: {k: 1}", "a list for each parameter"),
        ("notebook: 03\ngrid: {k: []}", "a list for each parameter"),
        ("notebook: 03\ngrid: {}", "not a sweep"),
        ("notebook: 03\ngrid: {world: [a]}", "but `world`"),
        ("notebook: 03\ngrid: {k: [1]}\ngird: {}", "not a sweep"),
        ("notebook: 010\ngrid: {k: [1]}", "no notebook .010.: there are 03_tiny"),
        ("notebook: true\ngrid: {k: [1]}", "no notebook .True."),
        ("notebook: 03\ngrid: {k: [1, 010]}", ".k. is .010., no number; write decimal digits"),
        ("notebook: 03\nbase: {k: 1:30}\ngrid: {sigma: [1]}", ".k. is .1:30., no number"),
        ("notebook: 03\ngrid: {k: [[[1]]]}", "few.yaml: .k. is no text, number or list"),
        ("notebook: 03\ngrid: {k: [1], k: [2]}", "line 2: .k. is given twice"),
        ("- 03", "not a sweep"),
        ("{", "not YAML"),
    ],
)
def test_what_does_not_fit_is_told_before_anything_runs(root: Path, text: str, complaint: str) -> None:
    with pytest.raises(LocheadsError, match=complaint):
        read_sweep(written(root, text))
    assert not (root / "runs").exists() and not ran(root)


def test_a_missing_file_is_told(root: Path) -> None:
    with pytest.raises(LocheadsError, match="none.yaml: cannot be read"):
        read_sweep(root / "none.yaml")


def test_paths_may_be_texts(root: Path) -> None:
    file = str(written(root, "notebook: 03\ngrid: {k: [1, 2]}"))
    points = read_sweep(file)
    assert [point.parameters for point in points] == [{"k": 1}, {"k": 2}]
    assert write_table(file, points) == root / "results" / "few.csv"
    notebook = root / "notebooks" / "03_tiny.ipynb"
    assert declared(str(notebook)) == declared(notebook)
    preset = written(root, "k: 2")
    assert read_preset(preset, str(root)) == read_preset(str(preset), root)
