"""Defines the subcommands for notebooks: `run`, `sweep`, and `results`, which reads their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from locheads.errors import LocheadsError

Notebooks = Annotated[
    list[str] | None, typer.Argument(help="Numbers or names, such as `01 03`. Default: all, in order.")
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter; may be repeated."),
]
Preset = Annotated[
    str | None, typer.Option(help="YAML file of parameters, or the name of one in `notebooks/params`.")
]
World = Annotated[
    str | None,
    typer.Option(help="Name under which the outcome is saved; required when parameters are changed."),
]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace the notebooks by their executed copies.")]
ListAll = Annotated[
    bool, typer.Option("--list", help="Only list the notebooks and the presets of `notebooks/params`.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only report what would be loaded, downloaded and required.")
]
Rate = Annotated[
    float | None,
    typer.Option(min=1e-6, help="TFLOP/s of the device, for --dry-run. Default: measured, or an A100's."),
]


def run(
    notebooks: Notebooks = None,
    parameter: Parameters = None,
    preset: Preset = None,
    world: World = None,
    in_place: InPlace = False,
    list_all: ListAll = False,
    dry_run: DryRun = False,
    rate: Rate = None,
) -> None:
    """Run notebooks of the study, headlessly and strictly.

    A parameter that none of the notebooks has, or of another type than in the notebook, is refused before
    anything runs. Paths among the parameters are relative to `notebooks/`. Parameters on the command line
    override those of the preset; a preset may hold parameters of notebooks that are not run.

    Executed copies go to `runs/WORLD/`, named numbers to `results/WORLD/`, pictures to `figures/WORLD/`.

    Examples: `locheads run`, `locheads run 03 -p k=5 --world five-heads`,
    `locheads run --preset llava-1.5-7b --dry-run`.
    """
    from locheads.run import closing_table as headlines
    from locheads.run import outputs, runner

    if list_all:
        typer.echo(runner.listing())
        return
    names, assignments = notebooks or [], parameter or []
    if world is not None and any(one.startswith("world=") for one in assignments):
        raise LocheadsError("the world is given twice, by -p and by --world; give it once")
    given, named = runner.gather(names, assignments, preset)
    world = next((one for one in (world, named) if one is not None), outputs.SPECIMEN)
    if in_place and (given or world != outputs.SPECIMEN):
        raise LocheadsError("--in-place runs the notebooks as they are: leave out -p, --preset and --world")
    if dry_run:
        typer.echo(runner.dry_run(names, given, world, rate and rate * 1e12))
        return
    if given.get("model", outputs.SPECIMEN) != outputs.SPECIMEN:  # the specimen fits everywhere
        _report_size(given)
    finished = []
    for one in runner.run_study(names, given, world, replacing=in_place):
        finished.append(one)
        if in_place:
            runner.refresh(one)
    own = any(given.get(name, outputs.SPECIMEN) != outputs.SPECIMEN for name in ("model", "data"))
    typer.echo("\n" + headlines.report(finished, world, own))


def _report_size(given: Mapping[str, Any]) -> None:
    """Prints whether a run needs more memory than there is; imports torch, which running alone does not."""
    from locheads.run.dry_run import too_large

    if wrong := too_large(given):
        typer.echo(f"too large: {wrong}", err=True)


def sweep(
    file: Annotated[Path, typer.Argument(help="YAML file with `notebook`, `grid` and perhaps `base`.")],
    workers: Annotated[int | None, typer.Option(min=1, help="Dask workers on this machine.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, such as `tcp://host:8786`.")
    ] = None,
) -> None:
    """Run one notebook over a grid of parameters, each point in a world of its own.

    All points are checked before the first runs. Finished points are not run again, and a failing point
    does not stop the others. The table of all points goes to `results/FILE.csv`.

    Example: a file `heads.yaml` with the lines `notebook: 03` and `grid: {k: [1, 3, 5]}`, then
    `locheads sweep heads.yaml --workers 2`
    """
    from locheads.run.sweep import read_sweep, run_sweep, write_table

    points, failed = read_sweep(file), []
    for number, (point, wrong) in enumerate(run_sweep(points, workers, scheduler), 1):
        typer.echo(f"[{number}/{len(points)}] {point.world}: {'failed' if wrong else 'done'}")
        if wrong:
            failed.append(f"{point.world}: {wrong}")
    table = write_table(file, points)
    if failed:
        some = f"{len(failed)} of {len(points)} points failed, the others are in {table}"
        raise LocheadsError(f"{some}: {'; '.join(failed)}")
    typer.echo(f"{len(points)} points: {table}")


def results(
    output: Annotated[
        Path | None, typer.Option(help="Output file. Default: RESULTS.md of the repository.")
    ] = None,
) -> None:
    """Write every number of the paper beside the saved ones of the specimen and of the presets' worlds.

    Example: `locheads results`, after `locheads run` has filled `results/`.
    """
    from locheads.files import replacing
    from locheads.run import outputs
    from locheads.run.results_md import report, worlds

    place = output or outputs.ROOT / "RESULTS.md"
    with replacing(place) as partial:
        partial.write_text(report(worlds()), encoding="utf-8")
    typer.echo(f"{', '.join(worlds())} beside the paper: {place}")
