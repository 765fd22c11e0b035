"""What the book's sources do to notebooks and pages, without building it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "book"))

import assemble  # noqa: E402

formulas = pytest.importorskip("formulas", reason="no latex2mathml: pip install '.[book]'")
v4 = nbformat.v4
PLACEHOLDER = "https://github.com/OWNER/locheads"


def a_notebook() -> nbformat.NotebookNode:
    """A title, a section with a formula and a link, and a cell with a picture."""
    picture = v4.new_output("display_data", {"image/png": "iVBORw0KGgo="})
    section = "## Where?\n\nThe *map* of $a_i$ in [this](x.md), bright on `L1 H2`.\n\n$$\nx\n$$"
    shown = v4.new_code_cell("draw()", execution_count=1)
    shown.outputs = [picture]
    return v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), v4.new_markdown_cell(section), shown])


def test_a_picture_is_described_by_heading_and_text_before_it() -> None:
    notebook = a_notebook()
    assemble.describe_figures(notebook)
    alt = notebook.cells[2].metadata["mystnb"]["image"]["alt"]
    assert alt == "Where?. The map of a_i in this, bright on L1 H2"


PAGE = "[a](../RESULTS.md) [`b`](../Makefile#L3) [c](../locheads/method) [d](https://x.y) [e](#f) ![f](g.png)"


def test_links_to_files_that_are_no_page_lead_to_the_repository() -> None:
    known = {Path("docs/teaching.md"), Path("RESULTS.md")}
    there = "https://github.com/somebody/fork"
    expected = PAGE.replace("../Makefile#L3", f"{there}/blob/main/Makefile#L3")
    expected = expected.replace("../locheads/method", f"{there}/tree/main/locheads/method")
    assert assemble.relinked(PAGE, Path("docs/teaching.md"), known, there) == expected


def test_without_a_public_address_only_their_words_are_left() -> None:
    known = {Path("docs/teaching.md"), Path("RESULTS.md")}
    expected = PAGE.replace("[`b`](../Makefile#L3) [c](../locheads/method)", "`b` c")
    assert assemble.relinked(PAGE, Path("docs/teaching.md"), known, PLACEHOLDER) == expected


@pytest.mark.parametrize("tex", [r"j^* = \arg\max_j d_j", r"\begin{aligned} a &= b \\ c &= d \end{aligned}"])
def test_formulas_become_mathml_without_remains_of_tex(tex: str) -> None:
    drawn = formulas.mathml(tex, "block")
    assert drawn.startswith("<math") and "\\" not in drawn and ">&<" not in drawn


def test_a_formula_that_cannot_be_drawn_is_named() -> None:
    with pytest.raises(ValueError, match=r"\\nosuchcommand"):
        formulas.mathml(r"\nosuchcommand{x}", "inline")


def test_slides_leave_out_code_checks_and_exercises(tmp_path: Path) -> None:
    command = [sys.executable, "docs/book/slides.py", str(tmp_path), "01_head_profiling"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    page = (tmp_path / "slides.html").read_text("utf-8")
    assert page.count("<section>") >= 5 and "<math" in page and "data:image/" in page
    assert "open_study(" not in page and "<h2>Exercises" not in page and "<h2>Checks" not in page
    assert 'src="http' not in page and '<link rel="stylesheet' not in page


def test_citation_changelog_and_package_name_one_version() -> None:
    import locheads

    assert f"version: {locheads.__version__}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"## [{locheads.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
