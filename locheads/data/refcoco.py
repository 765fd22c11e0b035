"""Reads RefCOCO, RefCOCO+ and RefCOCOg in the `refer` layout.

::

    root/refcoco/instances.json             COCO annotations
    root/refcoco/refs(unc).p                pickled list of references
    root/refcoco/refs(google).p             the same references in other splits
    root/refcocog/refs(umd).p               or refs(google).p
    root/images/mscoco/images/train2014/    COCO_train2014_000000xxxxxx.jpg

Paper, section 5.1: RefCOCO and RefCOCO+ in the splits of UNC, RefCOCOg in those of UMD.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from locheads.data.samples import Box, LazySamples, Sample
from locheads.errors import LocheadsError

SPLIT_BY = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd"}
"""Data set → author of the splits that the paper reports."""
IMAGES = Path("images/mscoco/images/train2014")


class _PlainUnpickler(pickle.Unpickler):
    """Unpickles containers and scalars; refuses everything that needs an import."""

    def find_class(self, module: str, name: str) -> Any:
        if module in ("builtins", "__builtin__") and name in ("set", "frozenset"):
            return {"set": set, "frozenset": frozenset}[name]
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def load_plain_pickle(path: Path) -> Any:
    """Loads a pickle of plain containers and scalars; text of Python 2 is decoded as latin-1.

    Raises:
        LocheadsError: The file is missing, damaged, or contains anything but plain data.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except OSError as error:
        raise _unreadable(path, error) from error
    except Exception as error:  # a damaged pickle may raise almost any exception
        raise LocheadsError(f"{path}: not a pickle of plain data ({error}); fetch the file again") from error


def read_refcoco(
    root: Path, dataset: str, split: str, split_by: str | None = None, images: Path | None = None
) -> LazySamples:
    """Reads the samples of one split, one per sentence, in the order of the file.

    Boxes and masks are returned as published; `Sample.checked` validates them.

    Args:
        root: Folder that holds `refcoco/`, `refcoco+/`, `refcocog/` and `images/`.
        dataset: `"refcoco"`, `"refcoco+"` or `"refcocog"`.
        split: `"train"`, `"val"`, `"testA"`, `"testB"` or `"test"`.
        split_by: `"unc"`, `"umd"` or `"google"`; None: the paper's, `SPLIT_BY[dataset]`.
        images: Folder of COCO's train2014 images; None: the layout's own.

    Raises:
        LocheadsError: Unknown data set or split, missing or damaged file; from a sample, a
            reference without its annotation or image.
    """
    if dataset not in SPLIT_BY:
        raise LocheadsError(f"unknown data set {dataset!r}; there are {', '.join(SPLIT_BY)}")
    split_by = split_by or SPLIT_BY[dataset]
    path = Path(root) / dataset / f"refs({split_by}).p"
    references = _references(path)
    chosen = [ref for ref in references if ref["split"] == split]
    if not chosen:
        there = ", ".join(sorted({str(ref["split"]) for ref in references})) or "none"
        raise LocheadsError(f"{path}: no split {split!r}; there are {there}")
    instances = _Instances(Path(root) / dataset / "instances.json")
    folder = images or Path(root) / IMAGES

    def make(item: tuple[dict[str, Any], dict[str, Any]]) -> Sample:
        with explaining(path, item[0]):
            return _sample(*item, instances, folder, f"{dataset}-{split_by}")

    items = []
    for ref in chosen:
        with explaining(path, ref):
            items += [(ref, sentence) for sentence in ref["sentences"]]
    return LazySamples(items, make)


@contextmanager
def explaining(path: Path, ref: dict[str, Any]) -> Iterator[None]:
    """Converts exceptions from a malformed reference into an error that names file and reference."""
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise LocheadsError(f"{path}: reference {ref.get('ref_id')} is malformed ({error!r})") from error


def read_objects(root: Path, dataset: str) -> dict[str, list[Box]]:
    """Reads the boxes of all annotated objects, referred to or not: image id → xyxy boxes in pixels.

    Crowds (`iscrowd`) are skipped, as their box covers a region and not one object.

    Raises:
        LocheadsError: Missing or damaged file.
    """
    path = Path(root) / dataset / "instances.json"
    boxes: dict[str, list[Box]] = {}
    for number, annotation in _Instances(path).annotations.items():
        try:
            x, y, width, height = map(float, annotation["bbox"])
            image = boxes.setdefault(str(annotation["image_id"]), [])
        except (KeyError, TypeError, ValueError) as error:
            raise LocheadsError(f"{path}: annotation {number} is malformed ({error!r})") from error
        if not annotation.get("iscrowd"):
            image.append((x, y, x + width, y + height))
    return boxes


class _Instances:
    """`instances.json`, looked up by id."""

    def __init__(self, path: Path) -> None:
        try:
            content = json.loads(path.read_bytes())
            self.images = {entry["id"]: entry for entry in content["images"]}
            self.annotations = {entry["id"]: entry for entry in content["annotations"]}
        except OSError as error:
            raise _unreadable(path, error) from error
        except (KeyError, TypeError, ValueError) as error:
            raise LocheadsError(f"{path}: not COCO annotations ({error!r}); fetch the file again") from error


def _references(path: Path) -> list[dict[str, Any]]:
    references = load_plain_pickle(path)
    if not isinstance(references, list) or not all(isinstance(r, dict) and "split" in r for r in references):
        raise LocheadsError(f"{path}: not a list of references with a split each; fetch the file again")
    return references


def _sample(
    ref: dict[str, Any], sentence: dict[str, Any], instances: _Instances, folder: Path, prefix: str
) -> Sample:
    annotation, image = instances.annotations[ref["ann_id"]], instances.images[ref["image_id"]]
    return coco_sample(f"{prefix}-{sentence['sent_id']}", sentence["sent"], annotation, image, folder)


def coco_sample(
    sample_id: str, expression: str, annotation: dict[str, Any], image: dict[str, Any], folder: Path
) -> Sample:
    """Builds a sample from COCO's entries of an object (its box is xywh) and its image."""
    x, y, width, height = map(float, annotation["bbox"])
    return Sample(
        sample_id=sample_id,
        image_path=folder / image["file_name"],
        image_id=str(image["id"]),
        expression=expression,
        size=(int(image["width"]), int(image["height"])),
        box=(x, y, x + width, y + height),
        segmentation=annotation["segmentation"],
    )


def _unreadable(path: Path, error: OSError) -> LocheadsError:
    there = sorted(entry.name for entry in path.parent.glob("*")) if path.parent.is_dir() else []
    found = f"its folder holds {', '.join(there)}" if there else "its folder is missing or empty"
    return LocheadsError(f"{path}: cannot be read ({error.strerror}); {found}")
