"""The `locheads` command as a user meets it: in a process of its own, over a small study of its own."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

import locheads as locheads_package
from locheads import cli
from locheads.cli.ground_picture import ground_file, selected_heads, settings
from locheads.data import read_samples
from locheads.errors import LocheadsError
from locheads.profiling.store import read_profile
from locheads.run import outputs

pytestmark = pytest.mark.slow

Command = Callable[..., subprocess.CompletedProcess[str]]

PARAMETERS = 'world = "specimen"  # world\nscale = 1.0  # factor\n'
SETUP = "from pathlib import Path\nfrom locheads.run import outputs\noutputs.ROOT = Path('..').resolve()"
SAVE = "outputs.save_results(world, 'NAME', {'spearman_rho': 0.5 * scale, 'n_heads': 3})"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A study of two notebooks; the second fails when scale is 0."""
    folder = tmp_path / "study"
    (folder / "notebooks").mkdir(parents=True)
    write(folder, "01_head_profiling", SETUP, "print(Path.cwd().name)\nimport sys\nprint(sys.executable)")
    write(folder, "02_iou_frequency_correlation", SETUP, "\n# comment\nratio = 1 / scale", SAVE)
    return folder


def write(root: Path, name: str, *sources: str) -> None:
    first = nbformat.v4.new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    rest = [nbformat.v4.new_code_cell(source.replace("NAME", name)) for source in sources]
    metadata = {"kernelspec": {"name": "another", "display_name": "Another", "language": "python"}}
    document = nbformat.v4.new_notebook(cells=[first, *rest], metadata=metadata)
    nbformat.write(document, root / "notebooks" / f"{name}.ipynb")


@pytest.fixture
def locheads(root: Path) -> Command:
    """Runs the command over `root`."""
    start = (
        f"from pathlib import Path; from locheads.run import outputs; outputs.ROOT = Path({str(root)!r})\n"
    )
    start += "from locheads.cli import main; main()"

    def call(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", start, *arguments],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=root.parent,
            env={**os.environ, "COLUMNS": "200", **variables},
        )

    return call


def test_help_is_quick_and_names_the_commands(locheads: Command) -> None:
    start = time.perf_counter()
    done = locheads("--help")
    assert time.perf_counter() - start < 10
    assert done.returncode == 0
    assert all(
        re.search(rf"\b{command}\b", done.stdout) for command in ("run", "ground", "profile", "data", "train")
    )


def test_what_is_wrong_around_the_command_is_said_in_one_line(tmp_path: Path) -> None:
    start = "import os, sys; from locheads.cli import main; gone = sys.argv.pop(); os.chdir(gone); "
    start += "os.rmdir(gone) if os.environ.get('REMOVE') else None; main()"
    wanted = {
        "REMOVE": "working directory was deleted",
        "TQDM_MININTERVAL": "among TQDM_MININTERVAL: could not",
    }
    for name, said in wanted.items():
        (tmp_path / name).mkdir()
        done = subprocess.run(
            [sys.executable, "-c", start, "run", "--list", str(tmp_path / name)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(Path(locheads_package.__file__).parents[1]), name: "x"},
        )
        assert done.returncode == 2 and said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_help_imports_nothing_heavy() -> None:
    probe = "import sys, locheads.cli; print({'torch', 'matplotlib', 'scipy'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_run_executes_in_order_and_closes_with_the_table(locheads: Command, root: Path) -> None:
    done = locheads("run", "-p", "scale=2.5", "--world", "wide")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() and "WARNING" not in done.stderr
    assert "01_head_profiling: 100%" in done.stderr
    table = [line.split() for line in done.stdout.splitlines()]
    assert ["n_heads", "3", "-"] in table
    assert any(row[2:6] == ["spearman_rho", "1.250", ">", "0.7"] for row in table)
    saved = json.loads((root / "results/wide/02_iou_frequency_correlation.json").read_text())
    assert saved == {"n_heads": 3, "spearman_rho": 1.25}
    assert sorted(os.listdir(root / "runs" / "wide")) == [
        "01_head_profiling.ipynb",
        "02_iou_frequency_correlation.ipynb",
    ]


def test_the_kernel_is_this_python_whatever_kernels_are_installed(
    locheads: Command, root: Path, tmp_path: Path
) -> None:
    decoy = tmp_path / "jupyter" / "kernels" / "python3"
    decoy.mkdir(parents=True)
    spec = {"argv": ["/bin/false", "{connection_file}"], "display_name": "Decoy", "language": "python"}
    (decoy / "kernel.json").write_text(json.dumps(spec))
    done = locheads("run", "01", JUPYTER_PATH=str(tmp_path / "jupyter"))
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(root / "runs/specimen/01_head_profiling.ipynb", as_version=4)
    assert executed.cells[-1].outputs[0].text.split() == ["notebooks", sys.executable]


def test_a_failing_notebook_names_its_cell_and_leaves_its_copy(locheads: Command, root: Path) -> None:
    done = locheads("run", "-p", "scale=0", "--world", "nothing")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert "02_iou_frequency_correlation.ipynb failed at In [4] `# comment`: ZeroDivisionError" in last
    assert "Traceback" not in done.stderr
    assert not (root / "results").exists()
    copy = nbformat.read(root / "runs/nothing/02_iou_frequency_correlation.ipynb", as_version=4)
    assert any(output.output_type == "error" for cell in copy.cells for output in cell.get("outputs", []))
    finished = nbformat.read(root / "runs/nothing/01_head_profiling.ipynb", as_version=4)
    assert finished.cells[-1].execution_count == 4


def test_a_notebook_with_nothing_to_measure_is_left_out_and_the_next_one_runs(
    locheads: Command, root: Path
) -> None:
    early = "from locheads.errors import NothingToMeasure\nraise NothingToMeasure('no picture fits')"
    write(root, "01_head_profiling", SETUP, early, SAVE)
    done = locheads("run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2] == "01_head_profiling is left out: no picture fits"
    assert [path.stem for path in (root / "results/specimen").glob("0*")] == ["02_iou_frequency_correlation"]


def test_a_dead_kernel_is_a_failing_notebook(locheads: Command, root: Path) -> None:
    write(root, "01_head_profiling", "import os", "os._exit(1)")
    done = locheads("run", "01")
    assert done.returncode == 2
    assert "01_head_profiling.ipynb failed at `os._exit(1)`: its kernel died" in done.stderr.splitlines()[-1]
    assert (root / "runs/specimen/01_head_profiling.ipynb").exists()


def test_a_full_disk_in_a_notebook_is_told_in_one_line(locheads: Command, root: Path) -> None:
    full = "import errno, os\ndef full(*_):\n    raise OSError(errno.ENOSPC, 'full')\nos.replace = full\n"
    write(root, "02_iou_frequency_correlation", SETUP, full + SAVE)
    done = locheads("run", "02")
    assert done.returncode == 2
    assert "the disk is full; free some space" in done.stderr.splitlines()[-1]
    assert not list((root / "results").rglob("*.json"))


def test_in_place_puts_clean_copies_in_place_of_the_notebooks(locheads: Command, root: Path) -> None:
    path = root / "notebooks" / "02_iou_frequency_correlation.ipynb"
    assert locheads("run", "02", "--in-place").returncode == 0
    first = path.read_text()
    assert [cell.execution_count for cell in nbformat.read(path, as_version=4).cells] == [1, 2, 3, 4]
    assert not re.search("papermill|start_time|iopub|injected", first)
    assert locheads("run", "02", "--in-place").returncode == 0
    assert path.read_text() == first


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["ground", "a.png"], "Missing argument 'EXPRESSION'; see `locheads ground --help`"),
        (["rnu"], "No such command 'rnu'"),
        (["run", "--wrold", "a"], "No such option: --wrold"),
        (["profile", "--samples", "0"], "Invalid value for '--samples': Input should be greater than"),
        (["explore", "a.html", "--seed", "-1"], "Invalid value for '--seed'"),
        (["profile", "--iou-of", "blurred"], "'blurred' is not one of 'raw', 'smoothed'"),
        (["run", "07"], "no notebook '07': there are 01_head_profiling"),
        (["run", "-p", "scales=2"], "did you mean 'scale'"),
        (["run", "-p", "scale=2"], "scale = 2, not 1.0 as in the committed notebook"),
        (["run", "-p", "scale=wide"], "'scale' takes float"),
        (["run", "-p", "scale"], "not of the form name=value"),
        (["run", "--preset", "none"], "no preset 'none'"),
        (["run", "--world", "a/b"], "not a plain name"),
        (["run", "--in-place", "-p", "scale=2"], "--in-place runs the notebooks as they are"),
        (["ground", "no.png", "the ring"], "no.png: no such image"),
        (["ground", "text.png", "the ring"], "text.png: the image does not decode"),
        (["ground", "no.png", " "], "the expression is empty"),
        (["ground", "no.png", "the ring", "--output", "a.txt"], "a.txt: not a supported image format"),
        (["ground", "good.png", "the ring", "--heads", "3.2"], "heads '3.2': write them as in L3H2,L4H1"),
        (["ground", "good.png", "the ring", "--world", "b"], "run `locheads run 01_head_profiling"),
        (["run", "-p", "world=a", "--world", "b"], "the world is given twice"),
        (["run", "--world", ""], "world '' is not a plain name"),
        (["run", "--preset", ""], "no preset ''"),
        (["run", "-p", "scale=2", "-p", "scale=3"], "'scale' is given twice"),
        (["run", "-p", f"scale={'9' * 5000}", "--world", "b"], "'scale' takes float"),
        (["run", "-p", f"scale={'[' * 100000}", "--world", "b"], "'scale' takes float"),
        (["profile", "--world", "../../x"], "world '../../x' is not a plain name"),
        (["profile", "--world", ""], "world '' is not a plain name"),
        (["profile", "--device", "meta"], "'device' is 'meta'"),
        (["profile", "--precision", "int8"], "'dtype' is 'int8'"),
        (["ground", "good.png", "a\udc80"], "the expression is empty or not printable"),
        (["manifest", "specimen", "refcoco", "val", "--output", "text.png/a.jsonl"], "text.png"),
        (["manifest", "specimen", "refcoco", "val", "--output", f"{'a' * 300}.jsonl"], "name too long"),
        (["results", "--output", "folder"], "folder: Is a directory"),
        (["ground", "good.png", "the ring", "--model", "llava"], "'llava' has other heads"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    monkeypatch.setattr(outputs, "ROOT", root)
    monkeypatch.setattr(sys, "argv", ["locheads", *arguments])
    monkeypatch.chdir(root.parent)
    Path("text.png").write_text("not a picture")
    Image.new("RGB", (8, 8)).save("good.png")
    Path("folder").mkdir()
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert re.fullmatch(f"locheads: .*{re.escape(complaint)}.*\n", err, flags=re.IGNORECASE)
    assert not (root / "runs").exists()
    assert not Path("overlay.png").exists()


def test_a_full_disk_anywhere_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "data/specimen/refs.p")

    monkeypatch.setattr(cli, "app", full)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert signal.getsignal(signal.SIGTERM) is before  # forked children of a caller end as they did
    assert capsys.readouterr().err.startswith(
        "locheads: data/specimen/refs.p: the disk is full; free some space"
    )


def test_ground_file_takes_texts_for_paths(tmp_path: Path) -> None:
    with pytest.raises(LocheadsError, match="not a supported image format"):
        ground_file("a.png", "the ring", "specimen", None, "specimen", str(tmp_path / "a.txt"))
    with pytest.raises(LocheadsError, match="no such image"):
        ground_file(str(tmp_path / "a.png"), "the ring", "specimen", None, "specimen", "out.png")


def test_a_phone_photo_is_grounded_as_viewers_show_it(tmp_path: Path) -> None:
    sample = read_samples("specimen", "refcoco", "val", limit=3)[0]
    sample.image.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x112] = 6  # shown turned clockwise by 90 degrees
    sample.image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "phone.png", exif=exif)
    upright, phone = (
        ground_file(
            tmp_path / f"{name}.png", sample.expression, "specimen", "L4H2", "specimen", tmp_path / "o.png"
        )
        for name in ("upright", "phone")
    )
    assert upright == phone


def test_a_picture_that_is_a_named_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(LocheadsError, match=r"a\.png: this is a named pipe"):
        ground_file(tmp_path / "a.png", "the ring", "specimen", None, "specimen", tmp_path / "o.png")


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["locheads", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_version_and_list(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"locheads {locheads_package.__version__}\n"
    assert called(monkeypatch, "run", "--list") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["llava-1.5-7b", "llava-hf/llava-1.5-7b-hf"] in lines
    assert [line for line in lines if line[0] == "03_grounding"][0][1:]
    assert lines[0] == ["notebooks"] and ["presets"] in lines


@pytest.mark.parametrize(
    ("parameter", "complaint"),
    [
        ("k=-3", "'k' is -3; give 1 or more"),
        ("device=cdua", "'device' is 'cdua'"),
        ("prompt=", "'prompt' is empty"),
    ],
)
def test_a_dry_run_refuses_values_out_of_range(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], parameter: str, complaint: str
) -> None:
    """Over the notebooks of the study itself."""
    assert called(monkeypatch, "run", "03", "--dry-run", "-p", parameter, "--world", "b") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"locheads: {complaint}")


def test_profile_takes_ious_of_maps_as_they_are_or_smoothed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["profile", "--samples", "2", "--maps", "all", "--store"]
    for name in ("raw", "smoothed"):
        assert called(monkeypatch, *few, str(tmp_path / name), "--iou-of", name) == 0
    raw, smoothed = (read_profile(tmp_path / name).load() for name in ("raw", "smoothed"))
    assert (raw.attrs["iou_of"], smoothed.attrs["iou_of"]) == ("raw", "smoothed")
    np.testing.assert_array_equal(raw.maps, smoothed.maps)
    assert (raw.iou != smoothed.iou).mean() > 0.5
    assert called(monkeypatch, *few, str(tmp_path / "raw")) == 0, "raw is the default"
    capsys.readouterr()
    assert called(monkeypatch, *few, str(tmp_path / "smoothed")) == 2
    assert "made with iou_of 'smoothed', asked for iou_of 'raw'" in capsys.readouterr().err
    assert called(monkeypatch, *few, str(tmp_path / "new"), "--iou-of", "blurred") == 2
    assert not (tmp_path / "new").exists()


def test_a_fault_keeps_its_traceback_and_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(**_: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(cli, "app", faulty)
    with pytest.raises(ZeroDivisionError) as raised:
        cli.main()
    assert raised.value.__notes__ == [cli.FAULT] and "report it with these lines" in cli.FAULT


def test_a_temporary_folder_of_a_long_path_holds_no_sockets(locheads: Command, tmp_path: Path) -> None:
    long = tmp_path / ("a" * 120)
    long.mkdir()
    done = locheads("run", "01", TMPDIR=str(long))
    assert done.returncode == 0, done.stderr
    assert os.listdir(long) == []


@pytest.mark.parametrize("backend", ["agg", "nonsense"])
def test_figures_go_into_the_notebook_whatever_backend_the_user_has(
    locheads: Command, root: Path, backend: str
) -> None:
    write(root, "01_head_profiling", "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()")
    done = locheads("run", "01", MPLBACKEND=backend)
    assert done.returncode == 0, done.stderr
    executed = nbformat.read(root / "runs/specimen/01_head_profiling.ipynb", as_version=4)
    assert ["image/png" in output.get("data", {}) for output in executed.cells[-1].outputs] == [True]


def test_ground_draws_whatever_backend_the_user_has(locheads: Command, root: Path, tmp_path: Path) -> None:
    Image.new("RGB", (90, 90)).save(tmp_path / "a.png")
    given = ("ground", str(tmp_path / "a.png"), "the ring", "--heads", "L4H2")
    done = locheads(*given, "--output", str(tmp_path / "o.png"), MPLBACKEND="nonsense")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "o.png") as drawn:
        assert drawn.format == "PNG"


def test_start_up_files_of_the_user_are_not_run(locheads: Command, root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ipython" / "profile_default" / "startup"
    folder.mkdir(parents=True)
    (folder / "00-mine.py").write_text("import builtins\nbuiltins.len = lambda _: 0\n")
    write(
        root, "01_head_profiling", SETUP, "outputs.save_results(world, 'NAME', {'samples': len([1, 2, 3])})"
    )
    done = locheads("run", "01", IPYTHONDIR=str(tmp_path / "ipython"))
    assert done.returncode == 0, done.stderr
    assert json.loads((root / "results/specimen/01_head_profiling.json").read_text()) == {"samples": 3}


def test_without_results_the_specimens_heads_are_those_that_are_shipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = selected_heads("specimen", "specimen")
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    shipped = selected_heads("specimen", "specimen")
    assert shipped == committed, "copy layer and head of results/specimen/01 to specimen/weights/heads.json"


@pytest.mark.parametrize(
    "heads",
    [
        "null",
        "3",
        '"L3H2"',
        "[]",
        "[3]",
        "[{}]",
        '[{"layer": "3", "head": 2}]',
        '[{"layer": 3}]',
        '[{"layer": -1, "head": 0}]',
    ],
)
def test_heads_of_another_form_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, heads: str
) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    path = outputs.results_path("mine", "01_head_profiling")
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"selected_heads": {heads}}}')
    with pytest.raises(LocheadsError, match="not named numbers|selected no heads"):
        selected_heads("specimen", "mine")


def test_the_overlay_carries_expression_and_legend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        Figure, "savefig", lambda figure, path, **_: (drawn.append(figure), Path(path).touch())
    )
    sample = read_samples("specimen", "refcoco", "val", limit=1)[0]
    sample.image.save(tmp_path / "a.png")
    ground_file(tmp_path / "a.png", "the large ring", "specimen", "L4H2", "specimen", tmp_path / "o.png")
    assert drawn[0].get_suptitle() == "the large ring"
    assert [text.get_text() for text in drawn[0].legends[0].texts] == [
        "pseudo-mask",
        "its hull",
        "box of the heads",
    ]


def test_a_preset_says_how_its_model_is_loaded_and_what_is_given_counts_more() -> None:
    model, world, how = settings("llava-1.5-7b", {"model": None, "world": None, "dtype": None})
    assert (model, world) == ("llava-hf/llava-1.5-7b-hf", "llava-1.5-7b")
    assert how == {
        "device": "auto",
        "dtype": "bfloat16",
        "prompt": "release",
        "revision": "b234b804b114d9e37bb655e11cbbb5f5e971b7a9",
    }
    given = {"model": None, "world": "mine", "dtype": "float16", "revision": "main", "device": "cpu"}
    model, world, how = settings("llava-1.5-7b", given)
    assert world == "mine" and (how["dtype"], how["revision"], how["device"]) == ("float16", "main", "cpu")
    assert settings(None, {"model": None, "world": None}) == ("specimen", "specimen", {})
    with pytest.raises(LocheadsError, match="'dtype' is 'int8'"):
        settings(None, {"dtype": "int8"})


def test_a_picture_is_grounded_in_the_type_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from locheads.model import loading

    asked = []

    def listening(name: str, **how: object) -> object:
        asked.append((name, how))
        raise LocheadsError("enough")

    monkeypatch.setattr(loading, "load_lvlm", listening)
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    arguments = ["ground", str(tmp_path / "a.png"), "a dog", "--preset", "smolvlm2-500m", "--heads", "L4H2"]
    done = CliRunner().invoke(cli.app, [*arguments, "--dtype", "bfloat16"])
    assert str(done.exception) == "enough"
    how = {"device": "cpu", "dtype": "bfloat16", "prompt": "chat"}
    assert asked == [("HuggingFaceTB/SmolVLM2-500M-Video-Instruct", how)]
