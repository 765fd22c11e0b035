"""One environment, told three times: pyproject.toml, requirements.lock and environment.yml agree."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")]
LOCK = dict(line.split("==") for line in LINES)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
BOOK = [Requirement(text) for text in PROJECT["optional-dependencies"]["book"]]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
CONDA_PIP = next(part["pip"] for part in CONDA if isinstance(part, dict))


def test_lock_holds_exact_versions_once_and_in_order() -> None:
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9a-z.]*", line) for line in LINES)
    names = [line.split("==")[0] for line in LINES]
    assert names == sorted(set(names))


def test_lock_leaves_cuda_to_torch() -> None:
    assert not [name for name in LOCK if re.match("nvidia|triton|cuda", name)]


@pytest.mark.parametrize("requirement", DIRECT + BOOK, ids=lambda requirement: requirement.name)
def test_lock_meets_the_bounds_of_pyproject(requirement: Requirement) -> None:
    assert requirement.specifier, "a direct dependency without a bound"
    assert requirement.specifier.contains(LOCK[canonicalize_name(requirement.name)])


def test_conda_environment_pins_the_direct_dependencies_as_the_lock_does() -> None:
    pins = dict(line.split("==") for line in CONDA_PIP if not line.startswith("-"))
    assert pins == {requirement.name: LOCK[canonicalize_name(requirement.name)] for requirement in DIRECT}
    assert [line for line in CONDA_PIP if line.startswith("-")] == ["-c requirements.lock", "-e ."]


def test_conda_environment_has_a_python_that_pyproject_admits() -> None:
    python = next(part for part in CONDA if isinstance(part, str) and part.startswith("python="))
    lowest = PROJECT["requires-python"].removeprefix(">=")
    assert Version(python.removeprefix("python=")) >= Version(lowest)


def test_lock_names_every_package_that_the_project_draws_in() -> None:
    """But for those that only torch asks for, which depend on its build."""
    drawn = {canonicalize_name(requirement.name) for requirement in DIRECT + BOOK}
    queue = DIRECT + BOOK
    while queue:
        requirement = queue.pop()
        if requirement.name == "torch":
            continue
        for needed in _needs(requirement):
            if canonicalize_name(needed.name) not in drawn or needed.extras:
                drawn.add(canonicalize_name(needed.name))
                queue.append(needed)
    assert drawn <= LOCK.keys()


OPTIONAL = {"spacy"}
"""Used where somebody installed it, and left out, in a printed line, where not."""


def test_every_import_is_of_a_declared_dependency() -> None:
    """What another package happens to bring may go with its next version."""
    imported = {name for path in (ROOT / "locheads").rglob("*.py") for name in _imports(path)}
    foreign = imported - sys.stdlib_module_names - {"locheads"} - OPTIONAL
    owners = packages_distributions()
    declared = {canonicalize_name(requirement.name) for requirement in DIRECT}
    assert not {name for name in foreign if not declared & set(map(canonicalize_name, owners[name]))}


def _imports(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module)
    return {module.split(".")[0] for module in modules}


def _needs(requirement: Requirement) -> list[Requirement]:
    try:
        declared = distribution(requirement.name).requires or []
    except PackageNotFoundError:
        return []
    extras = ["", *requirement.extras]
    needed = [Requirement(text) for text in declared]
    return [one for one in needed if not one.marker or any(one.marker.evaluate({"extra": e}) for e in extras)]
