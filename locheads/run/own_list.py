"""Says what a list of samples of one's own holds: its data sets and splits, and how many lines have masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from locheads.data import few
from locheads.data.strict_json import json_lines
from locheads.errors import LocheadsError

Splits = dict[str, tuple[str, ...]]
"""Data set → its splits."""
WHOLE = "all"
"""Split of the lines that name none."""


@dataclass(frozen=True)
class OwnList:
    """A list of samples, as `locheads.data.manifest` reads it.

    Attributes:
        path: The file.
        splits: The data sets and splits that its lines name. Lines without a data set are one of the list's
            own name, lines without a split are `WHOLE`.
        count: Number of lines.
        without_mask: How many of them have no mask.
        counts: Lines of each data set and split.
    """

    path: Path
    splits: Splits
    count: int
    without_mask: int
    counts: Mapping[tuple[str, str], int]

    def __str__(self) -> str:
        """Returns one line for the user."""
        names = ", ".join(f"{name} {' '.join(splits)}" for name, splits in self.splits.items())
        text = f"{self.path.name}: {self.count} expressions of {names}"
        if self.path.stem in self.splits:
            text += ", one data set of your own: shown without the paper's values, its heads chosen on itself"
        if self.without_mask:
            text += f"; {self.without_mask} without a mask: REC is measured, RES left out"
        return text


def own_list(data: Path | str) -> OwnList | None:
    """Reads what a list holds; None if `data` is a folder, an owner on the hub or the specimen.

    Raises:
        LocheadsError: The list is missing or not JSON lines, or only some of its lines name a data set or a
            split: such lines would belong to each of them.
    """
    if data == few.NAME:
        data = few.ensure_few()
    if not str(data).endswith(".jsonl"):
        return None
    path, masks, count = Path(data), 0, 0
    found: dict[tuple[str, str], int] = {}
    lines = Counter[tuple[str, str]]()
    for number, line in json_lines(path):
        count += 1
        masks += line.get("mask") is not None
        lines[str(line.get("dataset") or path.stem), str(line.get("split") or WHOLE)] += 1
        found.setdefault((str(line.get("dataset", "")), str(line.get("split", ""))), number)
        for place, what in enumerate(("data set", "split")):
            if len({bool(names[place]) for names in found}) > 1:
                raise LocheadsError(
                    f"{path}, line {number}: only some lines name a {what}; name it in all of them or in none"
                )
    splits: Splits = {}
    for dataset, split in found:
        name = dataset or path.stem
        splits[name] = (*splits.get(name, ()), split or WHOLE)
    return OwnList(path, splits, count, count - masks, lines)


def splits_of(data: Path | str, papers: Mapping[str, tuple[str, ...]]) -> Splits:
    """Returns the data sets and splits that are evaluated: the paper's, or those of a list of one's own.

    A split `train` is left out where the list has others of that data set.
    """
    own = own_list(data)
    if own is None:
        return dict(papers)
    held = {name: tuple(split for split in splits if split != "train") for name, splits in own.splits.items()}
    return {name: splits or own.splits[name] for name, splits in held.items()}
