"""Results of changed parameters are kept apart from those that are there, however a notebook is run."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

from locheads.errors import LocheadsError
from locheads.paper.coverage import COVERAGE, SAID
from locheads.run import outputs, recorded, results_md, runner
from locheads.run.closing_table import report
from locheads.run.parameters import check_ranges, parse_assignments, read_preset
from locheads.run.study import open_study, profile_store
from locheads.run.sweep import read_sweep

BODY = """
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from matplotlib.figure import Figure
from locheads.run import outputs, study
outputs.ROOT = Path(ROOT)
for name in ("locheads.model", "locheads.model.loading"):  # no model is loaded, nor torch
    sys.modules[name] = ModuleType(name)
nothing = SimpleNamespace(name="none", layers=1, heads=1)
sys.modules["locheads.model.loading"].load_lvlm = lambda *_, **__: nothing
opened = study.open_study("01_first", globals())
opened.save_results({"found": k})
figure = Figure()
figure.text(0, 0, str(k))
opened.save_figure(figure, "01_a")
"""
DEFAULTS = (
    'world = "specimen"\nk = 3\nseed = 0\nmodel = "none"\ndevice = "cpu"\n'
    'dtype = "float32"\nprompt = None\nrevision = None\nbatch = 16'
)


def written(root: Path, defaults: str = DEFAULTS) -> Path:
    cells = [nbformat.v4.new_code_cell(text) for text in (defaults, f"ROOT = {str(root)!r}" + BODY)]
    cells[0].metadata["tags"] = ["parameters"]
    path = root / "notebooks" / "01_first.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def git(root: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    return subprocess.run(
        ["git", "-C", str(root), *who, *arguments], check=True, capture_output=True, text=True
    ).stdout


def by_papermill(root: Path, **parameters: object) -> str:
    ran = papermill.execute_notebook(
        written(root), None, parameters, kernel_name="python3", language="python", progress_bar=False
    )
    return str(ran.cells[-1].outputs)


def in_jupyter(root: Path, **parameters: object) -> str:
    """Edits the parameters cell, saves the notebook and runs all its cells, as one does in JupyterLab."""
    text = DEFAULTS
    for name, value in parameters.items():
        text = re.sub(rf"^{name} = .*$", f"{name} = {value!r}", text, flags=re.MULTILINE)
    document = nbformat.read(written(root, text), as_version=4)
    NotebookClient(document, kernel_name="python3").execute()
    return str(document.cells[-1].outputs)


@pytest.mark.slow  # kernels
@pytest.mark.parametrize("way", [by_papermill, in_jupyter])
def test_changed_parameters_leave_the_committed_results_and_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[..., str]
) -> None:
    """The committed results have no record of their parameters, as those of an older version."""
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    (tmp_path / ".gitignore").write_text("scratch-*/\n")
    way(tmp_path)
    outputs.results_path("specimen", "parameters").unlink()
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "results")
    assert "Saved under 'scratch-specimen-" in (told := way(tmp_path, k=5)) and "k = 5, not 3" in told
    git(tmp_path, "checkout", "notebooks")
    assert git(tmp_path, "status", "--porcelain") == ""
    (scratch,) = (tmp_path / "results").glob("scratch-specimen-*")
    assert outputs.load_results(scratch.name, "01_first") == {"found": 5}
    assert (tmp_path / "figures" / scratch.name / "01_a.png").exists()
    assert "Saved under" not in way(tmp_path, batch=2, device="auto")
    assert outputs.load_results("specimen", "01_first") == {"found": 3}


@pytest.mark.slow  # kernels
@pytest.mark.parametrize("way", [by_papermill, in_jupyter])
def test_without_git_the_record_is_what_the_results_were_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[..., str]
) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    way(tmp_path)
    assert outputs.load_results("specimen", "parameters")["01_first"]["k"] == 3
    assert "k = 5, not 3" in way(tmp_path, k=5)
    assert outputs.load_results("specimen", "01_first") == {"found": 3}


def test_locheads_run_saves_where_it_was_asked_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    written(tmp_path)
    recorded.record("mine", "01_first", {"k": 3})
    assert recorded.world_of("01_first", {"world": "mine", "k": 5}).startswith("scratch-mine-")
    assert recorded.world_of("01_first", {"world": "specimen", "k": 5}).startswith("scratch-specimen-")
    assert recorded.world_of("01_first", {"world": "specimen", "k": 3}) == "specimen"
    monkeypatch.setenv(recorded.CHECKED, "1")
    assert recorded.world_of("01_first", {"world": "mine", "k": 5}) == "mine"


def test_an_experiment_reads_the_profiles_of_its_world(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another `k` does not change a profile, another prompt does."""
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    written(tmp_path)
    before = {"k": 3, "model": "none", "prompt": None}
    recorded.record("mine", "01_first", before)
    store = profile_store("mine", "refcoco", "train", 5, 0)
    other_k = recorded.world_of("01_first", {**before, "world": "mine", "k": 5})
    assert profile_store(other_k, "refcoco", "train", 5, 0) == store
    other_prompt = recorded.world_of("01_first", {**before, "world": "mine", "prompt": "plain"})
    assert profile_store(other_prompt, "refcoco", "train", 5, 0) != store
    further = recorded.world_of("01_first", {**before, "world": "mine", "k": 7})
    assert further != other_k and profile_store(further, "refcoco", "train", 5, 0) == store


def test_a_run_refuses_to_replace_results_of_other_parameters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    written(tmp_path)
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "notebook")
    recorded.record("five", "01_first", {"k": 5, "seed": 0, "batch": 16})
    runner.run_study(["01"], {"k": 5, "batch": 1}, "five")
    for parameters, changed in (({"k": 7}, "k = 7, not 5"), ({}, "k = 3, not 5")):
        with pytest.raises(LocheadsError, match=rf"'five' holds results of 01_first .*\({changed}\)"):
            runner.run_study(["01"], parameters, "five")
        with pytest.raises(LocheadsError, match="'five' holds results"):
            runner.dry_run(["01"], parameters, "five")
    written(tmp_path, DEFAULTS.replace("k = 3", "k = 5"))  # edited and saved, but not committed
    with pytest.raises(LocheadsError, match=r"01_first: k = 5, not 3 as in the committed notebook.*--world"):
        runner.run_study(["01"])
    runner.run_study(["01"], {}, "five")
    runner.run_study(["01"], replacing=True)


def test_results_md_shows_no_row_of_other_parameters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    for one in {one.notebook for one in (*COVERAGE, *SAID)}:
        written(tmp_path).rename(tmp_path / "notebooks" / f"{one}.ipynb")
    outputs.save_results("specimen", "03_grounding", {"rec_acc50_refcoco_val": 0.81, "held_out": 100})
    recorded.record("specimen", "03_grounding", {"k": 3, "device": "cuda"})
    assert "**81.0**" in results_md.report(["specimen"])
    recorded.record("specimen", "03_grounding", {"k": 1})
    report = results_md.report(["specimen"])
    assert "**81.0**" not in report
    assert "not shown: made with k = 1, not 3; redo it with `locheads run 03`" in report


def test_a_preset_belongs_to_its_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    written(tmp_path)
    (tmp_path / "notebooks" / "params").mkdir()
    (tmp_path / "notebooks" / "params" / "large.yaml").write_text("world: large\nk: 5\n")
    recorded.record("large", "01_first", {"k": 5, "seed": 0})
    assert results_md.changed("large", "01_first") == ""
    recorded.record("large", "01_first", {"k": 3, "seed": 1})
    assert results_md.changed("large", "01_first") == "k = 3, not 5, seed = 1, not 0"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k", 0),
        ("k", -3),
        ("samples", -1),
        ("held_out", -1),
        ("revision", 1234567),
        ("prompt", 1.5),
        ("device", "cdua"),
        ("dtype", "int3"),
        ("seed", -1),
        ("batch", 0),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(LocheadsError, match=f"'{name}' is '?{value}"):
        check_ranges({name: value})


@pytest.mark.parametrize("text", ["83e2010", "1234567", "true", "[1]", "010", "Infinity"])
def test_what_is_declared_as_text_stays_text(text: str) -> None:
    taker = {"revision": None, "model": "specimen"}
    for name in taker:
        assert parse_assignments([f"{name}={text}"], {"01": taker}) == {name: text}
    assert parse_assignments(["revision=None"], {"01": taker}) == {"revision": None}


@pytest.mark.parametrize("name", ["prompt", "model", "data"])
def test_a_text_is_not_empty(name: str) -> None:
    with pytest.raises(LocheadsError, match=f"'{name}' is empty"):
        check_ranges({name: " "})


@pytest.mark.parametrize(
    ("given", "complaint"),
    [({"k": 0}, "'k' is 0"), ({"device": "cdua"}, "'device'"), ({"prompt": ""}, "'prompt'")],
)
def test_every_way_into_a_run_checks_ranges(tmp_path: Path, given: dict[str, object], complaint: str) -> None:
    """A run, a dry run, a sweep, and a notebook's set-up, before anything is loaded."""
    (tmp_path / "a.yaml").write_text(
        json.dumps({"notebook": "03", "grid": {n: [v] for n, v in given.items()}})
    )
    ways: list[Callable[[], object]] = [
        lambda: runner.run_study(["03"], given, "mine"),
        lambda: runner.dry_run(["03"], given, "mine"),
        lambda: read_sweep(tmp_path / "a.yaml"),
        lambda: open_study("03_grounding", {"world": "mine", "model": "not there", **given}),
    ]
    for way in ways:
        with pytest.raises(LocheadsError, match=complaint):
            way()


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a", "notebook: 010\ngrid: {k: [1]}", "no notebook '010'"),
        ("a", "notebook: true\ngrid: {k: [1]}", "no notebook 'True'"),
        (
            "a",
            f"notebook: 03\ngrid: {{k: {[*range(1, 200)]}, seed: {[*range(200)]}}}",
            r"39,800 points; .* most 10,000",
        ),
        (
            "meine k\u00f6pfe",
            "notebook: 03\ngrid: {k: [1]}",
            r"meine k\u00f6pfe\.yaml: name the file with letters",
        ),
        ("a", "[" * 5000, "not YAML"),
    ],
)
def test_sweeps_that_are_refused(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(LocheadsError, match=complaint):
        read_sweep(tmp_path / f"{name}.yaml")


def test_a_sweep_of_a_notebook_as_a_number(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("notebook: 3\ngrid: {k: [1]}")
    assert [point.notebook for point in read_sweep(tmp_path / "a.yaml")] == ["03_grounding"]


def test_a_parameter_is_given_once() -> None:
    with pytest.raises(LocheadsError, match="'k' is given twice"):
        parse_assignments(["k=1", "k=2"], {"01": {"k": 3}})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("k: 1\nk: 2\n", "'k' is given twice"),
        ("data: {a: b}\n", "'data' is no text"),
        ("data: [[a]]\n", "'data' is no text"),
        ("data: !!set {a}\n", "is the tag of a type"),
        ("data: &a [*a]\n", "a value stands for another one"),
    ],
)
def test_a_preset_holds_each_name_once_and_plain_values(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(LocheadsError, match=complaint):
        read_preset("mine", tmp_path)


@pytest.mark.parametrize(
    "text", ["null", "3", "[]", '{"a": {"b": 1}}', '{"a": [1]}', '{"a": [{"layer": 1.5}]}']
)
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
