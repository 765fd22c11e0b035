"""Gathers the pages of the book: committed notebooks with outputs, documents, a page for each package.

Nothing is executed. The pages keep their places in the repository, so that links between them hold; links to
files that are no page lead to the repository, once it has a public address; until then they are left out.
"""

from __future__ import annotations

import pkgutil
import re
import shutil
from pathlib import Path

import nbformat
from launch import REPOSITORY, ROOT, published
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
DOCUMENTS = ("RESULTS.md", "CONTRIBUTING.md", "CHANGELOG.md", "locheads/specimen/README.md")
CARDS = "locheads/specimen/weights/*/README.md"
PACKAGES = {
    "paper": "What the paper reports",
    "method": "The method",
    "data": "Data",
    "model": "Models",
    "profiling": "Profiles",
    "evaluation": "Evaluation",
    "studies": "Studies",
    "plotting": "Figures",
    "submission": "Submissions",
    "run": "Running notebooks",
}
_LINK = re.compile(r"(?<!!)\[([^\[\]]*)\]\((?!https?:|mailto:|#)([^)\s]+)\)")
_ALT_LENGTH = 400
_AUTO = "```{{eval-rst}}\n.. automodule:: {}"


def pages() -> list[Path]:
    """Returns the repository's files that become pages, relative to its root."""
    found = [*ROOT.glob("notebooks/[0-9]*.ipynb"), *ROOT.glob("docs/*.md"), *ROOT.glob(CARDS)]
    return sorted(path.relative_to(ROOT) for path in [*found, *(ROOT / name for name in DOCUMENTS)])


def relinked(text: str, page: Path, known: set[Path], repository: str = REPOSITORY) -> str:
    """Sends links of a page to files that are no page to the repository instead, or leaves their words alone.

    Args:
        text: The page's Markdown.
        page: Its path relative to the root.
        known: All pages.
        repository: The address of the repository.
    """

    def lead(match: re.Match[str]) -> str:
        target, _, part = match[2].partition("#")
        path = (ROOT / page.parent / target).resolve()
        if not path.is_relative_to(ROOT) or path.relative_to(ROOT) in known or not path.exists():
            return match[0]
        if not published(repository):
            return match[1]
        kind = "tree" if path.is_dir() else "blob"
        anchor = "#" + part if part else ""
        return f"[{match[1]}]({repository}/{kind}/main/{path.relative_to(ROOT)}{anchor})"

    return _LINK.sub(lead, text)


def plain(markdown: str) -> str:
    """Returns Markdown as the plain text of an alternative text: no marks, formulas or links."""
    text = re.sub(
        r"<details.*?</details>|\$\$.*?\$\$|^\|.*$|<[^>]+>", " ", markdown, flags=re.DOTALL | re.MULTILINE
    )
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text)
    return " ".join(re.sub(r"[*`#$\\{}]|^[-0-9]+[.]? ", "", text, flags=re.MULTILINE).split())


def describe_figures(notebook: NotebookNode) -> None:
    """Gives each cell with pictures an alternative text: its section's heading and the text before it."""
    heading, said = "", ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            title, _, rest = (
                cell.source.rpartition("## ")[2].partition("\n") if "## " in cell.source else ("", "", "")
            )
            heading = plain(title) or heading
            said = plain(rest or cell.source)
        elif cell.cell_type == "code" and any(
            mime.startswith("image/") for output in cell.outputs for mime in output.get("data", {})
        ):
            text = f"{heading}. {said}".strip(". ") or "Figure"
            short = text if len(text) <= _ALT_LENGTH else text[:_ALT_LENGTH].rsplit(" ", 1)[0] + " …"
            cell.metadata["mystnb"] = {"image": {"alt": short}}


def notebook_page(path: Path, known: set[Path]) -> str:
    """Returns a notebook for the book: without the cell for Colab, and with described figures."""
    notebook = nbformat.read(ROOT / path, as_version=4)
    describe_figures(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = relinked(cell.source, path, known)
        elif "colab" in cell.metadata.get("tags", []):
            cell.metadata.tags.append("remove-cell")
    return nbformat.writes(notebook)


def api_page(package: str, title: str) -> str:
    """Returns the reference page of a package: every public module with its docstrings."""
    inside = pkgutil.walk_packages([str(ROOT / "locheads" / package)], f"locheads.{package}.")
    modules = sorted(m.name for m in inside if "._" not in m.name)
    parts = [f"## {name}\n\n{_AUTO.format(name)}\n   :members:\n```" for name in modules]
    return (
        "\n\n".join(
            [f"# {title}: `locheads.{package}`", _AUTO.format(f"locheads.{package}") + "\n```", *parts]
        )
        + "\n"
    )


def assemble(source: Path) -> None:
    """Writes all pages into an emptied folder."""
    shutil.rmtree(source, ignore_errors=True)
    known = set(pages())
    for page in known:
        text = (
            notebook_page(page, known)
            if page.suffix == ".ipynb"
            else relinked((ROOT / page).read_text("utf-8"), page, known)
        )
        _write(source / page, text)
    for part in [*HERE.glob("*.md"), *HERE.glob("*.bib"), *HERE.glob("*.css")]:
        shutil.copy(part, source / part.name)
    for package, title in PACKAGES.items():
        _write(source / "api" / f"{package}.md", api_page(package, title))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
