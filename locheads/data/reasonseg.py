"""Reads ReasonSeg: implicit queries about an image, as published with LISA (arXiv 2308.00692).

::

    root/val/name.jpg
    root/val/name.json   {"text": [query, …], "is_sentence": true, "shapes": [{"label": "target",
                          "points": [[x, y], …]}, …]}

The ground truth follows LISA: polygons are drawn through pixel centres, outline included, larger ones
first, so that smaller ones overwrite them. `target` is the object, `ignore` is excluded from the evaluation,
`flag` has no meaning; other labels are refused, as are LabelMe's circles, rectangles and lines, whose
points are not corners. All queries of a file refer to the same object. Coordinates count in the image as
its EXIF data turn it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from locheads.data import values
from locheads.data.masks import encode_mask, tight_box
from locheads.data.pictures import picture_size
from locheads.data.samples import LazySamples, Sample
from locheads.data.strict_json import load_json
from locheads.errors import LocheadsError


def read_reasonseg(root: Path | str, split: str, first: bool = False) -> LazySamples:
    """Reads the samples of one split, one per query, files in order of name.

    Args:
        root: Folder with one subfolder per split (`train`, `val`, `test`).
        split: Name of the split.
        first: Read only the first query of a file, as LISA's own validation does.

    Raises:
        LocheadsError: No such folder or split, damaged annotation; from a sample, missing or damaged
            image, no target.
    """
    folder = Path(root) / split
    there = sorted(entry.name for entry in Path(root).glob("*") if any(entry.glob("*.json")))
    if split not in there:
        raise LocheadsError(
            f"{root}: no split {split!r} of ReasonSeg; there are {', '.join(there) or 'none'}"
        )
    items = [
        (path, number)
        for path in sorted(folder.glob("*.json"))
        for number in range(1 if first else _count(path))
    ]
    return LazySamples(items, partial(_sample, split))


def _count(path: Path) -> int:
    """Counts the queries of a file; a bad annotation counts as one, which is refused when it is read."""
    try:
        return len(_load(path)["text"])
    except LocheadsError:
        return 1


def _sample(split: str, item: tuple[Path, int]) -> Sample:
    path, number = item
    content, image = _load(path), path.with_suffix(".jpg")
    size = picture_size(image, f"annotation {path.name}")
    with _explaining(path):
        target, ignored = draw_target(content["shapes"], size)
    if not target.any():
        raise LocheadsError(f"{path}: the mask is empty, no polygon is labelled target")
    return Sample(
        sample_id=f"reasonseg-{split}-{path.stem}-{number}",
        image_path=image,
        image_id=f"{split}/{path.stem}",
        expression=content["text"][number],
        size=size,
        box=tight_box(target),
        segmentation=encode_mask(target),
        ignored=encode_mask(ignored) if ignored.any() else None,
        is_sentence=content["is_sentence"],
    )


def draw_target(
    shapes: list[dict[str, Any]], size: tuple[int, int]
) -> tuple[Bool[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Draws the target and the ignored region from an annotation's polygons.

    Args:
        shapes: Polygons with `label` and `points`; coordinates are truncated to whole pixels.
        size: `(width, height)` of the image.

    Returns:
        Two disjoint boolean masks, target and ignored region. Of polygons of equal area the later one wins.

    Raises:
        ValueError: A shape is no polygon, its label is none of the three, or a coordinate is not finite.
    """
    layers = [(mask, ignored) for mask, ignored in map(partial(_layer, size), shapes) if mask is not None]
    canvas = np.zeros((size[1], size[0]), np.uint8)
    for mask, is_ignored in sorted(layers, key=lambda layer: -layer[0].sum()):
        canvas[mask] = 2 if is_ignored else 1
    return canvas == 1, canvas == 2


def _layer(size: tuple[int, int], shape: dict[str, Any]) -> tuple[np.ndarray | None, bool]:
    """Returns the pixels of a shape, None for a flag, and whether they are to be ignored."""
    label = values.text(shape["label"], "a label").strip().lower()
    if label == "flag":
        return None, False
    if "target" not in label and "ignore" not in label:
        raise ValueError(f"the label {values.shown(label)}; there are target, ignore and flag")
    kind = shape.get("shape_type", "polygon")
    if kind != "polygon":
        raise ValueError(f"a shape of type {values.shown(kind)}; draw it as a polygon")
    return _drawn(values.items(shape["points"], "points"), size), "ignore" in label


def _drawn(points: list[Any], size: tuple[int, int]) -> np.ndarray:
    canvas = Image.new("1", size)
    corners = [tuple(int(values.number(one, "a coordinate")) for one in _pair(point)) for point in points]
    if len(corners) < 2:
        raise ValueError("a polygon of fewer than two points")
    ImageDraw.Draw(canvas).polygon(corners, fill=1, outline=1)
    return np.array(canvas)


def _pair(point: Any) -> Any:
    if not isinstance(point, (list, tuple)) or len(point) != 2:
        raise ValueError(f"a point is {values.shown(point)} and not x and y")
    return point


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except values.MALFORMED as error:
        reason = values.reason(error)
        raise LocheadsError(f"{path}: not a ReasonSeg annotation ({reason}); fetch it again") from error


def _load(path: Path) -> dict[str, Any]:
    """Loads an annotation in UTF-8 or, as for some published files, in code page 1252."""
    try:
        content = load_json(path, "a ReasonSeg annotation", code_page="cp1252")
    except OSError as error:
        raise LocheadsError(f"{path}: cannot be read ({error.strerror})") from error
    with _explaining(path):
        annotation = values.fields(content, "the file")
        queries = [values.text(query, "a query") for query in values.items(annotation["text"], "text")]
        if not queries:
            raise ValueError("text holds no query")
        return {
            "text": queries,
            "is_sentence": values.truth(annotation["is_sentence"], "is_sentence"),
            "shapes": [values.fields(one, "a shape") for one in values.items(annotation["shapes"], "shapes")],
        }
