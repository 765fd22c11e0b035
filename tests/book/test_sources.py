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
import launch  # noqa: E402

formulas = pytest.importorskip("formulas", reason="no latex2mathml: pip install '.[book]'")
v4 = nbformat.v4


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


def test_links_follow_the_one_constant_and_are_put_once(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = a_notebook()
    launch.put_links(notebook, "00_x.ipynb")
    monkeypatch.setattr(launch, "_SLUG", "somebody/fork")
    for _ in range(2):
        launch.put_links(notebook, "00_x.ipynb")
        launch.put_install_cell(notebook)
    title = notebook.cells[0].source
    assert title.count("colab.research.google.com/github/somebody/fork/blob/main/notebooks/00_x.ipynb") == 1
    assert title.count("mybinder.org/v2/gh/somebody/fork/main?urlpath=lab/tree/notebooks/00_x.ipynb") == 1
    assert len(notebook.cells) == 4
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"] == [1, 2]
    nbformat.validate(notebook)


def test_the_install_cell_does_nothing_elsewhere() -> None:
    from IPython.core.interactiveshell import InteractiveShell

    ran: list[str] = []
    shell = InteractiveShell()
    shell.register_magic_function(ran.append, magic_name="pip")
    assert shell.run_cell(launch.install_source()).success and ran == []
    sys.modules["google.colab"] = sys
    try:
        assert shell.run_cell(launch.install_source()).success
    finally:
        del sys.modules["google.colab"]
    assert ran == [f"install -q git+{launch.REPOSITORY}"]


def test_links_to_files_that_are_no_page_lead_to_the_repository() -> None:
    known = {Path("docs/teaching.md"), Path("RESULTS.md")}
    text = (
        "[a](../RESULTS.md) [b](../Makefile#L3) [c](../locheads/method) [d](https://x.y) [e](#f) ![f](g.png)"
    )
    there = launch.REPOSITORY
    expected = text.replace("../Makefile#L3", f"{there}/blob/main/Makefile#L3")
    expected = expected.replace("../locheads/method", f"{there}/tree/main/locheads/method")
    assert assemble.relinked(text, Path("docs/teaching.md"), known) == expected


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
    assert f'repository-code: "{launch.REPOSITORY}"\n' in (ROOT / "CITATION.cff").read_text()
    assert f"## [{locheads.__version__}]" in (ROOT / "CHANGELOG.md").read_text()
