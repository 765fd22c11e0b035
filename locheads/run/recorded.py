"""Keeps results of other parameters apart, however a notebook is run.

`results/<world>/parameters.json` holds, for each notebook, the parameters its numbers were made with. The
specimen's are the defaults of the committed notebooks, with or without such a record.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from typing import Any

from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.locks import hold
from locheads.run import outputs
from locheads.run.parameters import declared, declared_in

CHECKED = "LOCHEADS_CHECKED_RUN"
"""Environment variable of kernels that `locheads run` starts, which has checked world and parameters."""
NEUTRAL = ("world", "device", "batch")
"""Parameters on which results do not depend, beyond rounding."""
SHAPING = ("model", "revision", "prompt", "query", "dtype", "data")
"""Parameters on which a profile depends, beside those in its store's name."""


def world_of(notebook: str, parameters: Mapping[str, Any]) -> str:
    """Returns the world to save under: a scratch world if the world's results are of other parameters.

    The diversion is printed. Where model, prompt and data are the same, the scratch world reads and fills the
    profile stores of the world, so that another `k` does not profile anew. Kernels of `locheads run` save
    where they are asked to.
    """
    world = outputs.checked_world(parameters["world"])
    now = _own(notebook, parameters)
    before = belonging(world, notebook)
    if os.environ.get(CHECKED) or not (changed := differences(now, before)):
        return world
    digest = hashlib.sha256(json.dumps(now, sort_keys=True, default=str).encode()).hexdigest()[:8]
    scratch = f"scratch-{world}-{digest}"
    print(f"Saved under '{scratch}', because the results of '{world}' are of other parameters: {changed}")
    if all(now.get(name) == before.get(name) for name in SHAPING):
        outputs.share_stores(scratch, outputs.stores_of(world))
    return scratch


def belonging(world: str, notebook: str) -> dict[str, Any]:
    """Returns the parameters that results in a world have to have; empty where all are free.

    In the world of the specimen they are the defaults of the notebook as committed, or, without git, as
    recorded, or as they stand; in another world those of the results that are there.
    """
    recorded = read(world).get(notebook, {})
    if world != outputs.SPECIMEN:
        return recorded
    return committed(notebook) or recorded or _standing(notebook)


def committed(notebook: str) -> dict[str, Any]:
    """Returns the defaults of a notebook as last committed with git; empty where that cannot be known."""
    file = f"notebooks/{notebook}.ipynb"
    command = ["git", "-C", str(outputs.ROOT), "show", f"HEAD:./{file}"]
    try:
        shown = subprocess.run(command, capture_output=True, check=True).stdout
        return declared_in(shown.decode("utf-8"), file)
    except (OSError, subprocess.CalledProcessError, UnicodeDecodeError, LocheadsError):
        return {}


def differences(now: Mapping[str, Any], before: Mapping[str, Any]) -> str:
    """Returns the parameters that differ, as in `k = 5, not 3`; empty where none does.

    Parameters that only one side knows, and those of `NEUTRAL`, are left out.
    """
    names = sorted((now.keys() & before.keys()) - {*NEUTRAL})
    return ", ".join(
        f"{name} = {now[name]!r}, not {before[name]!r}" for name in names if now[name] != before[name]
    )


def record(world: str, notebook: str, parameters: Mapping[str, Any]) -> None:
    """Records the parameters of a notebook whose results were just saved."""
    if not (now := _own(notebook, parameters)):
        return
    lock = hold(outputs.ROOT / "runs" / world / outputs.PARAMETERS, "records parameters", wait=True)
    with lock, replacing(outputs.results_path(world, outputs.PARAMETERS)) as partial:
        kept = {**read(world), notebook: now}
        partial.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def read(world: str) -> dict[str, dict[str, Any]]:
    """Reads the recorded parameters of a world, by notebook; empty where there are none.

    Raises:
        LocheadsError: The record is damaged.
    """
    path = outputs.results_path(world, outputs.PARAMETERS)
    if not path.exists():
        return {}
    recorded = outputs.load_results(world, outputs.PARAMETERS)
    if not all(isinstance(values, dict) for values in recorded.values()):
        raise LocheadsError(f"{path}: not parameters by notebook; remove it")
    return recorded


def _own(notebook: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those values that the notebook declares as parameters, but its world."""
    return {name: parameters[name] for name in _standing(notebook) if name in parameters and name != "world"}


def _standing(notebook: str) -> dict[str, Any]:
    """Returns the defaults of a notebook as its file has them; empty where there is no such file."""
    path = outputs.ROOT / "notebooks" / f"{notebook}.ipynb"
    return declared(path) if path.exists() else {}
