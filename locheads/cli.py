"""The `locheads` command: run the study, sweep, ground one picture, profile a model, write data, train.

A problem that the user can mend is one line on stderr and exit status 2. Everything heavy is imported
inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from locheads.errors import LocheadsError

app = typer.Typer(
    help="Localization heads: the few attention heads of a vision-language model that ground a phrase.\n\n"
    "A companion to arXiv 2503.06287. `locheads run` redoes the study in its notebooks; `locheads ground` "
    "tries the heads on a picture of yours.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
train_app = typer.Typer(help="Train what the repository ships weights of.", no_args_is_help=True)
app.add_typer(train_app, name="train")


class Part(StrEnum):
    """What of the specimen can be trained by itself, in the order of the recipe."""

    tags = "tags"
    questions = "questions"
    finer = "finer"
    answers = "answers"
    together = "together"
    segmenter = "segmenter"


@app.command()
def run(
    notebooks: Annotated[
        list[str] | None,
        typer.Argument(help="Numbers or names, as in `01 03`; none means all, in order."),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="A parameter; repeat for more."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="YAML file of parameters, or the name of one in `notebooks/params`.")
    ] = None,
    world: Annotated[
        str | None,
        typer.Option(help="Name under which the outcome is kept; needed when parameters are changed."),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Then put the executed copies in the place of the notebooks.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what would be loaded, fetched and needed.")
    ] = False,
) -> None:
    """Run notebooks of the study, headlessly and strictly.

    A parameter that none of the notebooks has, or of another type than in the notebook, is refused before
    anything runs. Paths among the parameters count from `notebooks/`. Parameters on the command line win over
    those of the preset; a preset may hold parameters of notebooks that are not run.

    Executed copies go to `runs/WORLD/`, named numbers to `results/WORLD/`, pictures to `figures/WORLD/`.

    Examples: `locheads run`, `locheads run 03 -p k=5 --world five-heads`,
    `locheads run --preset llava-1.5-7b --dry-run`.
    """
    from locheads import headlines, study

    names = notebooks or []
    given, named = study.gather(names, parameter or [], preset)
    if in_place and (given or named or world):
        raise LocheadsError("--in-place runs the notebooks as they are: leave out -p, --preset and --world")
    if dry_run:
        typer.echo(study.dry_run(names, given, world or named or study.SPECIMEN))
        return
    finished = []
    for one in study.run_study(names, given, world or named or study.SPECIMEN):
        finished.append(one)
        if in_place:
            study.refresh(one)
    typer.echo("\n" + headlines.report(finished, world or named or study.SPECIMEN))


@app.command()
def sweep(
    file: Annotated[Path, typer.Argument(help="YAML file with `notebook`, `grid` and perhaps `base`.")],
    workers: Annotated[int | None, typer.Option(min=1, help="So many Dask workers on this machine.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Workers of a Dask scheduler, as in `tcp://host:8786`.")
    ] = None,
) -> None:
    """Run one notebook over a grid of parameters, each point in a world of its own.

    All points are checked before the first runs. Points that are done already are left as they are, and one
    that fails does not stop the others. The table of all points goes to `results/FILE.csv`.

    Example: a file `heads.yaml` with the lines `notebook: 03` and `grid: {k: [1, 3, 5]}`, then
    `locheads sweep heads.yaml --workers 2`
    """
    from locheads.sweep import read_sweep, run_sweep, write_table

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


@app.command()
def ground(
    image: Annotated[Path, typer.Argument(help="A picture file.")],
    expression: Annotated[str, typer.Argument(help='What to find, as in "the red circle on the left".')],
    model: Annotated[
        str, typer.Option(help="`specimen`, or a model that transformers can load: a hub name or a folder.")
    ] = "specimen",
    heads: Annotated[
        str | None, typer.Option(help="Heads to use, as in `L3H2,L4H1`. Default: those notebook 01 selected.")
    ] = None,
    world: Annotated[str, typer.Option(help="The world whose selected heads to use.")] = "specimen",
    output: Annotated[Path, typer.Option(help="Where the overlay goes: .png, .pdf, .svg or .jpg.")] = Path(
        "overlay.png"
    ),
) -> None:
    """Find what an EXPRESSION refers to in an IMAGE, and draw map, mask and box over it.

    The heads are those that notebook 01 selected in the world; for a model of yours, run it first
    (`locheads run 01 -p model=… --world NAME`), then give `--world NAME`.

    Example: `locheads ground scene.jpg "the large star" --output star.png`
    """
    from locheads import demo

    found = demo.ground_file(image, expression, model, heads, world, output)
    typer.echo(found)


@app.command()
def profile(
    model: Annotated[
        str, typer.Option(help="`specimen`, or a model that transformers can load: a hub name or a folder.")
    ] = "specimen",
    data: Annotated[str, typer.Option(help="`specimen`, or the folder of the data sets.")] = "specimen",
    dataset: Annotated[str, typer.Option(help="As in `refcoco+` or `reasonseg`.")] = "refcoco",
    split: Annotated[str, typer.Option(help="A split of it.")] = "train",
    samples: Annotated[int, typer.Option(min=1, help="How many samples to draw.")] = 500,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    world: Annotated[str, typer.Option(help="World whose notebooks are to read the store.")] = "specimen",
    store: Annotated[
        Path | None, typer.Option(help="The store. Default: where the notebooks of the world look for it.")
    ] = None,
    maps: Annotated[
        str, typer.Option(help="Whose maps to keep: `all`, `none`, or heads as in `L3H2,L4H1`.")
    ] = "all",
    batch: Annotated[int, typer.Option(min=1, help="Samples in one forward pass.")] = 16,
    device: Annotated[str, typer.Option(help="A torch device.")] = "cpu",
    precision: Annotated[str, typer.Option(help="`float32`, `bfloat16` or `float16`.")] = "float32",
    workers: Annotated[int | None, typer.Option(min=1, help="So many Dask workers on this machine.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Workers of a Dask scheduler, as in `tcp://host:8786`.")
    ] = None,
) -> None:
    """Capture every head on a data set: attention sums, entropies, IoUs and maps, in a zarr store.

    A call that was stopped, however, is taken up by the next one. A store that was made with other parameters
    is refused. For SLURM, see the top of `locheads/cluster.py`.

    Example: `locheads profile --samples 1000 --maps L3H2,L4H1 --store runs/few-maps`
    """
    from locheads import study
    from locheads.cluster import profile_anywhere
    from locheads.datasets import read_samples
    from locheads.store import kept_heads

    place = store or study.ROOT / "runs" / world / f"profile-{dataset}-{split}-{samples}-{seed}"
    kept = kept_heads(maps)
    chosen = read_samples(data, dataset, split, limit=samples, seed=seed)
    done = profile_anywhere((model, device, precision), chosen, place, kept, batch, workers, scheduler)
    typer.echo(f"{done.sizes['sample']} samples, {done.sizes['layer'] * done.sizes['head']} heads: {place}")


@app.command()
def data(
    root: Annotated[
        Path | None, typer.Option(help="Folder to write to. Default: data/specimen of the repository.")
    ] = None,
) -> None:
    """Write the specimen's data set: scenes and expressions in the layouts of RefCOCO and ReasonSeg.

    The same bytes every time. What is there and whole already is left as it is. The notebooks do this by
    themselves; the command is for a look at the files.
    """
    from locheads.specimen.dataset import ensure_dataset

    written = ensure_dataset(root) if root else ensure_dataset()
    typer.echo(f"The specimen's data set is in {written}")


@app.command()
def manifest(
    data: Annotated[
        str | None, typer.Argument(help="`specimen`, a folder of data sets, or an owner on the hub.")
    ] = None,
    dataset: Annotated[str | None, typer.Argument(help="As in `refcoco`.")] = None,
    split: Annotated[str | None, typer.Argument(help="As in `train`.")] = None,
    limit: Annotated[int | None, typer.Option(help="How many samples to draw. Default: all.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Where the list goes: a .jsonl file.")] = None,
    check: Annotated[Path | None, typer.Option(help="A list to check instead of writing one.")] = None,
) -> None:
    """List the samples of a run as JSON lines, with the SHA-256 of their images, or check such a list.

    Limit and seed draw the same samples as in the notebooks. The list can be read in the place of DATA; its
    images count from its own folder. `--check FILE` alone holds the images beside the list against it; with
    DATA, DATASET and SPLIT it holds your own samples against it.

    Examples: `locheads manifest /data/refer refcoco train --limit 1000 --output /data/refer/train.jsonl`,
    `locheads manifest --check /data/refer/train.jsonl`
    """
    from locheads.datasets import manifest as lists
    from locheads.datasets import read_samples

    if data is None or dataset is None or split is None:
        if data or check is None:
            raise LocheadsError("give DATA, DATASET and SPLIT with --output FILE, or --check FILE")
        typer.echo(f"{check}: {lists.check_images(check)} images, all as listed")
        return
    if (output is None) == (check is None):
        raise LocheadsError("give either --output FILE, to write a list, or --check FILE")
    if output and output.suffix != ".jsonl":
        raise LocheadsError(f"{output}: a list of samples is a .jsonl file")
    samples = read_samples(data, dataset, split, limit, seed)
    if check:
        typer.echo(f"{check}: {lists.check_samples(check, samples)} samples, all as in {data}")
    elif output:
        lists.write_manifest(samples, output, dataset, split)
        typer.echo(f"{len(samples)} samples of {dataset} {split} are listed in {output}")


@app.command()
def results(
    output: Annotated[
        Path | None, typer.Option(help="Where it goes. Default: RESULTS.md of the repository.")
    ] = None,
) -> None:
    """Write every number of the paper beside the saved ones, of the specimen and of the presets' worlds.

    Example: `locheads results`, after `locheads run` has filled `results/`.
    """
    from locheads import study
    from locheads.files import replacing
    from locheads.results import report, worlds

    place = output or study.ROOT / "RESULTS.md"
    with replacing(place) as partial:
        partial.write_text(report(worlds()), encoding="utf-8")
    typer.echo(f"{', '.join(worlds())} beside the paper: {place}")


@train_app.command("specimen")
def train_specimen(
    part: Annotated[Part | None, typer.Option(help="One part only. Default: all, in order.")] = None,
) -> None:
    """Train the specimen again: the vision tower on tags and questions, the model on answers, the segmenter.

    Hours on two CPU cores, minutes on a GPU. Checkpointed: a call that was stopped is taken up by the next.
    The weights in the repository are replaced only when their part is done.
    """
    from locheads.specimen.recipe import train_part

    for one in [part] if part else list(Part):
        train_part(one.value)


def main() -> None:
    """Entry point: a `LocheadsError` or a full disk is one line on stderr and exit status 2."""
    from locheads.files import explained

    try:
        app()
    except LocheadsError as error:
        _fail(error)
    except OSError as error:
        known = explained(error, error.filename or "writing")
        if known is None:
            raise
        _fail(known)


def _fail(error: LocheadsError) -> None:
    print("locheads:", " ".join(str(error).split()), file=sys.stderr)
    raise SystemExit(2)


if __name__ == "__main__":
    main()
