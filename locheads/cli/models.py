"""Defines the subcommands for models: `ground`, `merge-delta`, `train specimen` and `train arms`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def ground(
    image: Annotated[Path, typer.Argument(help="A picture file.")],
    expression: Annotated[str, typer.Argument(help='What to find, as in "the red circle on the left".')],
    preset: Annotated[
        str | None, typer.Option(help="Preset whose model, prompt, type, device and world to use.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model that transformers can load. Default: preset's, or `specimen`.")
    ] = None,
    heads: Annotated[
        str | None, typer.Option(help="Heads to use, as in `L3H2,L4H1`. Default: selected by notebook 01.")
    ] = None,
    world: Annotated[
        str | None, typer.Option(help="World whose selected heads to use. Default: preset's, or `specimen`.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="A torch device, or `auto`.")] = None,
    dtype: Annotated[str | None, typer.Option(help="`float32`, `bfloat16`, `float16` or `auto`.")] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit of a hub name.")] = None,
    output: Annotated[Path, typer.Option(help="Output file: .png, .pdf, .svg or .jpg.")] = Path(
        "overlay.png"
    ),
) -> None:
    """Find the object that an EXPRESSION refers to in an IMAGE, and draw map, mask and box over it.

    The heads are those that notebook 01 selected in the world; for a model of yours, run it first
    (`locheads run 01 -p model=… --world NAME`), then give `--world NAME`. Of a preset, run `locheads run 01
    --preset NAME`, then give `--preset NAME`.

    Examples: `locheads ground scene.jpg "the large star" --output star.png`,
    `locheads ground photo.jpg "the dog on the left" --preset smolvlm2-500m`
    """
    from locheads.cli import ground_picture as demo

    given = {"model": model, "world": world, "device": device, "dtype": dtype, "revision": revision}
    model, world, how = demo.settings(preset, given)
    typer.echo(demo.ground_file(image, expression, model, heads, world, output, how))


def merge_delta(
    base: Annotated[Path, typer.Argument(help="Folder of the base, e.g. LLaMA-7B in transformers' layout.")],
    delta: Annotated[Path, typer.Argument(help="Folder of the difference, e.g. LLaVA-7b-delta-v1-1.")],
    out: Annotated[Path, typer.Argument(help="Folder to write; it must not exist.")],
) -> None:
    """Merge a model that was published as a DELTA to a BASE's weights into OUT, one file after the other.

    Example: `locheads merge-delta llama-7b LLaVA-7b-delta-v1-1 llava-7b`, then `-p model=llava-7b`
    """
    from locheads.model.original.delta import merge

    typer.echo(f"{out}: {merge(base, delta, out)} weights")


class Part(StrEnum):
    """Parts of the specimen that can be trained separately, in the order of the recipe."""

    tags = "tags"
    questions = "questions"
    finer = "finer"
    answers = "answers"
    together = "together"
    crowded = "crowded"
    deeper = "deeper"
    longer = "longer"
    resting = "resting"
    whole = "whole"
    register = "register"
    narrow = "narrow"
    narrow_resting = "narrow-resting"
    narrow_whole = "narrow-whole"
    narrow_register = "narrow-register"
    third = "third"
    third_resting = "third-resting"
    third_whole = "third-whole"
    third_register = "third-register"
    segmenter = "segmenter"


def train_arms() -> None:
    """Train the decoders of notebooks 17 to 19 whose records are missing; weights are not kept.

    Sixteen runs of about a quarter of an hour each on one core. Training is checkpointed: an interrupted call
    is resumed by the next. To make all again, remove `arms` and `pooled` in locheads/specimen/records.
    """
    from locheads.specimen import arms, pooled
    from locheads.specimen.recipe import WORK

    for arm, seed in arms.missing():
        arms.run_arm(arm, seed, WORK / "arms")
    for arm in pooled.missing():
        pooled.run_pooled(arm, 0, WORK / "pooled")


def train_specimen(
    part: Annotated[Part | None, typer.Option(help="One part only. Default: all, in order.")] = None,
) -> None:
    """Train the specimen again: the vision tower on tags and questions, the model on answers, the segmenter.

    Takes hours on two CPU cores, minutes on a GPU. Training is checkpointed: an interrupted call is resumed
    by the next. The weights in the repository are replaced only when their part is finished.
    """
    from locheads.specimen.recipe import train_part

    for one in [part] if part else list(Part):
        train_part(one.value)
