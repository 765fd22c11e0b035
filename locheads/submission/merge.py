"""Merges the shards of a submission into the file that the run gives without shards, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from locheads.errors import LocheadsError
from locheads.submission.form import Submission, read_sealed, write_submission
from locheads.submission.make import WHOLE

OWN = ("shard", "machine")
"""Fields of the first line in which shards may differ."""


def merge(paths: Sequence[Path | str], output: Path | str) -> int:
    """Merges all shards of a run; returns the number of expressions.

    Args:
        paths: The shards, in any order.
        output: The file to write.

    Raises:
        LocheadsError: A file is not a submission or was changed, shards are missing, or two of them are
            not of the same run; the message names the files.
    """
    parts = sorted(map(read_sealed, paths), key=lambda part: part.header["shard"])
    first, given = parts[0], [tuple(part.header["shard"]) for part in parts]
    for part in parts[1:]:
        if differing := different(first, part):
            raise LocheadsError(f"{part.path}: another {differing[0]} than {first.path}; not of the same run")
    count = first.header["shard"][1]
    if given != [(number, count) for number in range(1, count + 1)]:
        there = ", ".join(str(number) for number, _ in given)
        raise LocheadsError(f"shards {there} of {count} are given; give each of them once")
    splits = list(first.splits)
    rows = [row for part in parts for row in part.rows]
    rows.sort(key=lambda row: (splits.index((row["dataset"], row["split"])), row["at"]))
    machines = list(dict.fromkeys(machine for part in parts for machine in part.header["machine"]))
    header: dict[str, Any] = {**first.header, "machine": machines, "shard": list(WHOLE)}
    write_submission(output, header, rows)
    return len(rows)


def different(one: Submission, other: Submission) -> list[str]:
    """Returns the fields of the first line in which two submissions differ, but for those of `OWN`."""
    names = sorted(one.header.keys() | other.header.keys())
    return [name for name in names if name not in OWN and one.header.get(name) != other.header.get(name)]
