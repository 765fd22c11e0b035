"""Progress bars: none where nothing is to be done, a true start, and never on a notebook's stderr."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from locheads.progress import HEADLESS, progress
from locheads.run.relay import newest


@pytest.fixture(autouse=True)
def shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(HEADLESS, raising=False)


def test_a_resumed_bar_starts_at_what_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(8, "heads", 6) as bar:
        assert bar.n == 6
        bar.update(2)
    said, errors = capsys.readouterr()
    assert not said and "| 6/8 [" in errors and "0/8 [" not in errors
    assert errors.split("\r")[-1] == ""  # the line is wiped


@pytest.mark.parametrize("done", [8, 9])
def test_where_nothing_is_left_there_is_no_bar(capsys: pytest.CaptureFixture[str], done: int) -> None:
    with progress(8, "heads", done):
        pass
    assert capsys.readouterr() == ("", "")


def test_in_a_notebook_the_bar_goes_to_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = type("OutStream", (io.StringIO,), {"__module__": "ipykernel.iostream"})
    stdout, stderr = kernels(), kernels()
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress(8, "heads") as bar:
        bar.update(8)
    assert "heads:   0%" in stdout.getvalue() and stdout.getvalue().endswith("\r")
    assert stderr.getvalue() == ""


def test_for_the_runner_a_bar_is_drawn_into_its_file(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(HEADLESS, str(tmp_path / "bar"))
    with progress(8, "heads", 2) as bar:
        bar.update(2)
        bar.refresh()
        assert newest(tmp_path / "bar").startswith("heads:  50%") and "4/8 [" in newest(tmp_path / "bar")
    assert newest(tmp_path / "bar") == ""
    assert capsys.readouterr() == ("", "")
