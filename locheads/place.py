"""Says where data and outcome of the study lie: in the clone or, without one, where one works."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def root(package: Path = PACKAGE) -> Path:
    """Returns the root of the clone that holds the package; without one, the working directory."""
    clone = package.parent
    return clone if (clone / "notebooks").is_dir() and (clone / "pyproject.toml").is_file() else Path.cwd()
