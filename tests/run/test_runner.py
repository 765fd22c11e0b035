"""Names, parameters, results and figures of the study; nothing is executed here."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure

from locheads.errors import LocheadsError
from locheads.paper.coverage import HEADLINES
from locheads.run import outputs, runner
from locheads.run.closing_table import report, shown
from locheads.run.parameters import check_parameters, declared, parse_assignments, read_preset
from locheads.run.runner import Finished

DEFAULTS = (
    'world = "specimen"  # world\nk = 3  # heads\nlevel = 1.0  # times the mean\nlimit = None  # samples\n'
)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of its own with two notebooks."""
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    (tmp_path / "notebooks").mkdir()
    write_notebook(tmp_path / "notebooks" / "01_first.ipynb", DEFAULTS)
    write_notebook(tmp_path / "notebooks" / "02_second.ipynb", 'world = "specimen"\nseed = 0\n')
    (tmp_path / "notebooks" / "draft.ipynb").write_text("{}")
    return tmp_path


def write_notebook(path: Path, *sources: str) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    for cell in cells[:1]:
        cell.metadata["tags"] = ["parameters"]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)


def test_notebooks_are_the_numbered_ones_in_order(root: Path) -> None:
    assert [path.name for path in runner.notebooks()] == ["01_first.ipynb", "02_second.ipynb"]


@pytest.mark.parametrize("name", ["02", "02_second", "02_second.ipynb", "notebooks/02_second.ipynb"])
def test_a_notebook_goes_by_number_name_or_path(root: Path, name: str) -> None:
    assert runner.find_notebook(name) == root / "notebooks" / "02_second.ipynb"


@pytest.mark.parametrize("name", ["03", "2", "second", "draft", ""])
def test_a_missing_notebook_is_told_with_those_there_are(root: Path, name: str) -> None:
    with pytest.raises(LocheadsError, match=f"no notebook '{name}': there are 01_first, 02_second"):
        runner.find_notebook(name)


def test_results_are_sorted_flat_and_exact(root: Path) -> None:
    values = {
        "rho": np.float64(0.1) + 0.2,
        "n": np.int64(3),
        "heads": [{"layer": 3, "share": np.float32(0.5)}],
    }
    path = outputs.save_results("specimen", "01_first", values)
    assert path == root / "results" / "specimen" / "01_first.json"
    assert list(json.loads(path.read_text())) == ["heads", "n", "rho"]
    loaded = outputs.load_results("specimen", "01_first")
    assert loaded == {"heads": [{"layer": 3, "share": 0.5}], "n": 3, "rho": 0.1 + 0.2}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (float("nan"), "result 'bad' is nan; results must be finite"),
        (np.float32("inf"), "is inf"),
        ({"a": 1}, "is a dict"),
        ([1, 2], "is a list"),
        ([{"a": [1]}], "result 'bad', 'a' is a list"),
        ([{"a": float("nan")}], "'a' is nan"),
        (np.zeros(2), "is a ndarray"),
    ],
)
def test_bad_results_are_refused_and_the_old_file_stays(root: Path, value: object, complaint: str) -> None:
    path = outputs.save_results("specimen", "01_first", {"good": 1})
    with pytest.raises(LocheadsError, match=complaint):
        outputs.save_results("specimen", "01_first", {"good": 2, "bad": value})
    assert json.loads(path.read_text()) == {"good": 1}


def test_missing_results_name_the_command_that_makes_them(root: Path) -> None:
    with pytest.raises(LocheadsError, match="`locheads run 01_first --world llava` first"):
        outputs.load_results("llava", "01_first")


@pytest.mark.parametrize("world", ["../x", "a/b", "", ".hidden"])
def test_a_world_cannot_lead_out_of_its_folder(root: Path, world: str) -> None:
    with pytest.raises(LocheadsError, match="not a plain name"):
        outputs.save_results(world, "01_first", {})


def test_the_same_figure_gives_the_same_bytes_and_no_date(root: Path) -> None:
    def draw() -> list[bytes]:
        figure = Figure(figsize=(2, 1))
        figure.subplots().plot([1, 3, 2], label="a line")
        return [path.read_bytes() for path in outputs.save_figure(figure, "specimen", "line")]

    first, second = draw(), draw()
    assert first == second
    assert [data[:4] for data in first] == [b"\x89PNG", b"%PDF"]
    assert b"CreationDate" not in first[1]
    assert sorted(os.listdir(root / "figures" / "specimen")) == ["line.pdf", "line.png"]


def test_parameters_are_the_literals_of_the_tagged_cell(root: Path) -> None:
    found = declared(root / "notebooks" / "01_first.ipynb")
    assert found == {"world": "specimen", "k": 3, "level": 1.0, "limit": None}


@pytest.mark.parametrize("source", ["k = 1 + n", "import os", "a = b = 1", "k: int = 1", "k = (", "f(1)"])
def test_a_parameters_cell_holds_literals_only(tmp_path: Path, source: str) -> None:
    write_notebook(tmp_path / "01_bad.ipynb", source)
    with pytest.raises(
        LocheadsError, match=r"01_bad\.ipynb: the parameters cell may hold only `name = literal`"
    ):
        declared(tmp_path / "01_bad.ipynb")


def test_notebooks_without_parameters_cell_are_refused(tmp_path: Path) -> None:
    nbformat.write(nbformat.v4.new_notebook(), tmp_path / "01_none.ipynb")
    with pytest.raises(LocheadsError, match="0 cells are tagged"):
        declared(tmp_path / "01_none.ipynb")


@pytest.mark.parametrize("text", ['{"cells": [', "[]", "{}", '{"cells": 3}', '{"cells": [{"source": []}]}'])
def test_an_unreadable_notebook_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "02_cut.ipynb").write_text(text)
    with pytest.raises(LocheadsError, match=r"02_cut\.ipynb: not a readable notebook; restore it"):
        declared(tmp_path / "02_cut.ipynb")


TAKERS = {
    "01": {"k": 3, "level": 1.0, "name": "x", "flag": True, "limit": None, "sigmas": [1.0]},
    "02": {"k": 5},
}


@pytest.mark.parametrize(
    "fitting",
    [
        {"k": 4},
        {"level": 0.5},
        {"level": 2},
        {"name": ""},
        {"flag": False},
        {"limit": "all"},
        {"sigmas": []},
        {},
    ],
)
def test_values_of_the_literals_type_fit(fitting: dict[str, object]) -> None:
    check_parameters(fitting, TAKERS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("k", 4.0),
        ("k", True),
        ("k", "4"),
        ("k", None),
        ("level", "1"),
        ("level", True),
        ("name", 1),
        ("flag", 1),
    ],
)
def test_values_of_another_type_do_not(name: str, value: object) -> None:
    with pytest.raises(LocheadsError, match=f"01: '{name}' takes .* not {type(value).__name__} "):
        check_parameters({name: value}, TAKERS)


def test_an_unknown_parameter_is_answered_with_the_nearest_name() -> None:
    with pytest.raises(LocheadsError, match="no parameter 'levels' in 01, 02: did you mean 'level'?"):
        check_parameters({"k": 1, "levels": 1.0}, TAKERS)
    with pytest.raises(LocheadsError, match="there are flag, k, level, limit, name, sigmas"):
        check_parameters({"zzz": 1}, TAKERS)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("k=4", 4),
        ("level=1e-3", 0.001),
        ("name=12", "12"),
        ("name=a=b", "a=b"),
        ("flag=false", False),
        ("flag=False", False),
        ("limit=null", None),
        ("limit=12", 12),
        ("limit=val", "val"),
        ("sigmas=[0, 0.4]", [0, 0.4]),
    ],
)
def test_command_line_values_are_read_by_the_literals_type(text: str, value: object) -> None:
    assert list(parse_assignments([text], TAKERS).values()) == [value]


@pytest.mark.parametrize("text", ["k", "=3", ""])
def test_assignments_need_name_and_sign(text: str) -> None:
    with pytest.raises(LocheadsError, match="not of the form name=value"):
        parse_assignments([text], TAKERS)


def test_presets_by_name_or_path(tmp_path: Path) -> None:
    (tmp_path / "llava.yaml").write_text("world: llava\nk: 3\n")
    assert read_preset("llava", tmp_path) == {"world": "llava", "k": 3}
    assert read_preset(str(tmp_path / "llava.yaml"), Path("elsewhere")) == {"world": "llava", "k": 3}
    with pytest.raises(LocheadsError, match=r"no preset 'lava': .*\(llava\)"):
        read_preset("lava", tmp_path)


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [", "", "just text"])
def test_presets_are_flat_mappings(tmp_path: Path, text: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(LocheadsError, match=r"bad\.yaml.*: not "):
        read_preset("bad", tmp_path)


def test_a_preset_may_hold_parameters_of_notebooks_that_are_not_run(root: Path) -> None:
    (root / "real.yaml").write_text("world: real\nk: 1\nseed: 7\nodd: 1\n")
    preset = str(root / "real.yaml")
    assert runner.gather(["02"], [], preset) == ({"seed": 7, "odd": 1}, "real")
    assert runner.gather([], ["k=5", "world=mine"], preset) == ({"k": 5, "seed": 7, "odd": 1}, "mine")
    with pytest.raises(LocheadsError, match="no parameter 'odd'"):
        runner.run_study(["02"], *runner.gather(["02"], [], preset))


def test_everything_is_checked_before_the_first_notebook(root: Path) -> None:
    for names, parameters in (([], {"z": 1}), (["02"], {"k": 3}), (["01"], {"k": "3"}), (["01", "07"], {})):
        with pytest.raises(LocheadsError):
            runner.run_study(names, parameters)
    assert not (root / "runs").exists()


def test_the_table_sets_headlines_beside_the_papers() -> None:
    done = [
        Finished("00_start_here", 1.04, Path("x"), {}),
        Finished(
            "03_grounding", 20.0, Path("x"), {"rec_acc50_refcoco_val": 0.81239, "res_ciou_refcoco_val": 0.7}
        ),
    ]
    lines = report(done, "specimen").splitlines()
    assert "different models" in lines[1]
    assert [line.split() for line in lines if line.startswith("0")] == [
        ["00_start_here", "1.0"],
        ["03_grounding", "20.0", "rec_acc50_refcoco_val", "0.812", "0.865", "Table", "1"],
    ]
    assert any(line.split() == ["res_ciou_refcoco_val", "0.700", "0.742", "Table", "2"] for line in lines)
    assert lines[-1] == "2 notebooks in 21 seconds"


def test_heads_are_shown_with_their_share() -> None:
    heads = [{"layer": 14, "head": 24, "frequency": 0.451}, {"layer": 3, "head": 2, "frequency": 0.2}]
    assert shown(heads) == "L14 H24 45%, L3 H2 20%"


def test_what_is_not_defined_is_said_so_in_the_table() -> None:
    done = Finished("02_iou_frequency_correlation", 1.0, Path("x"), {"spearman_rho": None})
    assert any(
        line.split()[2:5] == ["spearman_rho", "not", "defined"]
        for line in report([done], "mine").splitlines()
    )


def test_headlines_are_named_once() -> None:
    names = [(headline.notebook, headline.key) for headline in HEADLINES]
    assert len(names) == len(set(names))


def test_a_claim_has_to_hold_on_the_specimen_alone(capsys: pytest.CaptureFixture[str]) -> None:
    outputs.claim("specimen", "heads are few", True)
    outputs.claim("another", "heads are few", False)
    assert capsys.readouterr().out == "heads are few: yes\nheads are few: NO\n"
    with pytest.raises(AssertionError, match="heads are few"):
        outputs.claim("specimen", "heads are few", False)
