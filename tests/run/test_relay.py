"""What a kernel draws into its file appears where the runner is, and nothing stays."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from locheads.run import relay
from locheads.run.relay import newest, relayed


def test_the_newest_line_is_what_follows_the_last_return(tmp_path: Path) -> None:
    assert newest(tmp_path / "none") == ""
    bar = tmp_path / "bar"
    bar.write_text("\rheads: 10%\rheads: 20% [00:01<00:04]")
    assert newest(bar) == "heads: 20% [00:01<00:04]"
    bar.write_text("\r        \r")
    assert newest(bar) == ""


def test_in_a_log_each_new_line_is_written_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "IN_LOG", 0.01)
    with relayed(tmp_path / "bar"):
        for line in ("heads: 10%", "heads: 20%"):
            (tmp_path / "bar").write_text(f"\r{line}")
            time.sleep(0.3)
    assert capsys.readouterr().err.splitlines() == ["heads: 10%", "heads: 20%"]


def test_a_terminal_is_left_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "IN_TERMINAL", 0.01)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    (tmp_path / "bar").write_text("\rheads: 30%")
    with relayed(tmp_path / "bar"):
        time.sleep(0.3)
    said = capsys.readouterr().err
    assert "heads: 30%" in said and said.rpartition("\r")[2].strip("\n\x1b[A ") == ""
