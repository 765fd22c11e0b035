"""Readers, one file for each published format; all give `locheads.data.samples.Sample`s."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from locheads.data.hub import find_hub, read_hub
from locheads.data.manifest import read_manifest
from locheads.data.narratives import read_narratives
from locheads.data.reasonseg import read_reasonseg
from locheads.data.refcoco import SPLIT_BY, read_objects, read_refcoco
from locheads.errors import LocheadsError, LocheadsWarning
from locheads.data.samples import Box, LazySamples, Sample

__all__ = [
    "DATASETS",
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

In brackets: Google's splits instead of the paper's; the first query alone of each file of ReasonSeg, as LISA
validates."""


def open_samples(data: Path | str, dataset: str, split: str, images: Path | str | None = None) -> LazySamples:
    """All samples of a split, none made yet: `len` counts them, iterating streams them.

    Arguments and errors are those of `read_samples`.
    """
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
    """The boxes (xyxy pixels) of all annotated objects by image id, referred to or not; crowds left out.

    None of any image where the data set does not list them: only `refer`'s layout does.

    Args:
        data: As `read_samples` takes it.
        dataset: Likewise.

    Raises:
        LocheadsError: The list is damaged.
    """
    root = _folder(data)
    if dataset not in SPLIT_BY or not (root / dataset / "instances.json").exists():
        return {}
    return read_objects(root, dataset)


def read_samples(
    data: Path | str,
    dataset: str,
    split: str,
    limit: int | None = None,
    seed: int = 0,
    on_error: str = "raise",
    images: Path | str | None = None,
) -> list[Sample]:
    """The samples of a split, or a random subset of them, in the order of the files.

    Args:
        data: Folder of the data sets: `refcoco/`, `refcoco+/`, `refcocog/` and `images/` in the `refer`
            layout or as copies of jxu124's or lmms-lab's repositories, `ReasonSeg/`,
            `panoptic_narrative_grounding/`; or `"jxu124"` or `"lmms-lab"`, to fetch theirs from the hub; or
            a list of samples, `….jsonl`; or `"specimen"`, whose folder is written first where it is missing.
        dataset: A key of `DATASETS`; for a list, any name.
        split: A split of it.
        limit: At most so many samples, drawn without replacement; None: all of them.
        seed: Seed of the draw; the same seed draws the same samples.
        on_error: What a bad sample does: `"raise"`, or `"skip"` to leave it out, with a `LocheadsWarning` at
            the end. To skip, each image is decoded here; otherwise it is read only when it is asked for.
        images: Folder of the images, where they do not lie in the layout's own place (COCO's only).

    Raises:
        LocheadsError: Unknown data set or split, limit below 1, what the reader raises, or a sample that is
            drawn has a blank expression, a bad box or a bad mask (`Sample.checked`); none is left.
    """
    if limit is not None and limit < 1:
        raise LocheadsError(f"limit = {limit}: at least one sample is needed")
    if on_error not in ("raise", "skip"):
        raise LocheadsError(f"on_error = {on_error!r}: give 'raise' or 'skip'")
    samples = open_samples(data, dataset, split, images)
    chosen: Sequence[int] = range(len(samples))
    if limit is not None and limit < len(samples):
        chosen = np.sort(np.random.default_rng(seed).choice(len(samples), limit, replace=False)).tolist()
    if on_error == "skip":
        return _good(samples, chosen, f"{dataset} {split}")
    return [samples[index].checked() for index in chosen]


def _good(samples: LazySamples, chosen: Sequence[int], what: str) -> list[Sample]:
    """The chosen samples that are good, with their images; one warning lists the others."""
    good: list[Sample] = []
    bad: list[str] = []
    decoded: set[tuple[Path, tuple[int, int]]] = set()
    for index in chosen:
        try:
            sample = samples[index].checked()
            picture = sample.image_path, sample.size
            if picture not in decoded:
                _ = sample.image
            decoded.add(picture)
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
    """The folder that `data` names."""
    if data != "specimen":
        return Path(data)
    from locheads.data.scenes.dataset import ensure_dataset

    return ensure_dataset()


def readable(data: Path | str, datasets: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Those of the data sets whose splits can be opened; the others are told and left out.

    Raises:
        LocheadsError: None is left.
    """
    there = []
    for name in datasets:
        try:
            assert all(len(open_samples(data, name, split)) for split in splits)
            there.append(name)
        except LocheadsError as error:
            print(f"{name} is left out: {error}")
    if not there:
        raise LocheadsError(f"data = {data}: none of {', '.join(datasets)} is there; give another folder")
    return there
