"""Outcome goes to the clone, or to the working directory of an installed package."""

from __future__ import annotations

from pathlib import Path

import pytest

from locheads import place
from locheads.run import outputs


def test_a_clone_is_its_own_place() -> None:
    assert place.root() == outputs.ROOT == Path(__file__).resolve().parents[1]


def test_an_installed_package_writes_where_one_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place.root(tmp_path / "lib" / "site-packages" / "locheads") == tmp_path


def test_a_kernel_in_the_notebooks_folder_writes_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert place.root(tmp_path / "lib" / "site-packages" / "locheads") == tmp_path
