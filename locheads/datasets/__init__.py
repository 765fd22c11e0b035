"""Readers, one file for each published format; all yield `locheads.samples.Sample`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from locheads.datasets.reasonseg import read_reasonseg
from locheads.datasets.refcoco import SPLIT_BY, read_refcoco
from locheads.errors import LocheadsError
from locheads.samples import Sample

__all__ = ["READERS", "read_reasonseg", "read_refcoco", "read_samples"]


def _refer_reader(dataset: str, split_by: str | None, root: Path, split: str) -> Iterator[Sample]:
    return read_refcoco(root, dataset, split, split_by)


READERS: dict[str, Callable[[Path, str], Iterator[Sample]]] = {
    **{name: partial(_refer_reader, name, None) for name in SPLIT_BY},
    "refcocog(google)": partial(_refer_reader, "refcocog", "google"),
    "reasonseg": lambda root, split: read_reasonseg(root / "ReasonSeg", split),
}
"""Data set name → reader of `(root, split)`."""


def read_samples(
    root: Path | str, dataset: str, split: str, limit: int | None = None, seed: int = 0
) -> list[Sample]:
    """The samples of a split, or a random subset of them, in the order of the files.

    Args:
        root: Folder of the data sets: `refcoco/`, `refcoco+/`, `refcocog/`, `images/`, `ReasonSeg/`; or
            `"specimen"`, whose folder is written first where it is missing.
        dataset: A key of `READERS`.
        split: A split of it.
        limit: At most so many samples, drawn without replacement; None: all of them.
        seed: Seed of the draw; the same seed draws the same samples.

    Raises:
        LocheadsError: Unknown data set, limit below 1, what the reader raises, or a sample that is
            returned has a blank expression, a bad box or a bad mask (`Sample.checked`).
    """
    if dataset not in READERS:
        raise LocheadsError(f"unknown data set {dataset!r}; there are {', '.join(READERS)}")
    if limit is not None and limit < 1:
        raise LocheadsError(f"limit = {limit}: at least one sample is needed")
    samples = list(READERS[dataset](_folder(root), split))
    if limit is not None and limit < len(samples):
        chosen = np.random.default_rng(seed).choice(len(samples), limit, replace=False)
        samples = [samples[index] for index in np.sort(chosen)]
    return [sample.checked() for sample in samples]


def _folder(root: Path | str) -> Path:
    """The folder that `root` names."""
    if root != "specimen":
        return Path(root)
    from locheads.specimen.dataset import ensure_dataset

    return ensure_dataset()
