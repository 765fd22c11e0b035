"""Runs the notebooks of the study, strictly: everything is checked before the first one starts.

Notebooks are in `notebooks/`, numbered in reading order. A run in a world (`specimen`, or a name given to
a real model and data set) writes executed copies to `runs/<world>/`, named numbers to `results/<world>/` and
figures to `figures/<world>/`.

A missing notebook, or a parameter that does not fit (see `parameters`), is an error before anything runs.
Each notebook runs in a kernel of its own (see `execution`), with `notebooks/` as its working directory.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locheads.errors import LocheadsError
from locheads.locks import hold
from locheads.run import outputs
from locheads.run.leftovers import sweep
from locheads.run.outputs import SPECIMEN, Results, checked_world, load_results, results_path
from locheads.run.parameters import check_parameters, check_ranges, declared, parse_assignments, read_preset
from locheads.run.recorded import belonging, differences


@dataclass(frozen=True)
class Finished:
    """A finished notebook.

    Attributes:
        notebook: Its name.
        seconds: Wall-clock time.
        executed: The executed copy.
        results: The numbers that it saved.
        left_out: Why it could measure nothing on this data; None where it ran to its end.
    """

    notebook: str
    seconds: float
    executed: Path
    results: Results
    left_out: str | None = None


def notebooks() -> list[Path]:
    """Lists the study's notebooks, in reading order."""
    return sorted((outputs.ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


def find_notebook(name: Path | str) -> Path:
    """Finds a notebook by number (`"01"`), name, or path.

    Raises:
        LocheadsError: There is no such notebook; the message lists the existing ones.
    """
    stem = Path(name).name.removesuffix(".ipynb")
    for path in notebooks():
        if stem in (path.stem, path.stem[:2]):
            return path
    known = ", ".join(path.stem for path in notebooks()) or f"none in {outputs.ROOT / 'notebooks'}"
    raise LocheadsError(f"no notebook '{name}': there are {known}")


def run_study(
    names: Sequence[str],
    parameters: Mapping[str, Any] | None = None,
    world: str = SPECIMEN,
    replacing: bool = False,
) -> Iterator[Finished]:
    """Executes notebooks with papermill, one after the other, after checking all of them.

    Args:
        names: Notebooks as `find_notebook` takes them; an empty sequence means all.
        parameters: Values for the notebooks' parameters; each notebook gets those it declares.
        world: Name of the world; sets the notebooks' parameter `world`.
        replacing: Whether results of other parameters in this world may be replaced.

    Returns:
        An iterator that runs one notebook per step. Finished notebooks keep their outcome when a later
        one fails.

    Raises:
        LocheadsError: Before the first notebook, for a missing notebook, an unknown parameter, a wrong
            type, a value out of range, a changed parameter in the world `"specimen"`, or results of other
            parameters in another world; afterwards, for a notebook that fails: the message names notebook
            and cell, and the executed copy is kept.
    """
    given = dict(parameters or {})
    takers = _checked(names, given, world)
    if not replacing:
        _check_world(takers, given, world)
    return _running(takers, given, world, replacing)


def listing() -> str:
    """Returns the notebooks with their titles, and the presets with their model, one per line."""
    import nbformat

    titles = [(path.stem, nbformat.read(path, as_version=4).cells[0].source) for path in notebooks()]
    folder = outputs.ROOT / "notebooks" / "params"
    presets = [
        (path.stem, str(read_preset(path, folder).get("model", ""))) for path in sorted(folder.glob("*.yaml"))
    ]
    rows = [(name, title.splitlines()[0].lstrip("# ")) for name, title in titles]
    width = max((len(name) for name, _ in (*rows, *presets)), default=0)
    return "\n".join(
        [
            "notebooks",
            *(f"  {name.ljust(width)}  {title}" for name, title in rows),
            "presets",
            *(f"  {name.ljust(width)}  {model}" for name, model in presets),
        ]
    )


def _running(
    takers: Mapping[Path, Mapping[str, Any]], given: Mapping[str, Any], world: str, replacing: bool
) -> Iterator[Finished]:
    """Runs notebooks while no other process runs any in this world, after the leftovers of killed runs."""
    folder = outputs.ROOT / "runs" / world
    with hold(folder, f"runs notebooks in world '{world}'"):
        if not replacing:  # again: another run may have ended in the meantime
            _check_world(takers, given, world)
        sweep(folder)
        for path, taker in takers.items():
            yield _run(path, _share({**given, "world": world}, taker), world)


def dry_run(
    names: Sequence[str], parameters: Mapping[str, Any], world: str = SPECIMEN, rate: float | None = None
) -> str:
    """Describes what `run_study` would load, download and require, after the same checks; runs nothing.

    Args:
        names: As for `run_study`.
        parameters: As for `run_study`.
        world: As for `run_study`.
        rate: Operations per second, see `dry_run.plan`.

    Raises:
        LocheadsError: As `run_study`, before the first notebook.
    """
    from locheads.run.dry_run import plan

    takers = _checked(names, parameters, world)
    _check_world(takers, parameters, world)
    told = plan(
        {path.stem: taker for path, taker in takers.items()}, parameters, outputs.ROOT / "notebooks", rate
    )
    return f"{told}\n\nNothing was run. The outcome would go to runs, results and figures of '{world}'."


def _checked(names: Sequence[str], given: Mapping[str, Any], world: str) -> dict[Path, dict[str, Any]]:
    """Returns the notebooks of a run with their declared parameters, after all checks."""
    checked_world(world)
    paths = [find_notebook(name) for name in names] or notebooks()
    if not paths:
        raise LocheadsError(
            f"no notebooks in {outputs.ROOT / 'notebooks'}; run from a clone, installed with pip install -e ."
        )
    takers = {path: declared(path) for path in paths}
    check_ranges(given)
    check_parameters(given, {path.stem: taker for path, taker in takers.items()})
    return takers


def _check_world(takers: Mapping[Path, Mapping[str, Any]], given: Mapping[str, Any], world: str) -> None:
    """Refuses a run that would replace results of other parameters."""
    for path, taker in takers.items():
        if changed := differences({**taker, **_share(given, taker)}, belonging(world, path.stem)):
            if world == SPECIMEN:
                raise LocheadsError(
                    f"{path.stem}: {changed} as in the committed notebook, whose world is '{SPECIMEN}': "
                    "keep the outcome apart with --world NAME"
                )
            raise LocheadsError(
                f"world '{world}' holds results of {path.stem} with other parameters ({changed}): "
                f"give another --world, or remove {outputs.results_path(world, path.stem).parent} first"
            )


def gather(
    names: Sequence[str], assignments: Sequence[str] = (), preset: str | None = None
) -> tuple[dict[str, Any], str | None]:
    """Merges the parameters of a command line into those of a preset; returns them and the world, if given.

    Parameters of the preset that only notebooks outside `names` declare are dropped, so that one preset
    serves the whole study.

    Raises:
        LocheadsError: As `find_notebook`, `read_preset` and `parse_assignments`.
    """
    takers = {path.stem: declared(path) for path in map(find_notebook, names)}
    everyone = {path.stem: declared(path) for path in notebooks()}
    loaded = read_preset(preset, outputs.ROOT / "notebooks" / "params") if preset is not None else {}
    wanted = {name for defaults in (takers or everyone).values() for name in defaults}
    elsewhere = {name for defaults in everyone.values() for name in defaults} - wanted - {"world"}
    given = {name: value for name, value in loaded.items() if name not in elsewhere}
    given |= parse_assignments(assignments, everyone)
    world = given.pop("world", None)
    return given, None if world is None else str(world)


def refresh(one: Finished) -> None:
    """Replaces a notebook by its executed copy, for committing."""
    from locheads.run.execution import refresh

    refresh(find_notebook(one.notebook), one.executed)


def _share(parameters: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters that a notebook declares and whose values differ from its defaults."""
    return {
        name: parameters[name]
        for name in parameters
        if name in defaults and parameters[name] != defaults[name]
    }


def _run(notebook: Path, parameters: dict[str, Any], world: str) -> Finished:
    from locheads.run.execution import execute

    executed = outputs.ROOT / "runs" / world / notebook.name
    started, clock = time.time_ns(), time.perf_counter()
    left_out = execute(notebook, executed, parameters)
    seconds = time.perf_counter() - clock
    saved = results_path(world, notebook.stem)
    fresh = saved.exists() and saved.stat().st_mtime_ns >= started
    results = load_results(world, notebook.stem) if fresh else {}
    return Finished(notebook.stem, seconds, executed, results, left_out)
