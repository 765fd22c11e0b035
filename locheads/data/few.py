"""A few real expressions for a laptop: `lmms-lab-few`, streamed once from lmms-lab's RefCOCO, then a list.

100 expressions to find heads and 50 to ground, of disjoint pictures, one expression per object. lmms-lab's
repository holds pictures but no train split, so that both parts are of its `val`: each picture goes to the
part that lacks more. Neither is a split of the paper, and fifty expressions leave wide intervals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from locheads import place
from locheads.data.hub import REPOSITORIES, picture_sample
from locheads.data.manifest import write_splits
from locheads.data.samples import Sample
from locheads.errors import LocheadsError, first_line
from locheads.locks import hold

NAME = "lmms-lab-few"
"""The name of this data."""
SIZES = {"train": 100, "val": 50}
MEGABYTES = 30
"""About what is fetched: row groups with their pictures."""
PLACE = f"lmms-lab/{REPOSITORIES['lmms-lab']['refcoco'][0]}"


def path_of_few() -> Path:
    """Returns where the list lies, or would lie."""
    return place.root() / "data" / NAME / f"{NAME}.jsonl"


def ensure_few() -> Path:
    """Returns the list; streams it from the hub if it is not there.

    Raises:
        LocheadsError: The hub does not answer, or its rows have another form.
    """
    path = path_of_few()
    if path.is_file():
        return path
    with hold(path.parent, "fetches a few expressions", wait=True):
        if not path.is_file():
            write_splits(_parted(_samples(_rows(), path.parent)), path, "refcoco")
    return path


def _rows() -> Iterator[dict[str, Any]]:
    """Yields the rows of `val`; nothing is downloaded beyond those that are taken."""
    import datasets

    datasets.disable_progress_bars()
    try:
        files = {"val": "data/val-*.parquet"}
        rows = datasets.load_dataset(PLACE, data_files=files, split="val", streaming=True)
        yield from rows.cast_column("image", datasets.Image(decode=False))
    except Exception as error:  # files, network, hub and parquet raise exceptions of their own
        reason = first_line(error)
        raise LocheadsError(f"{PLACE}: cannot be streamed ({reason}); check the connection") from error


def _samples(rows: Iterable[Mapping[str, Any]], folder: Path) -> Iterator[Sample]:
    """Yields the first expression of every object."""
    for number, row in enumerate(rows):
        stored = partial(bytes, row["image"]["bytes"])
        yield picture_sample(row, (number, 0), folder, "refcoco-lmms-val", stored)


def _parted(samples: Iterable[Sample]) -> dict[str, list[Sample]]:
    """Divides samples by pictures until both parts are full.

    Raises:
        LocheadsError: The samples do not suffice.
    """
    parts: dict[str, list[Sample]] = {name: [] for name in SIZES}
    owner = dict[str, str]()
    for sample in samples:
        lacking = {name: 1 - len(part) / SIZES[name] for name, part in parts.items()}
        part = owner.setdefault(sample.image_id, max(lacking, key=lacking.__getitem__))
        if len(parts[part]) < SIZES[part]:
            parts[part].append(sample.checked())
        if all(len(parts[name]) == size for name, size in SIZES.items()):
            return parts
    raise LocheadsError(f"{PLACE}: too few expressions for {SIZES}; its rows have changed")
