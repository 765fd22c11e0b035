"""Reads data sets: one module per published format, all returning `locheads.data.samples.Sample`s."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from locheads.data import few
from locheads.data.distinct import Distinct
from locheads.data.hub import find_hub, read_hub
from locheads.data.manifest import read_manifest
from locheads.data.narratives import read_narratives
from locheads.data.reasonseg import read_reasonseg
from locheads.data.refcoco import SPLIT_BY, Annotated, read_annotated, read_objects, read_refcoco
from locheads.data.samples import Box, LazySamples, Sample
from locheads.errors import LocheadsError, LocheadsWarning

__all__ = [
    "DATASETS",
    "Annotated",
    "annotated_of",
    "objects_of",
    "open_samples",
    "read_manifest",
    "read_reasonseg",
    "read_refcoco",
    "read_samples",
]

Reader = Callable[[Path, str, Path | None], LazySamples]


def _refer(name: str, split_by: str | None = None) -> Reader:
    return lambda root, split, images: read_refcoco(root, name, split, split_by, images)


DATASETS: dict[str, Reader] = {
    **{name: _refer(name) for name in SPLIT_BY},
    **{f"{name}(google)": _refer(name, "google") for name in ("refcoco", "refcocog")},
    "reasonseg": lambda root, split, images: read_reasonseg(root / "ReasonSeg", split),
    "reasonseg(first)": lambda root, split, images: read_reasonseg(root / "ReasonSeg", split, first=True),
    "png": read_narratives,
}
"""Data set name → reader of `(root, split, images)`.

In parentheses: `google` for Google's splits instead of the paper's, `first` for only the first query of each
ReasonSeg file, as in LISA's validation."""


def open_samples(data: Path | str, dataset: str, split: str, images: Path | str | None = None) -> LazySamples:
    """Opens a split without reading its samples: `len` counts them, iterating reads one after another.

    Arguments and errors are those of `read_samples`.
    """
    if data == few.NAME:
        data = few.ensure_few()
    if str(data).endswith(".jsonl"):
        return read_manifest(Path(data), dataset, split)
    if dataset not in DATASETS:
        raise LocheadsError(f"unknown data set {dataset!r}; there are {', '.join(DATASETS)}")
    folder = None if images is None else Path(images)
    root = _folder(data)
    if dataset in SPLIT_BY and not (root / dataset / "instances.json").exists():
        found = find_hub(data, dataset, split)
        if found:
            return read_hub(*found, dataset, split, folder)
    return DATASETS[dataset](root, split, folder)


def objects_of(data: Path | str, dataset: str) -> dict[str, list[Box]]:
    """Reads the boxes of all annotated objects, referred to or not, without crowds.

    Args:
        data: As for `read_samples`.
        dataset: As for `read_samples`.

    Returns:
        Image id → boxes (xyxy pixels). Empty if the data set does not list its objects, as only the `refer`
        layout does.

    Raises:
        LocheadsError: The annotations are damaged.
    """
    return read_objects(_folder(data), dataset) if _lists_objects(data, dataset) else {}


def annotated_of(data: Path | str, dataset: str) -> dict[str, list[Annotated]]:
    """Reads all annotated objects with their categories, crowds included; otherwise as `objects_of`."""
    return read_annotated(_folder(data), dataset) if _lists_objects(data, dataset) else {}


def _lists_objects(data: Path | str, dataset: str) -> bool:
    return dataset in SPLIT_BY and (_folder(data) / dataset / "instances.json").exists()


def read_samples(
    data: Path | str,
    dataset: str,
    split: str,
    limit: int | None = None,
    seed: int = 0,
    on_error: str = "raise",
    images: Path | str | None = None,
) -> list[Sample]:
    """Reads the samples of a split, or a random subset of them, in the order of the files.

    Args:
        data: Folder of the data sets: `refcoco/`, `refcoco+/`, `refcocog/` and `images/` in the `refer`
            layout or as copies of jxu124's or lmms-lab's repositories, `ReasonSeg/`,
            `panoptic_narrative_grounding/`; or `"jxu124"` or `"lmms-lab"`, to download from the hub; or
            `"lmms-lab-few"` (see `few`); or a list of samples, `….jsonl`; or `"specimen"`,
            whose folder is written first if missing.
        dataset: A key of `DATASETS`; for a list, any name.
        split: Name of the split.
        limit: Maximum number of samples, drawn without replacement; None: all.
        seed: Seed of the draw; the same seed draws the same samples.
        on_error: How to treat a bad sample: `"raise"`, or `"skip"` to drop it, with one `LocheadsWarning` at
            the end. With `"skip"` every image is decoded here; otherwise images are read lazily.
        images: Folder of the images, if not at the layout's own place (COCO images only).

    Raises:
        LocheadsError: The data set or split is unknown, the limit is below 1, the seed below 0, the reader
            fails, a drawn sample has a blank expression, a bad box or a bad mask (`Sample.checked`), two
            drawn samples have one id, or one image id but different pictures, or no sample is left.
    """
    if limit is not None and limit < 1:
        raise LocheadsError(f"limit = {limit}: at least one sample is needed")
    if seed < 0:
        raise LocheadsError(f"seed = {seed}: give 0 or more")
    if on_error not in ("raise", "skip"):
        raise LocheadsError(f"on_error = {on_error!r}: give 'raise' or 'skip'")
    samples = open_samples(data, dataset, split, images)
    chosen: Sequence[int] = range(len(samples))
    if limit is not None and limit < len(samples):
        chosen = np.sort(np.random.default_rng(seed).choice(len(samples), limit, replace=False)).tolist()
    if on_error == "skip":
        return _good(samples, chosen, f"{dataset} {split}")
    distinct, good = Distinct(), list[Sample]()
    for index in chosen:
        good.append(samples[index].checked())
        distinct.add(good[-1])
    return good


def _good(samples: LazySamples, chosen: Sequence[int], what: str) -> list[Sample]:
    """Returns the chosen samples that pass all checks, images included; one warning lists the others."""
    good: list[Sample] = []
    bad: list[str] = []
    decoded: set[tuple[Path, tuple[int, int]]] = set()
    distinct = Distinct()
    for index in chosen:
        try:
            sample = samples[index].checked()
            picture = sample.image_path, sample.size
            if picture not in decoded:
                _ = sample.image
            decoded.add(picture)
            distinct.add(sample)
            good.append(sample)
        except LocheadsError as error:
            bad.append(str(error))
    if bad:
        listed = "; ".join(bad[:5]) + ("; …" if len(bad) > 5 else "")
        message = f"{what}: {len(bad)} of {len(chosen)} samples are left out: {listed}"
        if not good:
            raise LocheadsError(message)
        warnings.warn(message, LocheadsWarning, stacklevel=3)
    return good


def _folder(data: Path | str) -> Path:
    """Returns the folder that `data` names; the specimen's is written if missing."""
    if data != "specimen":
        return Path(data)
    from locheads.data.scenes.dataset import ensure_dataset

    return ensure_dataset()


def readable(data: Path | str, datasets: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Returns the data sets whose splits can all be opened; the others are reported and skipped.

    Raises:
        LocheadsError: No data set can be opened.
    """
    there = []
    for name in datasets:
        try:
            for split in splits:
                if not len(open_samples(data, name, split)):
                    raise LocheadsError(f"{data}: {name} {split} has no samples")
            there.append(name)
        except LocheadsError as error:
            print(f"{name} is left out: {error}")
    if not there:
        raise LocheadsError(f"data = {data}: none of {', '.join(datasets)} is there; give another folder")
    return there
