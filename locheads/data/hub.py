"""Reads RefCOCO, RefCOCO+ and RefCOCOg from parquet files, on the hub or in a local copy.

::

    root/refcoco/data/train-00000-of-00001-….parquet    jxu124's, one row per reference
    root/RefCOCO/data/val-00000-of-00004.parquet        lmms-lab's, one row per object

`jxu124/refcoco`, `refcocoplus` and `refcocog` hold all splits of the paper (testA is their `test`) with
the references of the `refer` layout and, as JSON, COCO's entries; the images are COCO's train2014 files.

`lmms-lab/RefCOCO`, `RefCOCOplus` and `RefCOCOg` hold images, but no train split, and differ from the paper's
data. By their numbers of rows, `val` of RefCOCO (8,811) and RefCOCOg (7,573) are the paper's splits (3,811
and 2,573) plus Google's (5,000 each), and `test` of RefCOCO is Google's. Each row holds one flat polygon,
so the mask of an object in several parts is incomplete.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locheads.data import values
from locheads.data.pictures import picture_size
from locheads.data.refcoco import IMAGES, SPLIT_BY, coco_sample, explaining, sentence_of
from locheads.data.samples import LazySamples, Sample
from locheads.data.strict_json import parse_json
from locheads.errors import LocheadsError, first_line

if TYPE_CHECKING:
    from datasets import Dataset

_UNC = {"train": "train", "val": "validation", "testA": "test", "testB": "testB"}
REPOSITORIES: Mapping[str, Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "jxu124": {
        "refcoco": ("refcoco", _UNC),
        "refcoco+": ("refcocoplus", _UNC),
        "refcocog": ("refcocog", {"train": "train", "val": "validation", "test": "test"}),
    },
    "lmms-lab": {
        "refcoco": ("RefCOCO", {name: name for name in ("val", "testA", "testB", "test")}),
        "refcoco+": ("RefCOCOplus", {name: name for name in ("val", "testA", "testB")}),
        "refcocog": ("RefCOCOg", {name: name for name in ("val", "test")}),
    },
}
"""Owner → data set → name of the repository, and split → name of its files."""


def find_hub(data: Path | str, dataset: str, split: str) -> tuple[str, str] | None:
    """Finds the repository to read; returns its owner, and its hub name or the folder of a copy under `data`.

    Of two copies the one with the split is chosen; jxu124's is preferred, which has the paper's splits and
    complete masks, if COCO's images are present as well.

    Args:
        data: An owner, `"jxu124"` or `"lmms-lab"`, or a folder.
        dataset: A key of `SPLIT_BY`.
        split: A split as the paper names it.
    """
    if data in REPOSITORIES and not Path(data).exists():
        return str(data), f"{data}/{REPOSITORIES[str(data)][dataset][0]}"
    copies = [
        (owner, folder)
        for owner, names in REPOSITORIES.items()
        for folder in (Path(data) / names[dataset][0], Path(data) / owner / names[dataset][0])
        if _file(owner, dataset, split) and any(folder.glob(f"data/{_file(owner, dataset, split)}-*.parquet"))
    ]
    if not copies:
        return None
    wanted = "jxu124" if _coco_folder(Path(data)) else "lmms-lab"
    owner, folder = next((copy for copy in copies if copy[0] == wanted), copies[0])
    return owner, str(folder)


def read_hub(
    owner: str, place: str, dataset: str, split: str, images: Path | str | None = None
) -> LazySamples:
    """Reads the samples of one split, one per expression, in the order of the rows.

    Args:
        owner: Owner of the repository, a key of `REPOSITORIES`.
        place: Hub name of the repository, or the folder of a copy.
        dataset: A key of `SPLIT_BY`.
        split: A split as the paper names it.
        images: Folder of COCO's train2014 images, for jxu124's; None: below the folder above `place`.

    Raises:
        LocheadsError: There is no such split, the repository cannot be read, or a sample is malformed.
    """
    name = _file(owner, dataset, split)
    if name is None:
        there = ", ".join(REPOSITORIES[owner][dataset][1])
        raise LocheadsError(f"{place}: no split {split!r}; there are {there}")
    rows = _load(place, name)
    if owner == "lmms-lab":
        rows, prefix = _undecoded(rows), f"{dataset}-lmms-{split}"
        counts = (len(one or ()) for one in rows["answer"][:])
        items = [(row, number) for row, count in enumerate(counts) for number in range(max(1, count))]
        return LazySamples(items, partial(_row_with_image, rows, Path(place) / "data" / name, prefix))
    folder = (
        (Path(images) if images else None)
        or _coco_folder(Path(place).parent)
        or _coco_folder(Path(place).parent.parent)
    )
    if folder is None and not Path(place).exists():
        raise LocheadsError(f"{place}: its rows hold no images; give COCO's train2014 images as `images`")
    prefix = f"{dataset}-{SPLIT_BY[dataset]}"
    counts = (len(one or ()) for one in rows["sentences"][:])
    items = [(row, number) for row, count in enumerate(counts) for number in range(max(1, count))]
    return LazySamples(
        items, partial(_row_of_coco, rows, place, folder or Path(place).parent / IMAGES, prefix)
    )


def _file(owner: str, dataset: str, split: str) -> str | None:
    return REPOSITORIES[owner][dataset][1].get(split)


def _coco_folder(root: Path) -> Path | None:
    """Finds COCO's train2014 images below `root`, as in the `refer` layout or as in jxu124's rows."""
    return next((root / place for place in (IMAGES, "coco/train2014") if (root / place).is_dir()), None)


def _load(place: str, name: str) -> Dataset:
    """Loads the rows of one split; nothing else of the repository is downloaded."""
    import datasets

    datasets.disable_progress_bars()
    try:
        files = {name: f"data/{name}-*.parquet"}
        return datasets.load_dataset(place, data_files=files, split=name, verification_mode="no_checks")
    except Exception as error:  # files, network, hub and parquet raise exceptions of their own
        reason = first_line(error)
        raise LocheadsError(
            f"{place}: the split {name} cannot be read ({reason}); check it, and the connection"
        ) from error


def _undecoded(rows: Dataset) -> Dataset:
    import datasets

    return rows.cast_column("image", datasets.Image(decode=False))


def _row_of_coco(rows: Dataset, place: str, folder: Path, prefix: str, item: tuple[int, int]) -> Sample:
    row = rows[item[0]]
    with explaining(Path(place), row):
        annotation, image = parse_json(row["raw_anns"]), parse_json(row["raw_image_info"])
        return coco_sample(sentence_of(row, item[1]), annotation, image, folder, prefix)


def _row_with_image(rows: Dataset, folder: Path, prefix: str, item: tuple[int, int]) -> Sample:
    stored = partial(_bytes_of, rows, item[0])
    return picture_sample(rows[item[0]], item, folder, prefix, stored)


def picture_sample(
    row: Mapping[str, Any], item: tuple[int, int], folder: Path, prefix: str, stored: Callable[[], bytes]
) -> Sample:
    """Returns the sample of a row of lmms-lab's with its picture, undecoded.

    Args:
        row: The row.
        item: Number of the row, and which of its expressions.
        folder: Folder of the pictures' names.
        prefix: Of the sample's id.
        stored: Returns the encoded picture.

    Raises:
        LocheadsError: The row is malformed.
    """
    number, answer = item
    sample_id = f"{prefix}-{number}-{answer}"
    try:
        path = values.inside(folder, row["file_name"])
        polygon = values.items(row["segmentation"], "segmentation")
        return Sample(
            sample_id=sample_id,
            image_path=path,
            image_id=_image_id(path),
            expression=values.text(row["answer"][answer], "the answer"),
            size=picture_size(path, f"sample {sample_id}", row["image"]["bytes"]),
            box=values.xywh_box(row["bbox"]),
            segmentation=[polygon],
            stored=stored,
        )
    except values.MALFORMED as error:
        raise LocheadsError(f"{folder}, row {number}: malformed ({values.reason(error)})") from error


def _image_id(path: Path) -> str:
    """Returns COCO's image id from a name such as `COCO_train2014_000000000077_5.jpg`; else the name."""
    number = re.match(r"COCO_\w+?2014_0*(\d+)", path.name)
    return number[1] if number else path.stem


def _bytes_of(rows: Dataset, number: int) -> bytes:
    return bytes(rows[number]["image"]["bytes"])
