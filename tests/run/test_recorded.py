"""Results of changed parameters are kept apart from those that are there, however a notebook is run."""

from __future__ import annotations

from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

from locheads.errors import LocheadsError
from locheads.run import outputs, recorded
from locheads.run.closing_table import report
from locheads.run.parameters import check_ranges, parse_assignments, read_preset

BODY = """
from pathlib import Path
from types import SimpleNamespace
from locheads.model import loading
from locheads.run import outputs, study
outputs.ROOT = Path(ROOT)
loading.load_lvlm = lambda *_, **__: SimpleNamespace(name="none", layers=1, heads=1)
study.open_study("01_first", globals()).save_results({"found": k})
"""
DEFAULTS = (
    'world = "specimen"\nk = 3\nseed = 0\nmodel = "none"\ndevice = "cpu"\n'
    'dtype = "float32"\nprompt = None\nrevision = None'
)


def written(root: Path, defaults: str = DEFAULTS) -> Path:
    cells = [nbformat.v4.new_code_cell(text) for text in (defaults, f"ROOT = {str(root)!r}" + BODY)]
    cells[0].metadata["tags"] = ["parameters"]
    path = root / "notebooks" / "01_first.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.mark.parametrize("way", ["papermill", "jupyter"])
def test_changed_parameters_leave_the_saved_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    path = written(tmp_path)
    papermill.execute_notebook(path, None, kernel_name="python3", language="python", progress_bar=False)
    assert outputs.load_results("specimen", "01_first") == {"found": 3}
    assert outputs.load_results("specimen", "parameters")["01_first"]["k"] == 3
    if way == "papermill":
        ran = papermill.execute_notebook(
            path, None, {"k": 5}, kernel_name="python3", language="python", progress_bar=False
        )
    else:
        ran = nbformat.read(written(tmp_path, DEFAULTS.replace("k = 3", "k = 5")), as_version=4)
        NotebookClient(ran, kernel_name="python3").execute()
    assert "k = 5, not 3" in str(ran.cells[-1].outputs)
    assert outputs.load_results("specimen", "01_first") == {"found": 3}
    (scratch,) = (tmp_path / "results").glob("scratch-specimen-*")
    assert outputs.load_results(scratch.name, "01_first") == {"found": 5}


def test_locheads_run_saves_where_it_was_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    written(tmp_path)
    recorded.record("mine", "01_first", {"k": 3})
    assert recorded.world_of("01_first", {"world": "mine", "k": 5}).startswith("scratch-mine-")
    monkeypatch.setenv(recorded.CHECKED, "1")
    assert recorded.world_of("01_first", {"world": "mine", "k": 5}) == "mine"


@pytest.mark.parametrize(
    ("name", "value"),
    [("k", 0), ("k", -3), ("device", "cdua"), ("dtype", "int3"), ("seed", -1), ("batch", 0)],
)
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(LocheadsError, match=f"'{name}' is '?{value}"):
        check_ranges({name: value})


def test_a_parameter_is_given_once() -> None:
    with pytest.raises(LocheadsError, match="'k' is given twice"):
        parse_assignments(["k=1", "k=2"], {"01": {"k": 3}})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("k: 1\nk: 2\n", "'k' is given twice"),
        ("data: 2024-01-01\n", "'data' is no text"),
        ("data: !!set {a}\n", "'data' is no text"),
        ("data: !!binary aGk=\n", "'data' is no text"),
        ("data: &a [*a]\n", "'data' is no text"),
    ],
)
def test_a_preset_holds_each_name_once_and_plain_values(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(LocheadsError, match=complaint):
        read_preset("mine", tmp_path)


@pytest.mark.parametrize("text", ["null", "3", "[]"])
def test_a_results_file_of_another_form_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    path = outputs.results_path("mine", "01_first")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(LocheadsError, match="not named numbers"):
        outputs.load_results("mine", "01_first")


def test_the_specimen_in_another_world_is_not_called_yours() -> None:
    assert "a small model on generated scenes" in report([], "five-heads", own=False)
    assert "your model and data" in report([], "five-heads", own=True)
