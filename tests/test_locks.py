"""A folder has one holder at a time; a killed one leaves nothing that blocks."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from locheads import locks
from locheads.errors import LocheadsError
from locheads.locks import hold

HOLDER = """
import sys, time
from locheads.locks import hold
with hold(sys.argv[1], "writes this profile"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""
ADDER = """
import sys, time
from pathlib import Path
from locheads.locks import hold
number = Path(sys.argv[1], "number")
for _ in range(int(sys.argv[2])):
    with hold(sys.argv[1], "adds one", wait=True):
        before = int(number.read_text())
        time.sleep(0.002)
        number.write_text(str(before + 1))
"""


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_second_holder_is_refused_in_one_line_that_names_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "store"
    with started(HOLDER, folder, 60) as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        with pytest.raises(LocheadsError) as refused, hold(folder, "reads"):
            pass
        first.kill()
    assert str(refused.value).startswith(f"{folder}: process {first.pid} on ")
    assert str(refused.value).endswith(" writes this profile; wait until it ends, or end it")
    assert "\n" not in str(refused.value)


def test_a_killed_holder_blocks_nobody_and_a_finished_one_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with started(HOLDER, folder, 60) as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        first.kill()
    assert (tmp_path / ".store.lock").exists()  # what the killed process left
    with hold(folder, "writes"):
        assert str(os.getpid()) in (tmp_path / ".store.lock").read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_second_holder_waits_when_asked_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with started(HOLDER, tmp_path / "store", 1.5) as first:
        assert first.stdout and first.stdout.readline() == "held\n"
        with hold(tmp_path / "store", "writes", wait=True):
            assert not (tmp_path / "store").exists() and (first.wait(), first.returncode) == (0, 0)
    said, errors = capsys.readouterr()
    assert f"process {first.pid} on " in said and said.count("\n") == 1 and not errors


def test_threads_of_one_process_exclude_each_other_and_other_folders_are_free(tmp_path: Path) -> None:
    order: list[str] = []

    def second() -> None:
        with hold(tmp_path / "a", "writes", wait=True):
            order.append("second")

    with hold(tmp_path / "a", "writes"), hold(tmp_path / "b", "writes"):
        thread = Thread(target=second)
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


def test_many_holders_in_turn_lose_no_update(tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    adders = [started(ADDER, tmp_path, 20) for _ in range(4)]
    assert [one.wait() for one in adders] == [0, 0, 0, 0]
    assert (tmp_path / "number").read_text() == "80"


def test_an_error_inside_frees_the_lock_and_stays_itself(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), hold(tmp_path / "store", "writes"):
        raise OSError("mine")
    with hold(tmp_path / "store", "writes"):
        pass


def test_a_file_system_without_locks_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(file: int, operation: int) -> None:
        raise OSError(locks.errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", without)
    warned = pytest.warns(UserWarning, match="store.lock: this file system has no locks")
    with warned, hold(tmp_path / "store", "writes"):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*_: object) -> int:
        raise OSError(locks.errno.EROFS, "Read-only file system")

    monkeypatch.setattr(locks.os, "open", read_only)
    with pytest.raises(LocheadsError, match="store: cannot write here"), hold(tmp_path / "store", "writes"):
        pass
