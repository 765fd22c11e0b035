"""The wheel in an environment of its own, outside the repository, with the tests' dependencies."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DATA = (
    "notebooks/*.ipynb",
    "notebooks/params/*.yaml",
    "locheads/specimen/weights/*/*",
    "locheads/specimen/cards/*",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy of the files that git keeps: nothing else can get in."""
    copy, out = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("wheel")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in names.decode().strip("\0").split("\0"):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(out),
        str(copy),
    ]
    pytest.importorskip("setuptools", reason="no setuptools to build with: pip install setuptools")
    subprocess.run(command, check=True, capture_output=True, text=True)
    (built,) = out.glob("locheads-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An interpreter with the wheel installed; dependencies come from the tests' environment."""
    folder = tmp_path_factory.mktemp("elsewhere") / "env"
    venv.create(folder, with_pip=False)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-compile",
        "--target",
        str(site),
        str(wheel),
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return folder / "bin" / "python"


def _run(python: Path, folder: Path, *arguments: str) -> str:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    done = subprocess.run(
        [str(python), *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_wheel_holds_notebooks_presets_and_weights_as_they_are(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        for pattern in DATA:
            files = sorted(ROOT.glob(pattern))
            assert files, pattern
            for path in files:
                inside = str(path.relative_to(ROOT))
                inside = inside if inside.startswith("locheads/") else f"locheads/{inside}"
                assert inside in names
                assert (
                    hashlib.sha256(archive.read(inside)).digest()
                    == hashlib.sha256(path.read_bytes()).digest()
                )
    assert not [
        name for name in names if name.startswith(("tests", "docs", "build")) or "checkpoints" in name
    ]


def test_every_package_of_the_checkout_is_in_the_wheel(wheel: Path) -> None:
    modules = {str(path.relative_to(ROOT)) for path in (ROOT / "locheads").rglob("*.py")}
    assert modules <= set(zipfile.ZipFile(wheel).namelist())


def test_the_installed_package_is_not_the_checkout(python: Path, tmp_path: Path) -> None:
    where = _run(python, tmp_path, "-c", "import locheads; print(locheads.__file__)").strip()
    assert Path(where).is_relative_to(python.parents[1])


def test_the_specimen_answers_outside_the_repository(python: Path, tmp_path: Path) -> None:
    """Weights load, and a map of a blank picture sums to no more than the whole attention."""
    code = (
        "from PIL import Image; from locheads.model.loading import load_lvlm; "
        "from locheads.model.attention import capture; lvlm = load_lvlm('specimen', device='cpu'); "
        "maps = capture(lvlm, [Image.new('RGB', (256, 256), 'red')], ['the red ring']); "
        "print(tuple(maps.shape[3:]) == tuple(lvlm.grid), 0 < float(maps.sum((-1, -2)).max()) <= 1 + 1e-5)"
    )
    printed = _run(python, tmp_path, "-c", code)
    assert "True True" in printed
