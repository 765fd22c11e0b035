"""Puts links that open a notebook on Colab and Binder, and Colab's install cell, into the notebooks.

All links follow from one constant: `Repository` under `[project.urls]` in pyproject.toml.

    python docs/book/launch.py           writes them into notebooks/*.ipynb, or brings them up to date
    python docs/book/launch.py --check   names the notebooks in which they are missing or out of date
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["urls"]["Repository"]
_SLUG = REPOSITORY.removeprefix("https://github.com/")
_START = "*Open in* [Colab]("
_TAG = "colab"


def links(notebook: str) -> str:
    """Returns the line of links of a notebook, named as in `notebooks/`."""
    colab = f"https://colab.research.google.com/github/{_SLUG}/blob/main/notebooks/{notebook}"
    binder = f"https://mybinder.org/v2/gh/{_SLUG}/main?urlpath=lab/tree/notebooks/{notebook}"
    return f"{_START}{colab}) · [Binder]({binder})"


def install_source() -> str:
    """Returns the code of the cell that installs the package on Colab and does nothing elsewhere."""
    return (
        "import sys\n\n"
        'if "google.colab" in sys.modules:  # Colab starts without the package; elsewhere nothing happens\n'
        f"    %pip install -q git+{REPOSITORY}"
    )


def put_links(notebook: NotebookNode, name: str) -> None:
    """Ends the title cell with the links, in place of older ones."""
    title = notebook.cells[0]
    kept = [line for line in title.source.splitlines() if not line.startswith(_START)]
    title.source = "\n".join(kept).rstrip() + "\n\n" + links(name)


def put_install_cell(notebook: NotebookNode) -> None:
    """Puts the install cell after the title, in place of an older one, and counts executions anew."""
    cells = [cell for cell in notebook.cells if _TAG not in cell.metadata.get("tags", [])]
    install = nbformat.v4.new_code_cell(install_source(), id="install-on-colab", metadata={"tags": [_TAG]})
    notebook.cells = [cells[0], install, *cells[1:]]
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), start=1):
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count


def main() -> int:
    """Writes or checks all notebooks; returns 1 where `--check` finds one out of date."""
    stale = []
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        before = nbformat.read(path, as_version=4)
        after = nbformat.reads(nbformat.writes(before), as_version=4)
        put_links(after, path.name)
        put_install_cell(after)
        if after == before:
            continue
        stale.append(path.name)
        if "--check" not in sys.argv:
            nbformat.write(after, path)
    if stale and "--check" in sys.argv:
        print(f"no or old links: {', '.join(stale)}; run python docs/book/launch.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
