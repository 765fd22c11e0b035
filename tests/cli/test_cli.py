"""The `locheads` command as a user meets it: in a process of its own, over a small study of its own."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from PIL import Image

from locheads import cli
from locheads.cli.ground_picture import ground_file
from locheads.data import read_samples
from locheads.errors import LocheadsError
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
        (["ground", "no.png", "the ring", "--output", "a.txt"], "a.txt: not a kind of picture"),
        (["ground", "good.png", "the ring", "--heads", "3.2"], "heads '3.2': write them as in L3H2,L4H1"),
        (["ground", "good.png", "the ring"], "run `locheads run 01_head_profiling"),
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
    with pytest.raises(SystemExit) as end:
        cli.main()
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert re.fullmatch(f"locheads: .*{re.escape(complaint)}.*\n", err)
    assert not (root / "runs").exists()
    assert not Path("overlay.png").exists()


def test_a_full_disk_anywhere_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "data/specimen/refs.p")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(
        "locheads: data/specimen/refs.p: the disk is full; free some space"
    )


def test_ground_file_takes_texts_for_paths(tmp_path: Path) -> None:
    with pytest.raises(LocheadsError, match="not a kind of picture"):
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
