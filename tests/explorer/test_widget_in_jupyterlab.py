"""The widget in JupyterLab in a real browser: Python moves the controls, and the controls reach Python."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed to open JupyterLab in"),
]

CELLS = (
    "from made_up_explorer import made_up_explorer\nfrom locheads.explorer.widget import Explorer\n"
    "explorer = Explorer(made_up_explorer().data)\nexplorer",
    "explorer.sigma, explorer.heads = 2.5, [[1, 1]]",
    "print('Python has', explorer.level, explorer.k, explorer.heads, explorer.box)",
)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """The address of a notebook with the widget, in a JupyterLab that belongs to this test."""
    pytest.importorskip("anywidget", reason="anywidget is not installed")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "explorer.ipynb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--port={port}"]
    command += ["--IdentityProvider.token=", "--ServerApp.port_retries=0", f"--ServerApp.root_dir={tmp_path}"]
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    log = (tmp_path / "lab.log").open("w")
    server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": paths})
    try:
        wait_for(port)
        yield f"http://127.0.0.1:{port}/lab/tree/explorer.ipynb"
    finally:
        server.terminate()
        server.wait(30)
        log.close()


def wait_for(port: int) -> None:
    for _ in range(240):
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail("JupyterLab did not start")


def test_python_and_the_controls_follow_one_another(lab: str) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed to drive chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1300, "height": 2400})
        page.set_default_timeout(60_000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(lab)
        page.wait_for_selector(r"text=/\(ipykernel\) \| Idle/")  # before, a call to run is lost
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).first.click()
        page.wait_for_selector(".locheads canvas[width='720']")
        page.wait_for_function("document.querySelector('.answer').innerText.includes('with L1 H1')")
        assert page.get_by_label("Smoothing σ").input_value() == "2.5"
        page.get_by_label("Level").fill("2")
        page.wait_for_function("document.querySelector('.slider:last-of-type output').innerText === '2.00'")
        box = page.inner_text(".answer").split("found box ")[1].split(" (")[0]
        page.locator(".jp-CodeCell .jp-InputArea-editor").last.click()
        page.keyboard.press("Control+Enter")
        page.wait_for_selector("text=Python has 2.0 3 [[1, 1]] [")
        said = page.locator(".jp-OutputArea-output", has_text="Python has 2.0").inner_text()
        sides = said.rsplit("[", 1)[1].strip(" ]\n").split(", ")
        assert ", ".join(str(int(float(side) + 0.5)) for side in sides) == box
        browser.close()
    assert wrong == []
