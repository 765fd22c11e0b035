"""A file is the old one or the whole new one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from locheads.errors import LocheadsError
from locheads.files import read_regular, replacing


def test_takes_the_place_of_the_old_file_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "made" / "on" / "demand" / "numbers.json"
    path.parent.mkdir(parents=True)
    path.write_text("old")
    with replacing(path) as partial:
        partial.write_text("new")
        assert path.read_text() == "old"
        assert (partial.parent, partial.suffix) == (path.parent, ".json")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["numbers.json"]


@pytest.mark.parametrize("there", [True, False])
def test_an_error_leaves_things_as_they_were(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "numbers.json"
    if there:
        path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["old"] * there


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_one_line_and_nothing_half_written(tmp_path: Path, number: int) -> None:
    path = tmp_path / "numbers.json"
    complaint = r"numbers\.json: the disk is full; free some space"
    with pytest.raises(LocheadsError, match=complaint) as caught, replacing(path) as partial:
        partial.write_text("half")
        raise OSError(number, os.strerror(number))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_really_full_device(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    with pytest.raises(LocheadsError, match="disk is full"), replacing(tmp_path / "a.txt") as partial:
        partial.symlink_to("/dev/full")
        partial.write_text("no room")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocheadsError, match=r"a\.txt: cannot write here"), replacing(tmp_path / "a.txt"):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_other_errors_of_the_system_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "never written"):
        pass


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert read_regular(tmp_path / "a") == read_regular(tmp_path / "link") == b"abc"
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("pipe", "named pipe"), (".", "a folder")):
        with pytest.raises(LocheadsError, match=f"this is .*{kind}"):
            read_regular(tmp_path / name)
    with pytest.raises(LocheadsError, match="no file can have this name"):
        read_regular("a\0b")
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "missing")
