"""Imports follow the way of the data that CONTRIBUTING.md draws: nothing imports what lies further on."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASE = ("errors", "files", "locks", "place", "progress")
"""Modules beside the packages, which all may import."""


def way() -> list[str]:
    """The packages in the order of the picture in CONTRIBUTING.md, from left to right."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    (picture,) = re.findall(r"^paper → .*$", text, flags=re.MULTILINE)
    return [name.strip() for name in picture.split("→")]


def imports(source: str, package: str) -> Iterator[tuple[str, int]]:
    """The rooms of `locheads` that a module imports, also inside functions, with the line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.level:
            yield package, node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "locheads":
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("locheads."):
            yield str(node.module).split(".")[1], node.lineno
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
            yield from ((name[1], node.lineno) for name in names if name[0] == "locheads" and name[1:])


def backward(source: str, package: str) -> list[str]:
    """The imports of a module in `package` that run against the way of the data."""
    order = way()
    place = order.index(package) if package in order else -1
    return [
        f"line {line}: {package} imports {room}"
        for room, line in imports(source, package)
        if room in order and order.index(room) > place
    ]


def modules() -> list[Path]:
    return sorted((ROOT / "locheads").rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_import_runs_back(path: Path) -> None:
    room = path.relative_to(ROOT / "locheads").parts[0].removesuffix(".py")
    assert backward(path.read_text(encoding="utf-8"), room) == []


def test_every_package_is_in_the_picture() -> None:
    packages = {path.parent.name for path in (ROOT / "locheads").glob("*/__init__.py")}
    assert packages == set(way())
    assert {path.stem for path in (ROOT / "locheads").glob("*.py")} == {"__init__", *BASE}


@pytest.mark.parametrize(
    "planted",
    [
        "from locheads.evaluation.metrics import box_iou",
        "from locheads import plotting",
        "import locheads.cli",
        "def late():\n    from locheads.run import outputs",
    ],
)
def test_a_planted_import_is_found(planted: str) -> None:
    assert len(backward(planted, "method")) == 1
    assert backward(planted, "cli") == []


@pytest.mark.parametrize("package", ["paper", "method", "data"])
def test_what_comes_before_the_model_knows_no_torch(package: str) -> None:
    for path in (ROOT / "locheads" / package).rglob("*.py"):
        tops = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else
                         [str(node.module)] if isinstance(node, ast.ImportFrom) else [])
        }  # fmt: skip
        assert not tops & {"torch", "transformers"}, path
