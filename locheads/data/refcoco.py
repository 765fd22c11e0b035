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

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locheads.data import values
from locheads.data.plain_pickle import load_plain_pickle
from locheads.data.samples import LazySamples, Sample
from locheads.data.strict_json import load_json
from locheads.data.values import Box
from locheads.errors import LocheadsError

SPLIT_BY = {"refcoco": "unc", "refcoco+": "unc", "refcocog": "umd"}
"""Data set → author of the splits that the paper reports."""
IMAGES = Path("images/mscoco/images/train2014")


def read_refcoco(
    root: Path | str, dataset: str, split: str, split_by: str | None = None, images: Path | str | None = None
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
        there = values.listed(ref["split"] for ref in references)
        raise LocheadsError(f"{path}: no split {split!r}; there are {there}")
    instances = _Instances(Path(root) / dataset / "instances.json")
    folder = Path(images) if images else Path(root) / IMAGES

    def make(item: tuple[dict[str, Any], int]) -> Sample:
        with explaining(path, item[0]):
            return _sample(*item, instances, folder, f"{dataset}-{split_by}")

    return LazySamples([(ref, number) for ref in chosen for number in range(_count(ref))], make)


def _count(ref: dict[str, Any]) -> int:
    """Counts the sentences of a reference; a bad list counts as one, which is refused when it is read."""
    sentences = ref.get("sentences")
    return max(1, len(sentences)) if isinstance(sentences, list) else 1


@contextmanager
def explaining(path: Path, ref: dict[str, Any]) -> Iterator[None]:
    """Converts exceptions from a malformed reference into an error that names file and reference."""
    try:
        yield
    except values.MALFORMED as error:
        name = values.shown(ref.get("ref_id"))
        raise LocheadsError(f"{path}: reference {name} is malformed ({values.reason(error)})") from error


@dataclass(frozen=True)
class Annotated:
    """One annotated object: its box (xyxy pixels), the name of its category, and whether it is a crowd.

    The name is empty where the file does not list the category.
    """

    box: Box
    category: str
    crowd: bool


def read_annotated(root: Path | str, dataset: str) -> dict[str, list[Annotated]]:
    """Reads all annotated objects, referred to or not: image id → objects.

    Raises:
        LocheadsError: Missing or damaged file.
    """
    path = Path(root) / dataset / "instances.json"
    instances = _Instances(path)
    try:
        names = instances.categories
    except values.MALFORMED as error:
        raise LocheadsError(f"{path}: its categories are malformed ({values.reason(error)})") from error
    objects: dict[str, list[Annotated]] = {}
    for number, annotation in instances.annotations.items():
        try:
            box = values.xywh_box(annotation["bbox"])
            image = values.identifier(annotation["image_id"], "image_id")
            crowd = values.truth(annotation.get("iscrowd", 0), "iscrowd")
            category = names.get(annotation.get("category_id"), "")
        except values.MALFORMED as error:
            name = values.shown(number)
            raise LocheadsError(f"{path}: annotation {name} is malformed ({values.reason(error)})") from error
        objects.setdefault(image, []).append(Annotated(box, category, crowd))
    return objects


def read_objects(root: Path | str, dataset: str) -> dict[str, list[Box]]:
    """Reads the boxes of all annotated objects, referred to or not: image id → xyxy boxes in pixels.

    Crowds (`iscrowd`) are skipped, as their box covers a region and not one object.

    Raises:
        LocheadsError: Missing or damaged file.
    """
    found = read_annotated(root, dataset).items()
    return {image: [one.box for one in objects if not one.crowd] for image, objects in found}


class _Instances:
    """`instances.json`, looked up by id."""

    def __init__(self, path: Path) -> None:
        try:
            content = load_json(path, "COCO annotations")
            self.images = values.by_id(content["images"], "id", "images")
            self.annotations = values.by_id(content["annotations"], "id", "annotations")
            self._categories = content.get("categories", [])
        except OSError as error:
            raise _unreadable(path, error) from error
        except values.MALFORMED as error:
            reason = values.reason(error)
            raise LocheadsError(f"{path}: not COCO annotations ({reason}); fetch the file again") from error

    @property
    def categories(self) -> dict[Any, str]:
        """Returns the names of the categories by id; raises `values.MALFORMED`."""
        listed = values.by_id(self._categories, "id", "categories")
        return {key: values.text(one["name"], "the name of a category") for key, one in listed.items()}


def _references(path: Path) -> list[dict[str, Any]]:
    try:
        references = load_plain_pickle(path)
    except OSError as error:
        raise _unreadable(path, error) from error
    if not isinstance(references, list) or not all(isinstance(r, dict) and "split" in r for r in references):
        raise LocheadsError(f"{path}: not a list of references with a split each; fetch the file again")
    return references


def _sample(ref: dict[str, Any], number: int, instances: _Instances, folder: Path, prefix: str) -> Sample:
    annotation, image = instances.annotations[ref["ann_id"]], instances.images[ref["image_id"]]
    return coco_sample(sentence_of(ref, number), annotation, image, folder, prefix)


def sentence_of(ref: dict[str, Any], number: int) -> dict[str, Any]:
    """Returns one sentence of a reference; ValueError where there is none."""
    sentences = values.items(ref["sentences"], "sentences")
    if not sentences:
        raise ValueError("it has no sentences")
    return values.fields(sentences[number], "a sentence")


def coco_sample(
    sentence: dict[str, Any], annotation: dict[str, Any], image: dict[str, Any], folder: Path, prefix: str
) -> Sample:
    """Builds a sample from a sentence and COCO's entries of its object (whose box is xywh) and image.

    Raises:
        ValueError: The object is of another image, a value has another type than COCO's, a number is not
            finite, or the file name leads out of the folder. Other errors of missing entries are
            `values.MALFORMED`.
    """
    if annotation.get("image_id", image["id"]) != image["id"]:
        raise ValueError(f"its object is of image {values.shown(annotation['image_id'])}")
    return Sample(
        sample_id=f"{prefix}-{values.identifier(sentence['sent_id'], 'sent_id')}",
        image_path=values.inside(folder, image["file_name"]),
        image_id=values.identifier(image["id"], "the id of its image"),
        expression=values.text(sentence["sent"], "the sentence"),
        size=values.size([image["width"], image["height"]]),
        box=values.xywh_box(annotation["bbox"]),
        segmentation=values.segmentation(annotation["segmentation"]),
    )


def _unreadable(path: Path | str, error: OSError) -> LocheadsError:
    path = Path(path)
    there = sorted(entry.name for entry in path.parent.glob("*")) if path.parent.is_dir() else []
    found = f"its folder holds {', '.join(there)}" if there else "its folder is missing or empty"
    return LocheadsError(f"{path}: cannot be read ({error.strerror}); {found}")
