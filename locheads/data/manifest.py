"""Reads, writes and checks lists of samples as JSON lines: own data, or the exact samples of a run.

One sample per line; only `image` and `expression` are needed:

::

    {"image": "photos/3.jpg", "expression": "the dog", "box": [x0, y0, x1, y1], "mask": "masks/3.png"}

`image` is relative to the folder of the list. `box` is half-open xyxy in pixels; default: around the mask.
`mask` is COCO RLE, a list of COCO polygons, or an image file that is 0 where the object is not.
`write_manifest` adds `id`, `dataset`, `split`, `size`, and `sha256` of the image file; lines of another data
set or split are skipped.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from locheads.data.samples import (
    Box,
    LazySamples,
    Sample,
    Segmentation,
    decode_mask,
    encode_mask,
    read_size,
    tight_box,
)
from locheads.errors import LocheadsError
from locheads.files import replacing

_KEPT = ("ignored", "is_sentence", "phrase", "is_plural", "is_thing")
"""Fields of a sample that are written unchanged, if the data set has them."""


def read_manifest(path: Path, dataset: str, split: str) -> LazySamples:
    """Reads the samples of a data set and split, and those without either, in the order of the lines.

    Raises:
        LocheadsError: The list is missing, is not JSON lines, or has no sample of that data set and split; or
            a sample is incomplete or malformed.
    """
    lines = [
        (number, line)
        for number, line in _lines(path)
        if line.get("dataset", dataset) == dataset and line.get("split", split) == split
    ]
    if not lines:
        there = sorted({f"{line.get('dataset')} {line.get('split')}" for _, line in _lines(path)})
        raise LocheadsError(f"{path}: no sample of {dataset} {split}; there are {', '.join(there) or 'none'}")
    return LazySamples(lines, partial(_sample, path))


def write_manifest(samples: Sequence[Sample], path: Path, dataset: str, split: str) -> None:
    """Writes a list that `read_manifest` reads back; images inside other files are saved beside it.

    Raises:
        LocheadsError: An image is missing, or the list cannot be written.
    """
    with replacing(path) as partial_file, partial_file.open("w", encoding="utf-8") as file:
        for sample in samples:
            content = sample.encoded_image
            image = sample.image_path
            if sample.stored:
                image = path.with_suffix(".images") / sample.image_path.name
                with replacing(image) as part:
                    part.write_bytes(content)
            line = {**_entry(sample, dataset, split), "sha256": hashlib.sha256(content).hexdigest()}
            place = Path(os.path.relpath(image.resolve(), path.parent.resolve())).as_posix()
            file.write(json.dumps({"id": line.pop("id"), "image": place, **line}, ensure_ascii=False) + "\n")


def check_images(path: Path) -> int:
    """Checks the SHA-256 of every image of a list; returns the number of images.

    Raises:
        LocheadsError: An image is missing or differs, or a line has no hash.
    """
    seen: dict[str, str] = {}
    for number, line in _lines(path):
        with _explaining(path, number):
            image, wanted = path.parent / line["image"], line.get("sha256")
            if wanted is None:
                raise LocheadsError(f"{path}, line {number}: no sha256; write it with locheads manifest")
            if line["image"] not in seen:
                seen[line["image"]] = _hash_of(image, path, number)
            if seen[line["image"]] != wanted:
                raise _differs(f"{path}, line {number}", image, wanted, seen[line["image"]])
    return len(seen)


def check_samples(path: Path, samples: Sequence[Sample]) -> int:
    """Checks that a list names exactly `samples`, in the same order; returns their number.

    Raises:
        LocheadsError: Number, id, expression, box, mask or image differ.
    """
    lines = list(_lines(path))
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


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields the lines that are not blank, numbered from 1."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LocheadsError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise LocheadsError(f"{path}: not a list of samples in UTF-8 ({error})") from error
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            with _explaining(path, number):
                yield number, dict(json.loads(line))


@contextmanager
def _explaining(path: Path, number: int) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LocheadsError(
            f"{path}, line {number}: not a sample ({error!r}); a line needs image and expression"
        ) from error


def _sample(path: Path, item: tuple[int, dict[str, Any]]) -> Sample:
    number, line = item
    with _explaining(path, number):
        image = path.parent / line["image"]
        owner = f"{path.name}, line {number}"
        width, height = line["size"] if "size" in line else read_size(image, owner)
        segmentation = _segmentation(line.get("mask"), path.parent, owner)
        return Sample(
            sample_id=str(line.get("id", f"{path.stem}-{number}")),
            image_path=image,
            image_id=str(line.get("image_id", line["image"])),
            expression=line["expression"],
            size=(int(width), int(height)),
            box=_box(line.get("box"), segmentation, (int(width), int(height))),
            segmentation=segmentation,
            **{key: line[key] for key in _KEPT if key in line},
        )


def _segmentation(mask: Any, folder: Path, owner: str) -> Segmentation | None:
    if not isinstance(mask, str):
        return mask
    try:
        with Image.open(folder / mask) as picture:
            return encode_mask(np.asarray(picture.convert("L")) > 0)
    except (OSError, SyntaxError) as error:
        raise LocheadsError(f"{folder / mask}: the mask cannot be read ({owner})") from error


def _box(box: Any, segmentation: Segmentation | None, size: tuple[int, int]) -> Box | None:
    if box is None:
        return None if segmentation is None else tight_box(decode_mask(segmentation, size))
    x0, y0, x1, y1 = map(float, box)
    return x0, y0, x1, y1


def _hash_of(image: Path, path: Path, number: int) -> str:
    try:
        return hashlib.sha256(image.read_bytes()).hexdigest()
    except OSError as error:
        raise LocheadsError(
            f"{image}: no such image ({path}, line {number}); put the list beside its data"
        ) from error


def _differs(where: str, image: Path, wanted: object, found: str) -> LocheadsError:
    return LocheadsError(
        f"{image}: not the image of the list ({where}): its SHA-256 is {found}, listed is {wanted}"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
