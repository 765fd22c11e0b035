"""One run at a time in a world; a run that is ended or killed leaves nothing for good."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import pytest

from locheads.errors import LocheadsError
from locheads.run import leftovers
from locheads.run.leftovers import sweep

pytestmark = pytest.mark.slow

BODY = "import time\nopen('../started', 'w').write('x')\ntime.sleep(pause)"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A study of one notebook, which sleeps."""
    (tmp_path / "notebooks").mkdir()
    short = tempfile.mkdtemp()  # sockets have paths of about 100 characters at most
    (tmp_path / "tmp").symlink_to(short)
    first = nbformat.v4.new_code_cell('world = "specimen"\npause = 0.0\n', metadata={"tags": ["parameters"]})
    document = nbformat.v4.new_notebook(cells=[first, nbformat.v4.new_code_cell(BODY)])
    nbformat.write(document, tmp_path / "notebooks" / "01_sleeps.ipynb")
    return tmp_path


def started(root: Path, *arguments: str) -> subprocess.Popen[str]:
    start = (
        f"from pathlib import Path; from locheads.run import outputs; outputs.ROOT = Path({str(root)!r})\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", start + "from locheads.cli import main; main()", "run", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": os.readlink(root / "tmp")},
    )


def sleeping(root: Path) -> subprocess.Popen[str]:
    """Starts a run that sleeps in its notebook, and returns when it does."""
    one, end = started(root, "-p", "pause=60", "--world", "mine"), time.monotonic() + 60
    while not (root / "started").exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert (root / "started").exists()
    return one


def temporary(root: Path) -> list[str]:
    """Returns what lies in the temporary folder, and the unfinished copies and locks of the world."""
    left = [*Path(os.readlink(root / "tmp")).rglob("*"), *(root / "runs").rglob(".*")]
    return [str(path) for path in left if not path.is_dir() or path.name.startswith("locheads")]


def test_a_second_run_in_a_world_is_refused_and_sigterm_leaves_nothing(root: Path) -> None:
    first = sleeping(root)
    assert len(temporary(root)) > 5, "sockets, a copy and a lock"
    err = (second := started(root, "--world", "mine")).communicate(timeout=60)[1]
    assert second.returncode == 2
    (line,) = err.splitlines()
    assert f"process {first.pid}" in line and "runs notebooks in world 'mine'" in line
    assert started(root, "--world", "another").wait(60) == 0
    first.terminate()
    err = first.communicate(timeout=60)[1]
    assert first.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in err and err.splitlines()[-1].startswith("locheads: terminated by a signal")
    assert temporary(root) == []


def test_what_a_killed_run_leaves_is_swept_by_the_next(root: Path) -> None:
    killed = sleeping(root)
    killed.kill()
    killed.communicate(timeout=60)
    assert len(temporary(root)) > 5
    last = started(root, "--world", "mine")
    assert last.wait(60) == 0, last.communicate()[1]
    assert temporary(root) == []


def test_only_leftovers_of_ended_processes_are_swept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", os.readlink(root / "tmp"))  # short enough for sockets
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    names = {
        f".01_a.partial.{ended.pid}.ipynb",
        f".01_a.partial.{os.getpid()}.ipynb",
        "01_a.ipynb",
        ".profile.partial.1",
    }
    for name in names:
        (root / name).touch()
    for pid in (ended.pid, os.getpid()):
        (root / "tmp" / f"locheads-{pid}-abc").mkdir()
    sweep(root)
    assert {path.name for path in root.iterdir() if path.is_file()} == names - {
        f".01_a.partial.{ended.pid}.ipynb"
    }
    assert os.listdir(root / "tmp") == [f"locheads-{os.getpid()}-abc"]


def test_sockets_lie_where_their_paths_are_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux allows 107 bytes; `kernel-5` is the longest name of a socket."""
    base, short = tmp_path / "base", Path(tempfile.mkdtemp())
    monkeypatch.setattr(leftovers, "SHORT", short)
    for length in (60, 70, 80, 150):
        folder = base / ("ü" * (length // 2))
        folder.mkdir(parents=True)
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        with leftovers.own_folder() as own, socket.socket(socket.AF_UNIX) as one:
            one.bind(str(own / "kernel-5"))
            assert own.parent in (folder, short)
        assert not own.exists()
    assert own.parent == short
    monkeypatch.setattr(leftovers, "SHORT", folder)
    with (
        pytest.raises(LocheadsError, match=f"{folder} is too long for a kernel's sockets; set TMPDIR to"),
        leftovers.own_folder(),
    ):
        pass
