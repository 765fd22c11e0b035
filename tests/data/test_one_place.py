"""Pictures, JSON and pickles from outside are opened in one place each, so that a rule holds everywhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import locheads

PACKAGE = Path(locheads.__file__).parent


@pytest.mark.parametrize(
    ("call", "folder", "place"),
    [
        (r"Image\.open\(", "", "data/pictures.py"),
        (r"pickle\.Unpickler|pickle\.loads?\(", "data", "data/plain_pickle.py"),
        (r"\bcoco\.(frPyObjects|merge|area)\(", "", "data/masks.py"),
    ],
)
def test_there_is_one_place(call: str, folder: str, place: str) -> None:
    files = [path for path in (PACKAGE / folder).rglob("*.py") if re.search(call, path.read_text("utf-8"))]
    assert [path.relative_to(PACKAGE).as_posix() for path in files] == [place]
