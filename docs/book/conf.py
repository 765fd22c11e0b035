"""Settings of Sphinx for the book."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from assemble import assemble
from formulas import mathml
from launch import REPOSITORY, published

import locheads

SOURCE = Path(os.environ["BOOK_SOURCE"])
assemble(SOURCE)

project = "Localization heads"
author = "The locheads authors"
copyright = "the locheads authors, MIT licence"
version = release = locheads.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.bibtex"]
language = "en"

# Notebooks are shown as they were committed.
nb_execution_mode = "off"
nb_ipywidgets_js: dict[str, dict[str, str]] = {}
nb_mime_priority_overrides = [("html", "image/png", 5), ("html", "image/jpeg", 6)]
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header", "ref.python"]

bibtex_reference_style = "author_year"
bibtex_bibfiles = [str(HERE / "references.bib")]
autodoc_member_order = "bysource"
autodoc_default_options = {"no-value": True}
autodoc_preserve_defaults = True

html_theme = "sphinx_book_theme"
html_title = "Localization heads: a companion"
html_static_path = [str(HERE / "book.css")]
# The explorer is one page that needs nothing else; `make book` makes it first.
html_extra_path = [str(SOURCE.parent / "explorer.html")]
html_favicon = str(HERE / "icon.svg")
html_context = {"default_mode": "auto"}
html_css_files = ["book.css"]
html_theme_options = {
    "repository_url": REPOSITORY,
    "use_repository_button": published(REPOSITORY),
    "use_download_button": True,
    "path_to_docs": ".",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
html_math_renderer = "mathml"


def _inline(writer, node: nodes.math) -> None:  # type: ignore[no-untyped-def]
    writer.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(writer, node: nodes.math_block) -> None:  # type: ignore[no-untyped-def]
    anchor = f' id="{node["ids"][0]}"' if node["ids"] else ""
    writer.body.append(f'<div class="formula" tabindex="0"{anchor}>{mathml(node.astext(), "block")}</div>')
    raise nodes.SkipNode


_COLON = "\ue000"
"""Stands for a colon of an attribute's docstring while napoleon looks for a type before one."""


def _read(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    """Turns a docstring's single backquotes into literals, and keeps bars outside of them as they are."""
    if what in ("attribute", "data"):
        lines[:] = [line.replace(":", _COLON) for line in lines]
    parts = "\n".join(lines).split("`")
    parts[::2] = [part.replace("|", "\\|") for part in parts[::2]]
    parts[1::2] = [f"``{part}``" for part in parts[1::2]]
    lines[:] = re.sub(r"(?<=\w``)(?=\w)|(?<=[)\]}]``)(?=\w)", r"\\ ", "".join(parts)).split("\n")


def _with_colons(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
    lines[:] = [line.replace(_COLON, ":") for line in lines]


def _short(app: Sphinx, what: str, name: str, thing: object, options: object, signature: str, returned: str):  # type: ignore[no-untyped-def]
    """Leaves out of a signature where its types come from."""
    return tuple(
        text and re.sub(r"~?\b(jaxtyping|numpy|collections\.abc|pathlib)\.", "", text)
        for text in (signature, returned)
    )


def setup(app: Sphinx) -> None:
    """Registers the renderer of formulas and the reader of docstrings."""
    app.connect("autodoc-process-signature", _short)
    app.connect("autodoc-process-docstring", _read, priority=400)
    app.connect("autodoc-process-docstring", _with_colons, priority=600)
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
