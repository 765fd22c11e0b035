"""Reads, writes and checks lists of samples as JSON lines: own data, or the exact samples of a run.

One sample per line; only `image` and `expression` are needed:

::

    {"image": "photos/3.jpg", "expression": "the dog", "box": [x0, y0, x1, y1], "mask": "masks/3.png"}

`image` is relative to the folder of the list. `box` is half-open xyxy in pixels of the image as it is shown
(`locheads.data.pictures`); default: around the mask. `mask` is COCO RLE, a list of COCO polygons, or an
image file by the rules of `locheads.data.mask_files`; with a box, one that is inverted is refused. Ids are
texts or whole numbers. `write_manifest` adds `id`, `dataset`, `split`, `size`, and `sha256` of the image
file; lines of another data set or split are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from locheads.data import values
from locheads.data.mask_files import read_mask_file
from locheads.data.masks import Segmentation, decode_mask, encode_mask, tight_box
from locheads.data.pictures import picture_bytes, picture_size
from locheads.data.samples import LazySamples, Sample
from locheads.data.strict_json import json_lines
from locheads.data.values import Box
from locheads.errors import LocheadsError
from locheads.files import replacing

_KEPT: dict[str, Callable[[Any], Any]] = {
    "ignored": values.segmentation,
    "is_sentence": partial(values.truth, what="is_sentence"),
    "phrase": partial(values.text, what="the phrase"),
    "is_plural": partial(values.truth, what="is_plural"),
    "is_thing": partial(values.truth, what="is_thing"),
}
"""Fields that are written unchanged, if the data set has them, and how each is checked when read."""


def read_manifest(path: Path | str, dataset: str, split: str) -> LazySamples:
    """Reads the samples of a data set and split, and those without either, in the order of the lines.

    Raises:
        LocheadsError: The list is missing, is not JSON lines, or has no sample of that data set and split; or
            a sample is incomplete or malformed.
    """
    path = Path(path)
    lines = [
        (number, line)
        for number, line in json_lines(path)
        if line.get("dataset", dataset) == dataset and line.get("split", split) == split
    ]
    if not lines:
        there = values.listed(
            " ".join(values.listed([line.get(key)]) for key in ("dataset", "split"))
            for _, line in json_lines(path)
        )
        raise LocheadsError(f"{path}: no sample of {dataset} {split}; there are {there}")
    return LazySamples(lines, partial(_sample, path))


def write_manifest(samples: Sequence[Sample], path: Path | str, dataset: str, split: str) -> None:
    """Writes a list that `read_manifest` reads back; images inside other files are saved beside it.

    Raises:
        LocheadsError: An image is missing, or the list cannot be written.
    """
    write_splits({split: samples}, path, dataset)


def write_splits(parts: Mapping[str, Sequence[Sample]], path: Path | str, dataset: str) -> None:
    """Writes several splits of a data set as one list, as `write_manifest` writes one; errors are its own."""
    path, saved = Path(path), dict[str, str]()
    with replacing(path) as partial_file, partial_file.open("w", encoding="utf-8") as file:
        for split, sample in ((split, sample) for split, part in parts.items() for sample in part):
            content = sample.encoded_image
            image, digest = sample.image_path, hashlib.sha256(content).hexdigest()
            if sample.stored:
                image = path.with_suffix(".images") / image.name
                if saved.setdefault(image.name, digest) != digest:  # such as two cuts of one picture
                    image = image.with_stem(f"{image.stem}-{digest[:12]}")
                with replacing(image) as part:
                    part.write_bytes(content)
            line = {**_entry(sample, dataset, split), "sha256": digest}
            place = Path(os.path.relpath(image.resolve(), path.parent.resolve())).as_posix()
            file.write(json.dumps({"id": line.pop("id"), "image": place, **line}, ensure_ascii=False) + "\n")


def check_images(path: Path | str) -> int:
    """Checks the SHA-256 of every image of a list; returns the number of images.

    Raises:
        LocheadsError: An image is missing or differs, or a line has no hash.
    """
    path, seen = Path(path), dict[str, str]()
    for number, line in json_lines(path):
        with _explaining(path, number):
            image, wanted = path.parent / line["image"], line.get("sha256")
            if wanted is None:
                raise LocheadsError(f"{path}, line {number}: no sha256; write it with locheads manifest")
            if line["image"] not in seen:
                seen[line["image"]] = _hash_of(image, path, number)
            if seen[line["image"]] != wanted:
                raise _differs(f"{path}, line {number}", image, wanted, seen[line["image"]])
    return len(seen)


def check_samples(path: Path | str, samples: Sequence[Sample]) -> int:
    """Checks that a list names exactly `samples`, in the same order; returns their number.

    Raises:
        LocheadsError: Number, id, expression, box, mask or image differ.
    """
    path = Path(path)
    lines = list(json_lines(path))
    for (number, line), sample in zip(lines, samples, strict=False):
        here = _entry(sample, line.get("dataset", ""), line.get("split", ""))
        for key in ("id", "expression", "box", "mask"):
            if line.get(key) != here.get(key):
                raise LocheadsError(
                    f"{path}, line {number}: {key} of {line.get('id')} is {_short(line.get(key))}, but "
                    f"{_short(here.get(key))} in the data; these are not the samples of the list"
                )
        found = hashlib.sha256(sample.encoded_image).hexdigest()
        if found != line.get("sha256"):
            raise _differs(f"{path}, line {number}", sample.image_path, line.get("sha256"), found)
    if len(lines) != len(samples):
        raise LocheadsError(
            f"{path}: {len(lines)} samples, but {len(samples)} in the data; give its limit and seed"
        )
    return len(lines)


def _entry(sample: Sample, dataset: str, split: str) -> dict[str, Any]:
    """Converts a sample to JSON, without its image file; lists replace tuples, as when read back."""
    kept = {key: getattr(sample, key) for key in _KEPT if getattr(sample, key) is not None}
    values = {
        "id": sample.sample_id,
        "dataset": dataset,
        "split": split,
        "image_id": sample.image_id,
        "size": sample.size,
        "expression": sample.expression,
        "box": sample.box,
        "mask": sample.segmentation,
        **kept,
    }
    return dict(json.loads(json.dumps({key: value for key, value in values.items() if value is not None})))


@contextmanager
def _explaining(path: Path, number: int) -> Iterator[None]:
    try:
        yield
    except values.MALFORMED as error:
        raise LocheadsError(
            f"{path}, line {number}: not a sample ({values.reason(error)}); a line needs image and expression"
        ) from error


def _sample(path: Path, item: tuple[int, dict[str, Any]]) -> Sample:
    number, line = item
    with _explaining(path, number):
        name = values.name(line["image"], "image")
        image = path.parent / name
        owner = f"{path.name}, line {number}"
        size = values.size(line["size"]) if "size" in line else picture_size(image, owner)
        given = None if line.get("box") is None else values.box(line["box"])
        segmentation = _segmentation(line.get("mask"), path.parent, owner, given)
        return Sample(
            sample_id=values.identifier(line.get("id", f"{path.stem}-{number}"), "id"),
            image_path=image,
            image_id=values.identifier(line.get("image_id", name), "image_id"),
            expression=values.text(line["expression"], "the expression"),
            size=size,
            box=given or (None if segmentation is None else tight_box(decode_mask(segmentation, size))),
            segmentation=segmentation,
            **{key: check(line[key]) for key, check in _KEPT.items() if key in line},
        )


def _segmentation(mask: Any, folder: Path, owner: str, box: Box | None) -> Segmentation | None:
    if isinstance(mask, str):
        return encode_mask(read_mask_file(folder / values.name(mask, "mask"), owner, box))
    return None if mask is None else values.segmentation(mask)


def _hash_of(image: Path, path: Path, number: int) -> str:
    return hashlib.sha256(picture_bytes(image, f"{path}, line {number}")).hexdigest()


def _differs(where: str, image: Path, wanted: object, found: str) -> LocheadsError:
    return LocheadsError(
        f"{image}: not the image of the list ({where}): its SHA-256 is {found}, listed is {wanted}"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
