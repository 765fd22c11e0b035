"""Every committed notebook keeps the anatomy that CONTRIBUTING.md describes."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat import NotebookNode

from locheads.errors import LocheadsError
from locheads.paper.coverage import HEADLINES
from locheads.run import outputs, runner
from locheads.run.parameters import declared

LARGEST = 300_000
HEADINGS = ("Paper and here", "Checks", "Exercises")
NOTEBOOKS = runner.notebooks()
LOCAL_PATH = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|tmp|var|mnt|opt|srv|private)/\w|\b[A-Z]:\\\w")


def problems(path: Path) -> Iterator[str]:
    """What a notebook breaks of the contract, in words."""
    document = nbformat.read(path, as_version=4)
    code = [cell for cell in document.cells if cell.cell_type == "code" and cell.source.strip()]
    if path.stat().st_size >= LARGEST:
        yield f"{path.stat().st_size} bytes"
    if not document.cells or not document.cells[0].source.startswith("# "):
        yield "no title"
    if [cell.execution_count for cell in code] != list(range(1, len(code) + 1)):
        yield "not executed once, top to bottom"
    yield from _parameter_problems(path, document)
    yield from _prose_problems(document)
    yield from _code_problems(code)
    yield from _output_problems(code)
    text = "\n".join(_texts(document))
    if LOCAL_PATH.search(text) or str(outputs.ROOT) in text:
        yield "a path of somebody's machine"


def _parameter_problems(path: Path, document: NotebookNode) -> Iterator[str]:
    try:
        defaults = declared(path)
    except LocheadsError as error:
        yield str(error)
        return
    if defaults.get("world") != outputs.SPECIMEN:
        yield "no parameter world = 'specimen'"
    if any(isinstance(value, tuple | set | bytes) for value in defaults.values()):
        yield "a parameter that YAML cannot hold"
    cell = next(cell for cell in document.cells if "parameters" in cell.metadata.get("tags", []))
    tokens = list(tokenize.generate_tokens(io.StringIO(cell.source).readline))
    commented = {token.start[0] for token in tokens if token.type == tokenize.COMMENT}
    if any(statement.end_lineno not in commented for statement in ast.parse(cell.source).body):
        yield "a parameter without a trailing comment"


def _prose_problems(document: NotebookNode) -> Iterator[str]:
    prose = "\n".join(cell.source for cell in document.cells if cell.cell_type == "markdown")
    titles = re.findall(r"^#+\s*(.+?)\s*$", prose, flags=re.MULTILINE)
    yield from (f"no heading '{heading}'" for heading in HEADINGS if heading not in titles)


def _code_problems(code: list[NotebookNode]) -> Iterator[str]:
    for cell in code:
        plain = re.sub(r"^\s*[%!].*$", "", cell.source, flags=re.MULTILINE)
        named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        for node in ast.walk(ast.parse(plain)):
            if isinstance(node, named):
                yield f"'{node.name}' belongs in the package"


def _output_problems(code: list[NotebookNode]) -> Iterator[str]:
    checked = [cell for cell in code if "nbval-check-output" in cell.metadata.get("tags", [])]
    if not any(cell.outputs for cell in checked):
        yield "no output that nbval compares"
    for output in (output for cell in code for output in cell.outputs):
        if output.output_type == "error":
            yield f"an error: {output.ename}"
        if output.output_type == "stream" and output.name == "stderr":
            yield f"on stderr: {output.text[:60]!r}"


def _texts(document: NotebookNode) -> Iterator[str]:
    """Sources and textual outputs; pictures are left out."""
    for cell in document.cells:
        yield cell.source
        for output in cell.get("outputs", []):
            yield output.get("text", "")
            yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def test_the_first_four_notebooks_are_there() -> None:
    names = ["00_start_here", "01_head_profiling", "02_iou_frequency_correlation", "03_grounding"]
    assert [path.stem for path in NOTEBOOKS][:4] == names


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_contract(path: Path) -> None:
    assert list(problems(path)) == []


@pytest.mark.parametrize(
    "headline", HEADLINES, ids=lambda headline: f"{headline.notebook[:2]}-{headline.key}"
)
def test_committed_results_hold_the_headlines(headline: Any) -> None:
    assert headline.key in outputs.load_results(outputs.SPECIMEN, headline.notebook)


def good_notebook() -> NotebookNode:
    """A small notebook that keeps the contract."""
    v4 = nbformat.v4
    parameters = v4.new_code_cell(
        'world = "specimen"  # world\nk = [\n    3,\n]  # heads', metadata={"tags": ["parameters"]}
    )
    summary = v4.new_code_cell("print(k)", metadata={"tags": ["nbval-check-output"]})
    summary.outputs = [v4.new_output("stream", name="stdout", text="[3]\n")]
    prose = [v4.new_markdown_cell("# Title")] + [v4.new_markdown_cell(f"## {title}") for title in HEADINGS]
    for count, cell in enumerate((parameters, summary), start=1):
        cell.execution_count = count
    return v4.new_notebook(cells=[prose[0], parameters, *prose[1:], summary])


def _append(text: str) -> Callable[[NotebookNode], None]:
    def change(notebook: NotebookNode) -> None:
        notebook.cells[-1].source += "\n" + text

    return change


def _output(**fields: Any) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[-1].outputs.append(nbformat.v4.new_output(**fields))


def _parameters(text: str) -> Callable[[NotebookNode], None]:
    return lambda notebook: notebook.cells[1].update(source='world = "specimen"  # world\n' + text)


BROKEN: dict[str, Callable[[NotebookNode], None]] = {
    "no title": lambda notebook: notebook.cells[0].update(source="Title"),
    "not executed": lambda notebook: notebook.cells[-1].update(execution_count=3),
    "no heading 'Checks'": lambda notebook: notebook.cells[3].update(source="Checks"),
    "0 cells are tagged": lambda notebook: notebook.cells[1].metadata.update(tags=[]),
    "may hold only": _parameters("k = 1 + n  # heads"),
    "no parameter world": lambda notebook: notebook.cells[1].update(source="k = 3  # heads"),
    "YAML cannot hold": _parameters("k = (3,)  # heads"),
    "without a trailing comment": _parameters("k = 3\n# heads"),
    "'helper' belongs": _append("def helper(): ..."),
    "'Helper' belongs": _append("%matplotlib inline\nclass Helper: ..."),
    "no output that nbval": lambda notebook: notebook.cells[-1].metadata.update(tags=[]),
    "an error: ValueError": _output(output_type="error", ename="ValueError", evalue="", traceback=[]),
    "on stderr": _output(output_type="stream", name="stderr", text="a warning"),
    "somebody's machine": _output(output_type="stream", name="stdout", text="saved to /home/me/x.png"),
    " bytes": _output(output_type="display_data", data={"image/png": "A" * LARGEST}),
}


def test_a_good_notebook_has_no_problems(tmp_path: Path) -> None:
    nbformat.write(good_notebook(), tmp_path / "01_good.ipynb")
    assert list(problems(tmp_path / "01_good.ipynb")) == []


@pytest.mark.parametrize("complaint", BROKEN)
def test_each_breach_is_noticed(tmp_path: Path, complaint: str) -> None:
    notebook = good_notebook()
    BROKEN[complaint](notebook)
    nbformat.write(notebook, tmp_path / "01_bad.ipynb")
    found = list(problems(tmp_path / "01_bad.ipynb"))
    assert len(found) == 1
    assert complaint in found[0]
