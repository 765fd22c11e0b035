"""A reader opens JupyterLab, runs notebook 00 by the menu and sees its figure."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = "00_start_here.ipynb"
ERRORS = "[data-mime-type='application/vnd.jupyter.error'], [data-mime-type='application/vnd.jupyter.stderr']"
DONE = """() => {
  const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')].map(e => e.textContent);
  const failed = document.querySelector("[data-mime-type='application/vnd.jupyter.error']");
  return failed || (prompts.length && prompts.every(text => /^\\[\\d+\\]:?$/.test(text.trim())));
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a JupyterLab with a copy of notebook 00 whose outputs were removed."""
    folder = tmp_path_factory.mktemp("lab")
    notebook = nbformat.read(ROOT / "notebooks" / NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if "parameters" in cell.metadata.get("tags", []):
                cell.source = cell.source.replace('world = "specimen"', 'world = "lab-test"')
    nbformat.write(notebook, folder / NOTEBOOK)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = folder / "settings"
    # All cells are drawn, not only those in view, so that a test can look at them.
    (settings / "@jupyterlab" / "notebook-extension").mkdir(parents=True)
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.write_text('{"windowingMode": "none"}')
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JUPYTER_CONFIG_DIR": str(settings),
        "JUPYTER_RUNTIME_DIR": str(settings),
        "JUPYTERLAB_SETTINGS_DIR": str(settings),
        "JUPYTERLAB_WORKSPACES_DIR": str(settings),
    }
    command = [sys.executable, "-m", "jupyter", "lab", "--no-browser", "--allow-root", f"--port={port}"]
    command += [
        f"--notebook-dir={folder}",
        "--IdentityProvider.token=",
        "--LabApp.news_url=",
        "--ServerApp.ip=127.0.0.1",
    ]
    with open(folder / "lab.log", "w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait_for(address + "/api", process)
        yield address
    finally:
        process.terminate()
        process.wait(timeout=30)
        for made in (base / kind for base in (ROOT, folder) for kind in ("runs", "results", "figures")):
            shutil.rmtree(made / "lab-test", ignore_errors=True)


def _wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    raise AssertionError("JupyterLab did not start")


def test_notebook_00_runs_by_the_menu_of_jupyterlab(browser: Any, lab: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(300_000)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(f"{lab}/lab/tree/{NOTEBOOK}")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=300_000)
    # Not before its kernel is there: until then a run asks which kernel to take.
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
    assert page.locator(".jp-OutputArea-output img").count() == 0
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(DONE, timeout=900_000)
    if "LAB_SHOT" in os.environ:
        page.locator(".jp-OutputArea-output img").last.scroll_into_view_if_needed()
        page.screenshot(path=os.environ["LAB_SHOT"])
    assert page.locator(ERRORS).count() == 0, page.locator(ERRORS).first.inner_text()
    drawn = page.locator(".jp-OutputArea-output img").evaluate_all("all => all.map(e => e.naturalWidth)")
    stored = nbformat.read(ROOT / "notebooks" / NOTEBOOK, as_version=4)
    outputs = [output for cell in stored.cells for output in cell.get("outputs", [])]
    assert len(drawn) == sum(any(m.startswith("image/") for m in o.get("data", {})) for o in outputs) >= 1
    assert min(drawn) > 100
    assert faults == []
    page.close()
