"""Links to Colab and Binder, and Colab's install cell: on every notebook, from one constant."""

from __future__ import annotations

import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "book"))

import launch  # noqa: E402

v4 = nbformat.v4
FORK = "https://github.com/somebody/fork"
PLACEHOLDER = "https://github.com/OWNER/locheads"


def a_notebook() -> nbformat.NotebookNode:
    """A title and two cells, executed."""
    cells = [v4.new_code_cell("1 + 1", execution_count=1), v4.new_code_cell("2", execution_count=2)]
    cells[1].outputs = [v4.new_output("execute_result", {"text/plain": "2"}, execution_count=2)]
    return v4.new_notebook(cells=[v4.new_markdown_cell("# Title"), *cells])


def test_every_notebook_has_links_and_install_cell_of_the_constant() -> None:
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        first, second = nbformat.read(path, as_version=4).cells[:2]
        assert first.source.splitlines()[-1] == launch.links(path.name), path.name
        assert second.source == launch.install_source(), path.name


def test_the_command_writes_once_and_names_what_lacks_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notebooks").mkdir()
    nbformat.write(a_notebook(), tmp_path / "notebooks" / "00_x.ipynb")
    (tmp_path / "CITATION.cff").write_text((ROOT / "CITATION.cff").read_text("utf-8"), "utf-8")
    monkeypatch.setattr(launch, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["launch.py", "--check"])
    assert launch.main() == 1
    assert "00_x.ipynb; run" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["launch.py"])
    assert launch.main() == 0
    written = (tmp_path / "notebooks" / "00_x.ipynb").read_bytes()
    monkeypatch.setattr(sys, "argv", ["launch.py", "--check"])
    assert launch.main() == 0
    assert (tmp_path / "notebooks" / "00_x.ipynb").read_bytes() == written


def test_links_follow_the_address_and_are_put_once() -> None:
    notebook = a_notebook()
    for address in (PLACEHOLDER, "https://github.com/old/name", FORK, FORK):
        launch.put_links(notebook, "00_x.ipynb", address)
        launch.put_install_cell(notebook, address)
    title = notebook.cells[0].source
    assert title.count("colab.research.google.com/github/somebody/fork/blob/main/notebooks/00_x.ipynb") == 1
    assert title.count("mybinder.org/v2/gh/somebody/fork/main?urlpath=lab/tree/notebooks/00_x.ipynb") == 1
    assert title.count("Open in") == 1 and "old/name" not in str(notebook)
    assert [c.execution_count for c in notebook.cells if c.cell_type == "code"] == [1, 2, 3]
    assert notebook.cells[-1].outputs[0].execution_count == 3
    nbformat.validate(notebook)


def test_a_placeholder_makes_no_link() -> None:
    notebook = a_notebook()
    for address in (FORK, PLACEHOLDER):
        launch.put_links(notebook, "00_x.ipynb", address)
        launch.put_install_cell(notebook, address)
    assert "http" not in str(notebook) and "OWNER" not in str(notebook)
    assert "once this repository has a public address" in notebook.cells[0].source


@pytest.mark.parametrize("address", [FORK, PLACEHOLDER])
def test_the_install_cell_installs_on_colab_alone(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    shell = InteractiveShell()
    shell.register_magic_function(ran.append, magic_name="pip")
    assert shell.run_cell(launch.install_source(address)).success and ran == []
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    done = shell.run_cell(launch.install_source(address))
    if address == FORK:
        assert done.success and ran == [f"install -q git+{FORK}"]
    else:
        assert "launch.py" in str(done.error_in_exec) and ran == []


def test_the_citation_names_the_address_once_there_is_one() -> None:
    text = (ROOT / "CITATION.cff").read_text("utf-8")
    assert launch.cited(text) == text
    published = launch.cited(launch.cited(text, FORK), FORK)
    assert yaml.safe_load(published)["repository-code"] == FORK
    assert "repository-code" not in yaml.safe_load(launch.cited(published, PLACEHOLDER))
