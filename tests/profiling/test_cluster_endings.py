"""How profiles on Dask workers end: whatever is lost, one line says so, and the store stays whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from locheads.profiling import checksums

pytestmark = pytest.mark.slow

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python modules, each in a session of its own; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def call(*arguments: str, errors: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
        variables = {**os.environ, "OMP_NUM_THREADS": "1", "LOCHEADS_HEADLESS": os.devnull}
        variables["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        variables["DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT"] = "10s"  # 30 s would only be waited for
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                text=True,
                cwd=tmp_path,
                env=variables,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )
        )
        return started[-1]

    yield call
    for one in started:
        if one.poll() is None:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()


def profile(start: Start, place: Path, *where: str) -> subprocess.Popen[str]:
    few = ("profile", "--model", "specimen-narrow", "--samples", "320", "--maps", "none")
    return start("locheads.cli", *few, "--store", str(place / "store"), *where, errors=subprocess.PIPE)


def scheduler(start: Start, place: Path) -> tuple[subprocess.Popen[str], str]:
    """Starts a scheduler; returns it and its address."""
    file = place / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    running = start("distributed.cli.dask_scheduler", *options)
    wait_until(lambda: file.exists() and file.stat().st_size > 0, running)
    return running, json.loads(file.read_text())["address"]


def wait_until(holds: Callable[[], object], process: subprocess.Popen[str], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, "the process ended before"
        assert time.monotonic() < end
        time.sleep(0.05)


def last_line(process: subprocess.Popen[str]) -> str:
    """Returns the only line of stderr when the process has ended."""
    (line,) = process.communicate(timeout=600)[1].splitlines()
    return line


def started_part(place: Path) -> bool:
    return (place / "store" / "manifest" / "part-0.sha256").exists()


def check_whole(store: Path) -> None:
    """Every list of the store holds, so that nothing half-written counts as done."""
    names = [path.stem for path in (store / "manifest").glob("*.sha256")]
    assert len(names) > 1
    assert [checksums.bad_files(store, name) for name in names] == [[]] * len(names)


def test_no_scheduler(start: Start, tmp_path: Path) -> None:
    running = profile(start, tmp_path, "--scheduler", "tcp://127.0.0.1:9")
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in last_line(running)
    assert running.returncode == 2


def test_a_scheduler_without_workers(start: Start, tmp_path: Path) -> None:
    address = scheduler(start, tmp_path)[1]
    running = profile(start, tmp_path, "--scheduler", address)
    line = last_line(running)
    assert f"the Dask scheduler at {address} has no workers after 10 seconds; start `dask worker" in line
    assert running.returncode == 2 and not (tmp_path / "store").exists()


def test_a_scheduler_that_is_killed(start: Start, tmp_path: Path) -> None:
    lost, address = scheduler(start, tmp_path)
    start("distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard")
    running = profile(start, tmp_path, "--scheduler", address)
    wait_until(lambda: started_part(tmp_path), running)
    lost.kill()
    assert "the Dask scheduler was lost; start it and run again: finished parts are kept" in last_line(
        running
    )
    assert running.returncode == 2
    check_whole(tmp_path / "store")


def children(process: subprocess.Popen[str]) -> list[int]:
    """Returns the Dask workers that a process has started."""
    found = subprocess.run(
        ["pgrep", "-P", str(process.pid), "-f", "spawn_main"], capture_output=True, text=True
    )
    return [int(one) for one in found.stdout.split()]


def test_a_worker_that_is_killed_while_it_starts(start: Start, tmp_path: Path) -> None:
    running = profile(start, tmp_path, "--workers", "2")
    wait_until(lambda: children(running), running)
    os.kill(children(running)[0], signal.SIGKILL)
    assert "a Dask worker ended while it started" in last_line(running)
    assert running.returncode == 2 and children(running) == []


def test_ctrl_c_with_workers(start: Start, tmp_path: Path) -> None:
    """The terminal sends it to all processes."""
    running = profile(start, tmp_path, "--workers", "2")
    wait_until(lambda: started_part(tmp_path), running)
    workers = children(running)
    os.killpg(running.pid, signal.SIGINT)
    assert last_line(running) == "locheads: interrupted; finished work is kept"
    assert running.returncode == 130
    assert workers and not any(Path(f"/proc/{one}").exists() for one in workers)
    check_whole(tmp_path / "store")
