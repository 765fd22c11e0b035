"""Where the study keeps its things, and the strict runner of its notebooks.

`ROOT` is the repository. Notebooks lie in `notebooks/` in reading order; a run of a world
(`specimen`, or a name given to a real model and data set) leaves executed copies in
`runs/<world>/`, named numbers in `results/<world>/`, pictures in `figures/<world>/`.

A missing notebook and a parameter that does not fit (see `parameters`) are errors before anything
runs; each notebook runs in a kernel of its own (see `kernel`), with `notebooks/` as folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locheads.errors import LocheadsError
from locheads.run import outputs
from locheads.run.outputs import SPECIMEN, Results, checked_world, load_results, results_path
from locheads.run.parameters import check_parameters, declared, parse_assignments, read_preset


@dataclass(frozen=True)
class Finished:
    """A notebook that ran to its end: its name, wall-clock seconds, executed copy and saved numbers."""

    notebook: str
    seconds: float
    executed: Path
    results: Results


def notebooks() -> list[Path]:
    """The study's notebooks, in reading order."""
    return sorted((outputs.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def find_notebook(name: str) -> Path:
    """A notebook by number (`"01"`), name, or path.

    Raises:
        LocheadsError: No notebook goes by that name; the message lists those there are.
    """
    stem = Path(name).name.removesuffix(".ipynb")
    for path in notebooks():
        if stem in (path.stem, path.stem[:2]):
            return path
    known = ", ".join(path.stem for path in notebooks()) or f"none in {outputs.ROOT / 'notebooks'}"
    raise LocheadsError(f"no notebook '{name}': there are {known}")


def run_study(
    names: Sequence[str], parameters: Mapping[str, Any] | None = None, world: str = SPECIMEN
) -> Iterator[Finished]:
    """Execute notebooks through papermill, one after the other; all is checked before the first starts.

    Args:
        names: Notebooks as `find_notebook` takes them; none means all.
        parameters: Values for the notebooks' parameters; each notebook gets those it declares.
        world: Name of the world; sets the notebooks' parameter `world`.

    Returns:
        An iterator that runs the next notebook each time it is asked for one. What finished stays
        finished when a later notebook fails.

    Raises:
        LocheadsError: Before the first notebook, for a missing notebook, an unknown parameter, a wrong
            type, or a changed parameter in the world `"specimen"`; afterwards, for a notebook that
            fails: the message names notebook and cell, and the executed copy is kept.
    """
    given = dict(parameters or {})
    takers = _checked(names, given, world)
    return (_run(path, _share({**given, "world": world}, taker), world) for path, taker in takers.items())


def dry_run(names: Sequence[str], parameters: Mapping[str, Any], world: str = SPECIMEN) -> str:
    """What `run_study` would load, fetch, need and take; all is checked as there, and nothing runs.

    Raises:
        LocheadsError: As `run_study`, before the first notebook.
    """
    from locheads.run.dry_run import plan

    takers = _checked(names, parameters, world)
    told = plan({path.stem: taker for path, taker in takers.items()}, parameters, outputs.ROOT / "notebooks")
    return f"{told}\n\nNothing was run. The outcome would go to runs, results and figures of '{world}'."


def _checked(names: Sequence[str], given: Mapping[str, Any], world: str) -> dict[Path, dict[str, Any]]:
    """The notebooks of a run with their parameters, once all of it fits."""
    checked_world(world)
    paths = [find_notebook(name) for name in names] or notebooks()
    if not paths:
        raise LocheadsError(
            f"no notebooks in {outputs.ROOT / 'notebooks'}; run from a clone, installed with pip install -e ."
        )
    takers = {path: declared(path) for path in paths}
    check_parameters(given, {path.stem: taker for path, taker in takers.items()})
    changed = sorted({name for taker in takers.values() for name in _share(given, taker)})
    if changed and world == SPECIMEN:
        raise LocheadsError(
            f"'{changed[0]}' is not as in the notebooks, whose world is '{SPECIMEN}': "
            "keep the outcome apart with --world NAME"
        )
    return takers


def gather(
    names: Sequence[str], assignments: Sequence[str] = (), preset: str | None = None
) -> tuple[dict[str, Any], str | None]:
    """The parameters of a command line over those of a preset, and the world when one of them names it.

    Of a preset, what only notebooks outside `names` take is left out, so that one preset serves the study.

    Raises:
        LocheadsError: As `find_notebook`, `read_preset` and `parse_assignments`.
    """
    takers = {path.stem: declared(path) for path in map(find_notebook, names)}
    everyone = {path.stem: declared(path) for path in notebooks()}
    loaded = read_preset(preset, outputs.ROOT / "notebooks" / "params") if preset else {}
    wanted = {name for defaults in (takers or everyone).values() for name in defaults}
    elsewhere = {name for defaults in everyone.values() for name in defaults} - wanted - {"world"}
    given = {name: value for name, value in loaded.items() if name not in elsewhere}
    given |= parse_assignments(assignments, everyone)
    world = given.pop("world", None)
    return given, None if world is None else str(world)


def refresh(one: Finished) -> None:
    """Put an executed copy in the place of its notebook, for committing."""
    from locheads.run.execution import refresh

    refresh(find_notebook(one.notebook), one.executed)


def _share(parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What of the parameters changes a notebook's defaults."""
    return {
        name: parameters[name]
        for name in parameters
        if name in defaults and parameters[name] != defaults[name]
    }


def _run(notebook: Path, parameters: dict[str, Any], world: str) -> Finished:
    from locheads.run.execution import execute

    executed = outputs.ROOT / "runs" / world / notebook.name
    started, clock = time.time_ns(), time.perf_counter()
    execute(notebook, executed, parameters)
    seconds = time.perf_counter() - clock
    saved = results_path(world, notebook.stem)
    fresh = saved.exists() and saved.stat().st_mtime_ns >= started
    return Finished(notebook.stem, seconds, executed, load_results(world, notebook.stem) if fresh else {})
