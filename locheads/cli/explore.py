"""Defines the subcommand `explore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from locheads.errors import LocheadsError


def explore(
    output: Annotated[Path, typer.Argument(help="Output file: .html.")],
    model: Annotated[
        str, typer.Option(help="`specimen`, or a model that transformers can load: a hub name or a folder.")
    ] = "specimen",
    data: Annotated[str, typer.Option(help="`specimen`, or the folder of the data sets.")] = "specimen",
    dataset: Annotated[str, typer.Option(help="For example `refcoco+`; it needs boxes.")] = "refcoco",
    samples: Annotated[int, typer.Option(min=1, help="Training samples from which heads are chosen.")] = 500,
    held_out: Annotated[int, typer.Option(min=1, help="Validation samples to show a few of.")] = 200,
    pictures: Annotated[
        int, typer.Option(min=1, help="How many pictures, each with up to two expressions.")
    ] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draws.")] = 0,
    world: Annotated[str, typer.Option(help="World whose profiles are read, or made.")] = "specimen",
) -> None:
    """Write the explorer as one page: heads, maps, settings and boxes to play with in a browser.

    Reads the profiles that the notebooks leave in the world, and makes them where there are none.

    Example: `locheads explore explorer.html --pictures 3`
    """
    if output.suffix.lower() != ".html":
        raise LocheadsError(f"{output}: a page is an .html file")

    from locheads.data import read_samples
    from locheads.explorer.data import choose_expressions, explorer_data
    from locheads.explorer.page import write_page
    from locheads.method.selection import select_heads
    from locheads.model.loading import load_lvlm
    from locheads.profiling.profile import profile
    from locheads.run.outputs import checked_world
    from locheads.run.study import profile_store

    checked_world(world)
    lvlm = load_lvlm(model)
    limits = {"train": samples, "val": held_out}
    sets = {split: read_samples(data, dataset, split, limit, seed) for split, limit in limits.items()}
    train, val = (
        profile(lvlm, sets[split], profile_store(world, dataset, split, limit, seed))
        for split, limit in limits.items()
    )
    selection = select_heads(train.attention_sum.values, train.spatial_entropy.values, seed=seed)
    shown = choose_expressions(val, sets["val"], lvlm.window, selection.heads, pictures)
    size = write_page(explorer_data(val, sets["val"], shown, lvlm.window, selection), output)
    typer.echo(f"{len(shown)} expressions, {lvlm.layers * lvlm.heads} heads, {size / 1e6:.1f} MB: {output}")
