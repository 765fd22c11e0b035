"""Records the parameters of saved results, and keeps the results of other parameters apart.

`results/<world>/parameters.json` holds, for each notebook, the parameters its numbers were made with.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from locheads.files import replacing
from locheads.run import outputs
from locheads.run.parameters import declared

CHECKED = "LOCHEADS_CHECKED_RUN"
"""Environment variable of kernels that `locheads run` starts, which has checked world and parameters."""


def world_of(notebook: str, parameters: Mapping[str, Any]) -> str:
    """Returns the world to save under: a scratch world if the notebook's records other parameters.

    The diversion is printed. Kernels of `locheads run` save where they are asked to.
    """
    world = outputs.checked_world(parameters["world"])
    before, now = _read(world).get(notebook), _own(notebook, parameters)
    if os.environ.get(CHECKED) or before is None or not now or before == now:
        return world
    changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    digest = hashlib.sha256(json.dumps(now, sort_keys=True, default=str).encode()).hexdigest()[:8]
    scratch = f"scratch-{world}-{digest}"
    told = ", ".join(f"{name} = {now.get(name)!r}, not {before.get(name)!r}" for name in changed)
    print(f"Saved under '{scratch}', because the results of '{world}' have other parameters: {told}")
    return scratch


def record(world: str, notebook: str, parameters: Mapping[str, Any]) -> None:
    """Records the parameters of a notebook whose results were just saved."""
    if not (now := _own(notebook, parameters)):
        return
    with replacing(outputs.results_path(world, "parameters")) as partial:
        kept = {**_read(world), notebook: now}
        partial.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _read(world: str) -> dict[str, Any]:
    if not outputs.results_path(world, "parameters").exists():
        return {}
    return outputs.load_results(world, "parameters")


def _own(notebook: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those values that the notebook declares as parameters, but its world."""
    path = outputs.ROOT / "notebooks" / f"{notebook}.ipynb"
    if not path.exists():
        return {}
    return {name: parameters[name] for name in declared(path) if name in parameters and name != "world"}
