"""Defines the subcommands for checkable results: `submit`, `merge-shards`, `verify`, `compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from locheads.errors import LocheadsError

SHOWN = 20
"""Maximum number of mismatches that are printed."""


def submit(
    output: Annotated[Path, typer.Argument(help="Output file: .jsonl.")],
    world: Annotated[str, typer.Option(help="World in which notebook 03 has run.")] = "specimen",
    shard: Annotated[str, typer.Option(help="Part of the expressions, as in `2/8`.")] = "1/1",
) -> None:
    """Write one file of a run that others can check: boxes, masks, heads, frequencies, hashes, versions.

    Grounds every held-out expression as notebook 03 does, with its parameters and the world's stored profile.
    Shards can be made one after another or on several machines; `locheads merge-shards` joins them.

    Example: `locheads submit my-run.jsonl --world llava-1.5-7b`
    """
    from locheads.run.submit import parse_shard, submit_world

    if output.suffix != ".jsonl":
        raise LocheadsError(f"{output}: a submission is a .jsonl file")
    count = submit_world(world, output, parse_shard(shard))
    typer.echo(f"{count:,} expressions of world '{world}': {output}")


def merge_shards(
    output: Annotated[Path, typer.Argument(help="Output file: .jsonl.")],
    shards: Annotated[list[Path], typer.Argument(help="All shards of a submission.")],
) -> None:
    """Merge the SHARDS of a submission into the file that the run gives without shards.

    Example: `locheads merge-shards my-run.jsonl part-1.jsonl part-2.jsonl`
    """
    from locheads.submission.merge import merge

    typer.echo(f"{merge(shards, output):,} expressions: {output}")


def verify(
    file: Annotated[Path, typer.Argument(help="A submission.")],
    data: Annotated[
        str | None, typer.Option(help="Folder of the data sets. Default: as the file says, if it is a name.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write FILE.verified.json, which `locheads results` shows.")
    ] = False,
) -> None:
    """Recompute every score of a submission from its boxes and the annotations; list mismatches.

    Example: `locheads verify my-run.jsonl --data data/refer`
    """
    from locheads.submission.verify import verify as verdict_of

    found = verdict_of(file, data)
    for one in found.unchecked:
        typer.echo(f"not checked: {one}")
    if found.wrong:
        for one in found.wrong[:SHOWN]:
            typer.echo(f"wrong: {one}")
        raise LocheadsError(f"{file}: not verified; mismatches: {len(found.wrong)}")
    typer.echo(found.scores.round(4).to_string(index=False))
    if record:
        from locheads.run.outsiders import record as write_record

        typer.echo(f"recorded in {write_record(file, found.scores)}")
    typer.echo(f"{file}: verified, all scores follow from its boxes and the annotations")


def compare(
    first: Annotated[Path, typer.Argument(help="A submission.")],
    second: Annotated[Path, typer.Argument(help="The submission that is subtracted.")],
) -> None:
    """Compare two submissions: differences of the scores, paired by expression, with 95 % intervals.

    Example: `locheads compare mine.jsonl theirs.jsonl`
    """
    from locheads.submission.compare import compare as compared

    found = compared(first, second)
    typer.echo(f"settings that differ: {', '.join(found.differing) or 'nothing'}")
    typer.echo(f"same box on {found.same_boxes:.2%} of the common expressions", nl=False)
    typer.echo(f"; {found.alone[0]:,} only in the first file, {found.alone[1]:,} only in the second")
    typer.echo(found.table.round(4).to_string(index=False))
