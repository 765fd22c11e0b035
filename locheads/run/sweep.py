"""Runs one notebook over a grid of parameters: `locheads sweep`.

A sweep is a YAML file, here `heads.yaml`::

    notebook: 03
    base: llava-1.5-7b  # a preset, or `name: value` pairs; optional
    grid: {k: [1, 3, 5], samples: [200, 1000]}

Every point of the grid is one run of the notebook (see `runner`) in a world of its own, such as
`heads.k-1.samples-200`. Points with the same model, prompt and data share their profile stores, so that
nothing is profiled twice. A point's parameters and numbers are also saved in `results/<world>/sweep.json`,
from which a later call knows the finished points; the table of all points is `results/heads.csv`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.run import outputs, runner
from locheads.run.parameters import check_plain
from locheads.run.plain_yaml import load_yaml
from locheads.run.recorded import SHAPING

MOST = 10_000
"""Points of the largest grid that is taken."""
FORM = "write `notebook: 03`, `grid:` with a list for each parameter but `world`, and perhaps `base:`"


@dataclass(frozen=True)
class Point:
    """One point of the grid: sweep, notebook, parameters, and the world that keeps the outcome."""

    sweep: str
    notebook: str
    parameters: dict[str, Any]
    world: str

    @property
    def stores(self) -> str:
        """Returns the folder in `runs/` for the profile stores of all points that agree in `SHAPING`."""
        shape = json.dumps([self.parameters.get(name) for name in SHAPING], default=str)
        return f"{self.sweep}.stores-{hashlib.sha256(shape.encode()).hexdigest()[:8]}"

    @property
    def told(self) -> str:
        """Returns notebook and parameters as one line of JSON, which identifies the run."""
        return json.dumps({"notebook": self.notebook, **self.parameters}, sort_keys=True, default=str)

    def finished(self) -> dict[str, Any] | None:
        """Loads the numbers of the point, or None if it has not finished with these parameters."""
        try:
            kept = outputs.load_results(self.world, "sweep")
        except LocheadsError:
            return None
        return kept if kept.pop("run", None) == self.told else None

    def run(self) -> None:
        """Executes the notebook and saves its scalar numbers; raises as `runner.run_study`."""
        outputs.results_path(self.world, "sweep").unlink(missing_ok=True)
        outputs.share_stores(self.world, self.stores)
        (done,) = runner.run_study([self.notebook], self.parameters, self.world, replacing=True)
        numbers = {name: value for name, value in done.results.items() if isinstance(value, int | float)}
        outputs.save_results(self.world, "sweep", {**numbers, "run": self.told})


def read_sweep(path: Path | str) -> list[Point]:
    """Reads the points of a sweep in the order of its grid, the last parameter changing fastest.

    Raises:
        LocheadsError: The file does not have the form above, or a point does not fit its notebook, as in
            `runner.run_study`. Nothing has run then.
    """
    path = Path(path)
    notebook, base, grid = _read(path)
    name = runner.find_notebook(notebook).stem
    given = runner.gather([name], preset=base)[0] if isinstance(base, str) else base
    if (count := math.prod(map(len, grid.values()))) > MOST:
        raise LocheadsError(f"{path}: {count:,} points; a sweep has at most {MOST:,}")
    if not re.fullmatch(r"\w[\w.-]*", path.stem):
        raise LocheadsError(
            f"{path}: name the file with letters, digits, '.', '-' and '_', as its worlds are"
        )
    chosen = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    points = {
        (world := _world(path.stem, some)): Point(path.stem, name, {**given, **some}, world)
        for some in chosen
    }
    for point in points.values():
        check_plain(path, point.parameters)
        runner.run_study(
            [name], point.parameters, point.world, replacing=True
        )  # checks only; the iterator is not consumed
    return list(points.values())


def run_sweep(
    points: Sequence[Point], workers: int | None = None, scheduler: str | None = None
) -> Iterator[tuple[Point, str | None]]:
    """Runs the unfinished points, in this process or on Dask workers.

    Workers must find the repository under the same path.

    Args:
        points: From `read_sweep`.
        workers: Number of new Dask workers on this machine.
        scheduler: Address of a running Dask scheduler.

    Yields:
        Each point as it finishes, with its error message, or None if it succeeded.
    """
    waiting = [point for point in points if point.finished() is None]
    yield from ((point, None) for point in points if point not in waiting)
    if not waiting or (workers is None and scheduler is None):
        yield from ((point, _attempt(point)) for point in waiting)
        return
    from dask.distributed import as_completed

    from locheads.profiling.cluster import connected, one_line

    with connected(scheduler, workers) as client, one_line():
        running = {client.submit(_attempt, point, outputs.ROOT, pure=False): point for point in waiting}
        for one in as_completed(list(running)):
            yield running[one], f"its worker ended ({lost})" if (lost := one.exception()) else one.result()


def write_table(path: Path | str, points: Sequence[Point]) -> Path:
    """Writes the table: one row per finished point with `world`, its parameters and its numbers.

    A number with the name of a parameter gets the suffix `_found`.
    """
    import pandas as pd

    rows = []
    for point in points:
        if (found := point.finished()) is not None:
            numbers = {f"{n}_found" if n in point.parameters else n: value for n, value in found.items()}
            rows.append({"world": point.world, **point.parameters, **numbers})
    table = outputs.ROOT / "results" / f"{Path(path).stem}.csv"
    with replacing(table) as partial:
        pd.DataFrame(rows).to_csv(partial, index=False)
    return table


def _attempt(point: Point, root: Path | None = None) -> str | None:
    """Runs a point and returns its error message or None, so that other points go on.

    On a worker, `root` is the repository.
    """
    if root is not None:
        # Progress bars of several workers would overwrite each other.
        outputs.ROOT, os.environ["TQDM_DISABLE"] = root, "1"
    try:
        point.run()
    except Exception as error:
        return str(error) if isinstance(error, LocheadsError) else repr(error)
    return None


def _read(path: Path) -> tuple[str, str | dict[str, Any], dict[str, list[Any]]]:
    """Reads notebook, base and grid from a sweep file."""
    match load_yaml(path, FORM):
        case {"notebook": int() | str() as notebook, "grid": dict() as grid, **rest} if grid:
            base = rest.pop("base", {})
            lists = all(isinstance(values, list) and values for values in grid.values())
            if lists and not rest and isinstance(base, str | dict) and "world" not in {*grid, *base}:
                return str(notebook).rjust(2, "0"), base, grid
    raise LocheadsError(f"{path}: not a sweep; {FORM}")


def _world(sweep: str, values: Mapping[str, Any]) -> str:
    """Names a point's world after its values; a digest is added if they do not form a plain name."""
    told = ".".join(f"{name}-{value}" for name, value in values.items())
    if re.fullmatch(r"[\w.-]{1,80}", told):
        return f"{sweep}.{told}"
    digest = hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()[:8]
    return f"{sweep}.{re.sub('[^0-9A-Za-z_.-]+', '_', told)[:60]}.{digest}"
