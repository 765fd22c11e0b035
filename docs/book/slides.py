"""Builds slides from one committed notebook: each section with its text, formulas and pictures, no code.

    python docs/book/slides.py FOLDER [NOTEBOOK]     writes FOLDER/slides.html, a file that needs nothing else

Arrow keys, space and swipes turn the page; printing gives one slide on each sheet.
"""

from __future__ import annotations

import html
import re
import sys
from pathlib import Path

import nbformat
from assemble import describe_figures
from formulas import mathml
from launch import ROOT
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

DEFAULT = "01_head_profiling"
LEFT_OUT = ("Checks", "Exercises", "Quick checks")
STYLE = """
html { scroll-snap-type: y mandatory; font: clamp(16px, 2.2vmin, 26px)/1.45 system-ui, sans-serif;
  color-scheme: light dark; }
body { margin: 0; }
section { min-height: 100vh; box-sizing: border-box; scroll-snap-align: start; padding: 5vmin 8vmin;
  break-after: page; display: flex; flex-direction: column; justify-content: center; }
h1, h2 { line-height: 1.2; margin: 0 0 .5em; }
img { max-width: 100%; max-height: 50vh; object-fit: contain; align-self: center; background: #fff; }
math { font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "DejaVu Math TeX Gyre", math; }
.formula { overflow-x: auto; overflow-y: hidden; font-size: 1.3em; padding: .6em 0; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: .2em .8em; text-align: left; }
"""
TURN = """
addEventListener('keydown', event => {
  const forward = ['ArrowRight', 'ArrowDown', 'PageDown', ' '].includes(event.key);
  const step = forward ? 1 : ['ArrowLeft', 'ArrowUp', 'PageUp'].includes(event.key) ? -1 : 0;
  if (!step) return;
  event.preventDefault();
  const all = [...document.querySelectorAll('section')];
  const top = s => s.getBoundingClientRect().top;
  const here = all.reduce((best, s, n) => Math.abs(top(s)) < Math.abs(top(all[best])) ? n : best, 0);
  all[Math.min(all.length - 1, Math.max(0, here + step))].scrollIntoView();
});
"""


def _markdown() -> MarkdownIt:
    def draw(tex: str, settings: dict[str, bool]) -> str:
        if settings["display_mode"]:
            return f'<div class="formula" tabindex="0">{mathml(tex, "block")}</div>'
        return mathml(tex, "inline")

    reader = MarkdownIt("commonmark").enable("table")
    return reader.use(dollarmath_plugin, renderer=draw)


def slides(notebook: nbformat.NotebookNode) -> list[str]:
    """Returns the HTML of each slide: the title, then the sections but for checks and exercises."""
    describe_figures(notebook)
    reader, pages = _markdown(), [""]
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            if re.match("##? ", cell.source) and pages[-1]:
                pages.append("")
            text = re.sub(
                r"<details>.*?</details>|^\*Open in\*.*$", "", cell.source, flags=re.DOTALL | re.MULTILINE
            )
            pages[-1] += reader.render(text)
        for output in cell.get("outputs", []):
            for mime in ("image/png", "image/jpeg"):
                if mime in output.get("data", {}):
                    alt = html.escape(cell.metadata["mystnb"]["image"]["alt"], quote=True)
                    pages[-1] += f'<img alt="{alt}" src="data:{mime};base64,{output.data[mime].strip()}">'
                    break
    return [page for page in pages if not any(f"<h2>{title}</h2>" in page for title in LEFT_OUT)]


def main() -> None:
    """Writes the slides of the notebook that is named on the command line, or of the default."""
    folder, name = Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else DEFAULT
    pages = slides(nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4))
    body = "\n".join(f"<section>{page}</section>" for page in pages)
    head = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head += '<link rel="icon" href="data:,">'
    head += f"<title>{name}: slides</title><style>{STYLE}</style>"
    tail = f"<body>{body}<script>{TURN}</script></body>"
    page = f'<!doctype html><html lang="en"><head>{head}</head>{tail}</html>\n'
    (folder / "slides.html").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
