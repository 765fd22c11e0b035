"""Says where data and outcome of the study lie: in the clone or, without one, where one works."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def root(package: Path = PACKAGE) -> Path:
    """Returns the root of the clone that holds the package; without one, the working directory.

    A kernel works in the folder `notebooks`: its root lies above.
    """
    clone, here = package.parent, Path.cwd()
    if (clone / "notebooks").is_dir() and (clone / "pyproject.toml").is_file():
        return clone
    return here.parent if here.name == "notebooks" else here
