"""Defines the subcommands for data and stores: `profile`, `data`, `manifest`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from locheads.errors import LocheadsError


def profile(
    model: Annotated[
        str, typer.Option(help="`specimen`, or a model that transformers can load: a hub name or a folder.")
    ] = "specimen",
    data: Annotated[str, typer.Option(help="`specimen`, or the folder of the data sets.")] = "specimen",
    dataset: Annotated[str, typer.Option(help="For example `refcoco+` or `reasonseg`.")] = "refcoco",
    split: Annotated[str, typer.Option(help="Split of the data set.")] = "train",
    samples: Annotated[int, typer.Option(min=1, help="How many samples to draw.")] = 500,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    world: Annotated[str, typer.Option(help="World whose notebooks read the store.")] = "specimen",
    store: Annotated[
        Path | None, typer.Option(help="Folder of the store. Default: that of the world's notebooks.")
    ] = None,
    maps: Annotated[
        str, typer.Option(help="Heads whose maps to keep: `all`, `none`, or as in `L3H2,L4H1`.")
    ] = "all",
    iou_of: Annotated[
        Literal["raw", "smoothed"],
        typer.Option(help="Maps of which the IoUs are taken: as they are (appendix A), or smoothed before."),
    ] = "raw",
    batch: Annotated[int, typer.Option(min=1, help="Samples in one forward pass.")] = 16,
    device: Annotated[str, typer.Option(help="A torch device, or `auto`.")] = "auto",
    precision: Annotated[str, typer.Option(help="`float32`, `bfloat16` or `float16`.")] = "float32",
    workers: Annotated[int | None, typer.Option(min=1, help="Dask workers on this machine.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, such as `tcp://host:8786`.")
    ] = None,
) -> None:
    """Capture every head on a data set: attention sums, entropies, IoUs and maps, in a zarr store.

    An interrupted profile is resumed by the next call. A store that was made with other parameters is
    refused. For SLURM, see the top of `locheads/profiling/cluster.py`.

    Example: `locheads profile --samples 1000 --maps L3H2,L4H1 --store runs/few-maps`
    """
    from locheads.data import read_samples
    from locheads.profiling.cluster import profile_anywhere
    from locheads.profiling.origin import kept_heads
    from locheads.run.parameters import check_ranges
    from locheads.run.study import profile_store

    check_ranges({"device": device, "dtype": precision})
    place = store or profile_store(world, dataset, split, samples, seed)
    kept = kept_heads(maps)
    chosen = read_samples(data, dataset, split, limit=samples, seed=seed)
    loading = (model, device, precision)
    done = profile_anywhere(loading, chosen, place, kept, batch, iou_of, workers, scheduler)
    typer.echo(f"{done.sizes['sample']} samples, {done.sizes['layer'] * done.sizes['head']} heads: {place}")


def data(
    root: Annotated[
        Path | None, typer.Option(help="Output folder. Default: data/specimen of the repository.")
    ] = None,
) -> None:
    """Write the specimen's data set: scenes and expressions in the layouts of RefCOCO and ReasonSeg.

    The files are identical every time, and a complete data set is not written again. The notebooks write it
    automatically; the command is for inspecting the files.
    """
    from locheads.data.scenes.dataset import ensure_dataset

    written = ensure_dataset(root) if root else ensure_dataset()
    typer.echo(f"The specimen's data set is in {written}")


def manifest(
    data: Annotated[
        str | None, typer.Argument(help="`specimen`, a folder of data sets, or an owner on the hub.")
    ] = None,
    dataset: Annotated[str | None, typer.Argument(help="Name of the data set, such as `refcoco`.")] = None,
    split: Annotated[str | None, typer.Argument(help="Split, such as `train`.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many samples to draw. Default: all.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Output file of the list (.jsonl).")] = None,
    check: Annotated[Path | None, typer.Option(help="A list to check instead of writing one.")] = None,
) -> None:
    """List the samples of a run as JSON lines, with the SHA-256 of their images, or check such a list.

    Limit and seed draw the same samples as in the notebooks. The list can be given as DATA; its images
    are relative to its folder. `--check FILE` alone checks the images beside the list; with DATA, DATASET and
    SPLIT it checks your own samples against the list.

    Examples: `locheads manifest /data/refer refcoco train --limit 1000 --output /data/refer/train.jsonl`,
    `locheads manifest --check /data/refer/train.jsonl`
    """
    from locheads.data import manifest as lists
    from locheads.data import read_samples

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
