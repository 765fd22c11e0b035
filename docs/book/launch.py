"""Puts links that open a notebook on Colab and Binder, and Colab's install cell, into the notebooks.

All of them follow from one constant: `Repository` under `[project.urls]` in pyproject.toml. While its owner
is `OWNER`, the repository has no public address: the notebooks say so, in place of links that lead nowhere.

    python docs/book/launch.py           brings notebooks/*.ipynb and CITATION.cff up to date
    python docs/book/launch.py --check   names the files that are not
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
_START = "*Open in* "
_TAG = "colab"
_CITATION = re.compile(r'(?:repository-code: ".*"\n)?(?=license: )')


def published(repository: str) -> bool:
    """Returns whether an address is one, and not the placeholder."""
    return "/OWNER/" not in repository


def links(notebook: str, repository: str = REPOSITORY) -> str:
    """Returns the line of links of a notebook, named as in `notebooks/`; without a public address, words."""
    if not published(repository):
        return f"{_START}Colab or Binder: once this repository has a public address (see CONTRIBUTING.md)."
    slug = repository.removeprefix("https://github.com/")
    colab = f"https://colab.research.google.com/github/{slug}/blob/main/notebooks/{notebook}"
    binder = f"https://mybinder.org/v2/gh/{slug}/main?urlpath=lab/tree/notebooks/{notebook}"
    return f"{_START}[Colab]({colab}) · [Binder]({binder})"


def install_source(repository: str = REPOSITORY) -> str:
    """Returns the code of the cell that installs the package on Colab and does nothing elsewhere."""
    install = f'get_ipython().run_line_magic("pip", "install -q git+{repository}")'
    refuse = 'raise RuntimeError("set Repository in pyproject.toml, then run python docs/book/launch.py")'
    return (
        "import sys\n\n"
        'if "google.colab" in sys.modules:  # Colab starts without the package; elsewhere nothing happens\n'
        f"    {install if published(repository) else refuse}"
    )


def put_links(notebook: NotebookNode, name: str, repository: str = REPOSITORY) -> None:
    """Ends the title cell with the links, in place of older ones."""
    title = notebook.cells[0]
    kept = [line for line in title.source.splitlines() if not line.startswith(_START)]
    title.source = "\n".join(kept).rstrip() + "\n\n" + links(name, repository)


def put_install_cell(notebook: NotebookNode, repository: str = REPOSITORY) -> None:
    """Puts the install cell after the title, in place of an older one, and counts executions anew."""
    cells = [cell for cell in notebook.cells if _TAG not in cell.metadata.get("tags", [])]
    install = nbformat.v4.new_code_cell(
        install_source(repository), id="install-on-colab", metadata={"tags": [_TAG]}
    )
    notebook.cells = [cells[0], install, *cells[1:]]
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def cited(citation: str, repository: str = REPOSITORY) -> str:
    """Returns CITATION.cff with the address, or without any while there is none."""
    line = f'repository-code: "{repository}"\n' if published(repository) else ""
    return _CITATION.sub(line, citation, count=1)


def _launched(path: Path) -> str:
    notebook = nbformat.read(path, as_version=4)
    put_links(notebook, path.name)
    put_install_cell(notebook)
    return nbformat.writes(notebook) + "\n"


def main() -> int:
    """Writes or checks all files; returns 1 where `--check` finds one out of date."""
    wanted = {path: _launched(path) for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}
    wanted[ROOT / "CITATION.cff"] = cited((ROOT / "CITATION.cff").read_text("utf-8"))
    stale = {path: text for path, text in wanted.items() if path.read_text("utf-8") != text}
    if stale and "--check" in sys.argv:
        names = ", ".join(path.name for path in stale)
        print(f"no or old links: {names}; run python docs/book/launch.py", file=sys.stderr)
        return 1
    for path, text in stale.items():
        path.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
