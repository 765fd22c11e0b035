"""Makes the student edition: the notebooks and their exercises, with solutions blanked and outputs stripped.

    python docs/course.py FOLDER     writes FOLDER/*.ipynb and FOLDER/exercises/*.ipynb

`notebooks/solutions` holds the exercises of each notebook of the study, solved. Tags say what students get: a
cell tagged `solution` is blanked (code becomes a stub, words are left out); one tagged `check` asserts what
belongs in the stub, and fails until it is there. A few cells of the study itself, which compute by hand what
the package then confirms, are tagged the same way.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
GRADES = ("easy", "medium", "project")
SHORTEST = 24
"""Lines of fewer characters, such as `else:` or `k = 1: 77.5%`, give no solution away."""

_EXERCISE = re.compile(rf"^(\d+)\. \*\(({'|'.join(GRADES)})\)\* .+$", re.MULTILINE)
_SCOPES = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)


def exercises(notebook: NotebookNode) -> dict[int, str]:
    """Returns the text of each exercise of a notebook of the study, with its grade, by number."""
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    _, _, after = prose.partition("## Exercises")
    return {int(found[1]): found[0].partition(". ")[2] for found in _EXERCISE.finditer(after)}


def tagged(cell: NotebookNode, tag: str) -> bool:
    """Returns whether a cell has a tag."""
    return tag in cell.metadata.get("tags", [])


def assigned(source: str) -> set[str]:
    """Returns the names that a cell defines: assigned, imported, or bound by a loop."""
    return set(_bound(ast.parse(source)))


def _bound(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        yield node.id
    if isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    if not isinstance(node, _SCOPES):
        for child in ast.iter_child_nodes(node):
            yield from _bound(child)


def read(source: str) -> set[str]:
    """Returns the names that a cell reads."""
    names = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name))
    return {node.id for node in names if isinstance(node.ctx, ast.Load)}


def blanked(notebook: NotebookNode) -> NotebookNode:
    """Returns the students' copy of a notebook: solutions blanked, outputs and execution counts stripped."""
    given = [cell for cell in notebook.cells if cell.cell_type == "code" and not tagged(cell, "solution")]
    wanted = set().union(*(read(cell.source) for cell in given)) - set().union(
        *(assigned(cell.source) for cell in given)
    )
    copy = nbformat.from_dict(notebook)
    copy.cells = [
        nbformat.from_dict(cell)
        for cell in notebook.cells
        if not (cell.cell_type == "markdown" and tagged(cell, "solution"))
    ]
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if tagged(cell, "solution"):
                cell.source = stub(sorted(wanted & assigned(cell.source)))
    return copy


def stub(names: list[str]) -> str:
    """Returns what stands in place of a solution; `names` are what the cells after it read."""
    return f'# Your turn. Later cells read: {", ".join(names)}.\nraise NotImplementedError("your turn")'


def solution_lines(notebook: NotebookNode) -> set[str]:
    """Returns the lines of a notebook's solutions and of their outputs that would give something away."""
    lines: list[str] = []
    for cell in (cell for cell in notebook.cells if tagged(cell, "solution")):
        lines += cell.source.splitlines()
        for output in cell.get("outputs", []):
            lines += output.get("text", "").splitlines()
            lines += output.get("data", {}).get("text/plain", "").splitlines()
    stripped = {line.strip() for line in lines}
    return {line for line in stripped if len(line) >= SHORTEST and not line.startswith("<Figure")}


def leaks(students: dict[str, NotebookNode], solved: dict[str, NotebookNode]) -> list[str]:
    """Returns where a line of a solution, or any output, is found in the students' notebooks.

    Args:
        students: Notebooks of the student edition by name.
        solved: The notebooks with solutions.
    """
    secret = set().union(*(solution_lines(notebook) for notebook in solved.values()))
    found = []
    for name, notebook in students.items():
        if any(cell.get("outputs") for cell in notebook.cells):
            found.append(f"{name}: an output")
        text = "\n".join(cell.source for cell in notebook.cells)
        found += [f"{name}: {line}" for line in sorted(secret) if line in text]
    return found


def edition(folder: Path = ROOT / "notebooks") -> tuple[dict[str, NotebookNode], dict[str, NotebookNode]]:
    """Returns the student edition and the notebooks it is made of, by their names in the edition."""
    paths = {path.name: path for path in sorted(folder.glob("[0-9]*.ipynb"))}
    paths |= {f"exercises/{path.name}": path for path in sorted(folder.glob("solutions/[0-9]*.ipynb"))}
    solved = {name: nbformat.read(path, as_version=4) for name, path in paths.items()}
    return {name: blanked(notebook) for name, notebook in solved.items()}, solved


def main() -> int:
    """Writes the student edition into the folder that is named; returns 1, and writes nothing, at a leak."""
    folder = Path(sys.argv[1])
    students, solved = edition()
    if found := leaks(students, solved):
        print("solutions leak into the student edition:", *found, sep="\n", file=sys.stderr)
        return 1
    for name, notebook in students.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, folder / name)
    print(f"{len(students)} notebooks in {folder}; begin with {next(iter(students))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
