"""The book in a real browser: every page opens without a fault, by itself, on any screen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 180  # for a page to open on a busy machine
PHONE = {"width": 390, "height": 844}
LOOK = """() => ({
  title: document.title,
  headings: document.querySelectorAll('article h1').length,
  ids: [...document.querySelectorAll('[id]')].map(e => e.id),
  links: [...document.querySelectorAll('a[href]')].map(e => e.href),
  nameless: [...document.querySelectorAll('img')].filter(e => !(e.alt || '').trim()).map(e => e.src),
  generated: [...document.querySelectorAll('img')].map(e => e.alt || '').filter(alt => /_images/.test(alt)),
  broken: [...document.querySelectorAll('img')].filter(e => e.complete && !e.naturalWidth).map(e => e.src),
  formulas: [...document.querySelectorAll('math')]
    .map(e => [e.textContent, e.getBoundingClientRect().height]),
  raw: [...document.querySelectorAll('article p, article li')].map(e => e.innerText)
    .filter(t => /\\$\\$|\\\\(frac|sum|bar)/.test(t)),
  width: document.documentElement.scrollWidth,
  window: window.innerWidth,
})"""


def _pages(book: Path) -> list[str]:
    return sorted(str(path.relative_to(book)) for path in book.rglob("*.html") if "_static" not in path.parts)


def _walk(browser: Any, base: str, pages: list[str], **settings: Any) -> dict[str, dict[str, Any]]:
    """Opens every page; returns what is on it, with the faults of its console and its requests elsewhere."""
    context = browser.new_context(**settings)
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    faults: list[str] = []
    page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: faults.append(str(error)))
    # A request may be cut off by leaving the page; a file that is missing fails otherwise.
    page.on("requestfailed", lambda r: None if "ABORTED" in r.failure else faults.append(f"failed: {r.url}"))
    page.on("request", lambda r: None if r.url.startswith((base, "data:", "blob:")) else faults.append(r.url))
    seen = {}
    for name in pages:
        faults.clear()
        page.goto(base + name, wait_until="load")
        seen[name] = page.evaluate(LOOK) | {"faults": list(faults)}
    context.close()
    return seen


@pytest.fixture(scope="module")
def from_server(browser: Any, book: Path, served: str) -> dict[str, dict[str, Any]]:
    return _walk(browser, served, _pages(book), viewport={"width": 1280, "height": 900})


def test_every_notebook_and_document_is_a_page(book: Path) -> None:
    pages = set(_pages(book))
    notebooks = {f"notebooks/{path.stem}.html" for path in (ROOT / "notebooks").glob("[0-9]*.ipynb")}
    assert notebooks
    assert notebooks | {"index.html", "glossary.html", "bibliography.html", "search.html"} <= pages
    assert {"explorer.html", "slides.html"} <= pages
    assert {"api/method.html", "docs/teaching.html", "docs/scenes.html", "docs/reproducibility.html"} <= pages


def test_pages_open_from_a_server_without_a_fault(from_server: dict[str, dict[str, Any]]) -> None:
    assert {name: seen["faults"] for name, seen in from_server.items() if seen["faults"]} == {}
    assert all(seen["title"] for seen in from_server.values())


def test_pages_open_from_files_without_a_fault(browser: Any, book: Path) -> None:
    seen = _walk(browser, book.as_uri() + "/", _pages(book))
    assert {name: one["faults"] for name, one in seen.items() if one["faults"]} == {}


def test_links_hold(from_server: dict[str, dict[str, Any]], book: Path, served: str) -> None:
    ids = {urljoin(served, name): set(seen["ids"]) for name, seen in from_server.items()}
    broken = set()
    for name, seen in from_server.items():
        for link in seen["links"]:
            address, anchor = urldefrag(link)
            if not address.startswith(served):
                continue
            path = book / (unquote(address.removeprefix(served)) or "index.html")
            known = ids.get(address) if address != served else ids[served + "index.html"]
            if not path.is_file() or (anchor and known is not None and unquote(anchor) not in known):
                broken.add((name, link))
    assert broken == set()


def test_formulas_are_drawn(from_server: dict[str, dict[str, Any]], book: Path) -> None:
    """No command of TeX is left over, and every formula takes room on the page."""
    formulas = [(name, *one) for name, seen in from_server.items() for one in seen["formulas"]]
    assert len([one for one in formulas if one[0].startswith("notebooks/")]) >= 10
    assert [one for one in formulas if "\\" in one[1] or "$" in one[1] or one[2] < 4] == []
    assert {name: seen["raw"] for name, seen in from_server.items() if seen["raw"]} == {}


def test_pictures_are_there_and_described(from_server: dict[str, dict[str, Any]]) -> None:
    wrong = {n: s["nameless"] + s["generated"] + s["broken"] for n, s in from_server.items()}
    assert {name: found for name, found in wrong.items() if found} == {}


def test_no_page_scrolls_sideways_on_a_phone(browser: Any, book: Path, served: str) -> None:
    seen = _walk(browser, served, _pages(book), viewport=PHONE, is_mobile=True, device_scale_factor=2)
    assert {n: s["width"] for n, s in seen.items() if max(s["width"], s["window"]) > PHONE["width"]} == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_ground(browser: Any, book: Path, served: str, scheme: str) -> None:
    """Contrast of body text at least 7:1 (AAA), on a ground as the reader's system asks."""
    context = browser.new_context(color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(served + "notebooks/01_head_profiling.html")
    colours = page.evaluate(
        """() => [getComputedStyle(document.querySelector('article p')).color,
                  getComputedStyle(document.body).backgroundColor]"""
    )
    context.close()
    text, ground = (_luminance(colour) for colour in colours)
    assert (ground < 0.1) == (scheme == "dark")
    assert (max(text, ground) + 0.05) / (min(text, ground) + 0.05) >= 7


@pytest.mark.parametrize("base", ["server", "file"])
def test_search_finds_the_page_of_a_word(browser: Any, book: Path, served: str, base: str) -> None:
    address = served if base == "server" else book.as_uri() + "/"
    page = browser.new_page()
    page.set_default_timeout(SECONDS * 1000)
    page.goto(address + "search.html?q=entropy")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all("#search-results li a", "all => all.map(a => a.href)")
    page.close()
    assert any("01_head_profiling" in link for link in found)
    assert any("api/method" in link for link in found)


def test_outputs_are_those_of_the_committed_notebooks(browser: Any, book: Path, served: str) -> None:
    """The book shows as many pictures of a notebook as are stored in it, and the text it printed."""
    for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        pictures = sum(any(m.startswith("image/") for m in output.get("data", {})) for output in outputs)
        printed = [
            line for o in outputs if o["output_type"] == "stream" for line in "".join(o["text"]).split("\n")
        ]
        page = browser.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.goto(f"{served}notebooks/{path.stem}.html")
        assert page.locator(".cell_output img").count() == pictures, path.stem
        shown = page.locator("article").first.inner_text()
        page.close()
        assert [line for line in printed if line.strip() and line.strip() not in shown] == []


def _luminance(colour: str) -> float:
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
