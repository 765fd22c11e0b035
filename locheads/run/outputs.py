"""Saves and loads the results and figures of a world."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locheads import place
from locheads.errors import LocheadsError
from locheads.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROOT = place.root()
"""Folder of `notebooks`, `runs`, `results` and `figures`: the clone, or the working directory."""


SPECIMEN = "specimen"
"""Name of the world that a fresh clone can run."""

STORES = "stores"
"""Name of the link to the profile stores that worlds share."""

PARAMETERS = "parameters"
"""Name under which the parameters of a world's results are recorded, beside those."""


Scalar = str | int | float | bool | None


Results = dict[str, Any]
"""Named numbers of one notebook: scalars, or lists of flat records."""


def results_path(world: str, notebook: str) -> Path:
    """Returns the path of a notebook's named numbers: `results/<world>/<notebook>.json`."""
    return ROOT / "results" / checked_world(world) / f"{notebook}.json"


def save_results(world: str, notebook: str, values: Mapping[str, Any]) -> Path:
    """Writes the named numbers of a notebook atomically, sorted by name, in full precision.

    Args:
        world: Name of the world, `"specimen"` or another.
        notebook: Name of the notebook without suffix, as in `"01_head_profiling"`.
        values: Strings, finite numbers, booleans, None, or lists of flat records of these.
            NumPy scalars count as numbers.

    Raises:
        LocheadsError: A value is nested, not finite or of another type; or the disk is full.
    """
    plain = {key: _plain_value(f"{notebook}: result '{key}'", values[key]) for key in sorted(values)}
    path = results_path(world, notebook)
    with replacing(path) as partial:
        partial.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def defined(value: Scalar) -> Scalar:
    """Returns a result as it is saved: None where it is NaN, that is, where nothing is defined."""
    return None if isinstance(value, float) and math.isnan(value) else value


def load_results(world: str, notebook: str) -> Results:
    """Loads the named numbers that a notebook saved.

    Raises:
        LocheadsError: The notebook has not run in this world, or its file does not parse.
    """
    path = results_path(world, notebook)
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        command = f"locheads run {notebook} --world {world}"
        raise LocheadsError(f"{path}: not there yet; run `{command}` first") from error
    except ValueError as error:
        raise LocheadsError(f"{path}: not JSON; remove it and run {notebook} again") from error
    if not isinstance(loaded, dict) or not (notebook == PARAMETERS or all(map(_is_result, loaded.values()))):
        raise LocheadsError(f"{path}: not named numbers; remove it and run {notebook} again")
    return loaded


def save_figure(figure: Figure, world: str, name: str) -> list[Path]:
    """Saves a matplotlib figure as `figures/<world>/<name>.png` and `.pdf`, without dates.

    With the same version of matplotlib, the same figure gives the same bytes.

    Raises:
        LocheadsError: The disk is full.
    """
    undated: dict[str, dict[str, None]] = {"png": {"Software": None}, "pdf": {"CreationDate": None}}
    paths = []
    for suffix, metadata in undated.items():
        path = ROOT / "figures" / checked_world(world) / f"{name}.{suffix}"
        with replacing(path) as partial:
            figure.savefig(partial, dpi=100, bbox_inches="tight", metadata=metadata)
        paths.append(path)
    return paths


def claim(world: str, what: str, holds: bool) -> None:
    """Prints whether a claim holds, and asserts it on the specimen, whose outcome is known.

    With another model or other data a failing claim is a finding, and the notebook goes on.

    Args:
        world: Name of the world.
        what: The claim, as one sentence.
        holds: Whether it holds.

    Raises:
        AssertionError: The claim does not hold, and the world is the specimen.
    """
    print(f"{what}: {'yes' if holds else 'NO'}")
    assert holds or world != SPECIMEN, what


def checked_world(world: str) -> str:
    """Returns the name of a world after checking it.

    Raises:
        LocheadsError: It is not a plain name.
    """
    if not re.fullmatch(r"\w[\w.-]*", world):
        raise LocheadsError(f"world '{world}' is not a plain name; use letters, digits, '.', '-' and '_'")
    return world


def share_stores(world: str, folder: str) -> None:
    """Makes a world keep its profile stores in `runs/<folder>`, by a link in its own folder."""
    link = ROOT / "runs" / checked_world(world) / STORES
    (ROOT / "runs" / checked_world(folder)).mkdir(parents=True, exist_ok=True)
    with replacing(link) as partial:  # at once: another kernel of this world may read it now
        partial.symlink_to(Path("..", folder))


def stores_of(world: str) -> str:
    """Returns the folder in `runs/` that holds the profile stores of a world: its own, or a shared one."""
    link = ROOT / "runs" / checked_world(world) / STORES
    return link.readlink().name if link.is_symlink() else world


def _is_result(value: Any) -> bool:
    """Returns whether a value is a scalar or a list of flat records; layers and heads have to be numbers."""
    if not isinstance(value, list):
        return value is None or isinstance(value, str | int | float)
    for record in value:
        if not isinstance(record, dict) or not all(map(_is_result, record.values())):
            return False
        if not all(
            type(record[name]) is int and record[name] >= 0 for name in ("layer", "head") if name in record
        ):
            return False
    return True


def _plain_value(what: str, value: Any) -> Any:
    if isinstance(value, list | tuple) and all(isinstance(record, Mapping) for record in value):
        return [
            {str(key): _plain_scalar(f"{what}, '{key}'", record[key]) for key in record} for record in value
        ]
    return _plain_scalar(what, value)


def _plain_scalar(what: str, value: Any) -> Scalar:
    if hasattr(value, "item") and not getattr(value, "shape", ()):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        raise LocheadsError(f"{what} is {value}; results must be finite (save None where nothing is defined)")
    if value is not None and not isinstance(value, str | int | float):
        raise LocheadsError(
            f"{what} is a {type(value).__name__}; results are scalars or lists of flat records"
        )
    return value
