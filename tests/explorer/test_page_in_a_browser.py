"""The page in a real browser, from its file: no error, no request, and every control moves what it should."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_up_explorer import MadeUp, made_up_explorer

from locheads.explorer.page import write_page
from locheads.method.grounding import ground
from locheads.method.selection import Head, take_heads

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed to open the page in"),
]

Page = Any


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed to drive chromium")
    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def made() -> MadeUp:
    return made_up_explorer()


@pytest.fixture
def opened(browser: Any, made: MadeUp, tmp_path: Path) -> Iterator[Page]:
    """The page at phone width; it fails a test that leaves an error on the console or asks for anything."""
    write_page(made.data, tmp_path / "explorer.html")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    wrong: list[str] = []
    page.on(
        "console",
        lambda message: wrong.append(message.text) if message.type in ("error", "warning") else None,
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "explorer.html").as_uri())
    page.wait_for_selector("canvas[width='720']")
    yield page
    page.close()
    assert wrong == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert sum(url.startswith("file:") for url in asked) == 1


def answer(page: Page) -> str:
    return str(page.inner_text(".answer"))


def box(page: Page) -> str:
    return answer(page).split("found box ")[1].split(" (")[0]


def drawn(page: Page, place: str) -> str:
    return str(page.eval_on_selector(f"{place} canvas", "canvas => canvas.toDataURL()"))


def moved(page: Page, name: str, value: float) -> None:
    page.get_by_label(name).fill(str(value))


def expected_box(made: MadeUp, expression: int, k: int = 3, sigma: float = 1.0, level: float = 1.0) -> str:
    place = made.shown[expression]
    heads = [Head(*divmod(head, made.data["heads"])) for head in made.data["ranking"][:k]]
    maps = take_heads(made.profile.maps.values[[place]], heads)[0]
    found = ground(maps, made.window_of(made.samples[place].size), sigma=sigma, level=level)
    return ", ".join(str(int(side + 0.5)) for side in found.box)


def test_it_shows_the_package_s_box_and_follows_the_controls(opened: Page, made: MadeUp) -> None:
    boxes = [box(opened)]
    assert boxes == [expected_box(made, 0)]
    moved(opened, "Heads k", 6)
    boxes.append(box(opened))
    assert boxes[-1] == expected_box(made, 0, k=6)
    moved(opened, "Smoothing σ", 2.5)
    boxes.append(box(opened))
    assert boxes[-1] == expected_box(made, 0, k=6, sigma=2.5)
    moved(opened, "Level", 2)
    boxes.append(box(opened))
    assert boxes[-1] == expected_box(made, 0, k=6, sigma=2.5, level=2.0)
    assert len(set(boxes)) > 2


def test_another_expression_and_picture_have_their_own_box(opened: Page, made: MadeUp) -> None:
    opened.select_option("select", index=1)
    assert box(opened) == expected_box(made, 1)
    assert opened.inner_text("option:checked") == made.samples[made.shown[1]].expression
    before = drawn(opened, ".result")
    opened.get_by_role("button", name="Picture 2").click()
    assert box(opened) == expected_box(made, 2)
    opened.wait_for_function(
        "old => document.querySelector('.result canvas').toDataURL() !== old", arg=before
    )


def test_a_click_shows_a_head_and_its_entropy(opened: Page, made: MadeUp) -> None:
    before = drawn(opened, ".single")
    opened.locator("[data-head='21']").click()
    opened.wait_for_function(
        "old => document.querySelector('.single canvas').toDataURL() !== old", arg=before
    )
    assert opened.inner_text(".single h2") == "Head L2 H5"
    entropy = made.profile.spatial_entropy.values[made.shown[0], 2, 5]
    assert f"entropy {entropy:.2f} nats" in opened.inner_text(".facts")
    opened.locator("[data-head='47']").click()
    assert "entropy ∞ nats" in opened.inner_text(".facts")  # a uniform map has no component


def test_keys_move_between_heads_and_take_one_into_the_set(opened: Page, made: MadeUp) -> None:
    opened.locator("[data-head='0']").click()
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowUp", "End"):
        opened.keyboard.press(key)
    focused = opened.evaluate("document.activeElement.dataset.head")
    assert (focused, opened.inner_text(".single h2")) == ("7", "Head L0 H7")
    assert opened.eval_on_selector_all("[role=gridcell][tabindex='0']", "all => all.length") == 1
    outline = opened.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # the focus is seen
    was = "L0 H7" in answer(opened)
    opened.keyboard.press(" ")
    assert ("L0 H7" in answer(opened)) != was
    opened.get_by_role("button", name="Back to the most frequent heads").click()
    assert box(opened) == expected_box(made, 0)


def test_the_chosen_heads_are_marked_and_colours_follow_the_measure(opened: Page, made: MadeUp) -> None:
    marked = [opened.inner_text(f"[data-head='{head}']") for head in made.data["chosen"]]
    assert marked == ["1", "2", "3"]
    colours = "all => all.map((one) => one.style.background).join()"
    before = opened.eval_on_selector_all("[role=gridcell]", colours)
    opened.get_by_label("Attention sum", exact=True).check()
    assert opened.eval_on_selector_all("[role=gridcell]", colours) != before
    assert "attention" in opened.inner_text(".legend small")


def test_everything_fits_a_phone_and_has_a_name(opened: Page) -> None:
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
    nameless = """all => all.filter((one) => !(one.getAttribute('aria-label') || one.innerText.trim()
        || one.labels?.length)).length"""
    assert opened.eval_on_selector_all("button, input, select, canvas", nameless) == 0


def test_dark_and_light_have_their_own_colours(opened: Page) -> None:
    seen = []
    for scheme in ("light", "dark"):
        opened.emulate_media(color_scheme=scheme)
        seen.append(opened.evaluate("getComputedStyle(document.querySelector('.locheads')).backgroundColor"))
    assert seen[0] == "rgb(255, 255, 255)" and seen[1] == "rgb(20, 24, 29)"
