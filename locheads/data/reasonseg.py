"""ReasonSeg: implicit queries about an image, as published with LISA (arXiv 2308.00692).

::

    root/val/name.jpg
    root/val/name.json   {"text": [query, …], "is_sentence": true, "shapes": [{"label": "target",
                          "points": [[x, y], …]}, …]}

The ground truth follows LISA: polygons are drawn through pixel centres, outline included, larger ones
first, so that smaller ones overwrite them. `target` is the object, `ignore` is excluded from the evaluation,
`flag` has no meaning. All queries of a file refer to the same object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw

from locheads.data.samples import LazySamples, Sample, encode_mask, read_size, tight_box
from locheads.errors import LocheadsError


def read_reasonseg(root: Path, split: str, first: bool = False) -> LazySamples:
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
        for number in range(1 if first else len(_load(path)["text"]))
    ]
    return LazySamples(items, partial(_sample, split))


def _sample(split: str, item: tuple[Path, int]) -> Sample:
    path, number = item
    content, image = _load(path), path.with_suffix(".jpg")
    size = read_size(image, f"annotation {path.name}")
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
        is_sentence=bool(content["is_sentence"]),
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
    """
    layers = [
        (_drawn(shape["points"], size), "ignore" in shape["label"].lower())
        for shape in shapes
        if shape["label"].lower() != "flag"
    ]
    canvas = np.zeros((size[1], size[0]), np.uint8)
    for mask, is_ignored in sorted(layers, key=lambda layer: -layer[0].sum()):
        canvas[mask] = 2 if is_ignored else 1
    return canvas == 1, canvas == 2


def _drawn(points: list[list[int | float]], size: tuple[int, int]) -> np.ndarray:
    canvas = Image.new("1", size)
    if len(points) < 2:
        raise ValueError("a polygon of fewer than two points")
    ImageDraw.Draw(canvas).polygon([(int(x), int(y)) for x, y in points], fill=1, outline=1)
    return np.array(canvas)


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise LocheadsError(f"{path}: not a ReasonSeg annotation ({error!r}); fetch it again") from error


def _load(path: Path) -> dict[str, Any]:
    """Loads an annotation in UTF-8 or, as for some published files, in code page 1252."""
    content = path.read_bytes()
    with _explaining(path):
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            text = content.decode("cp1252")
        annotation = json.loads(text)
        return {key: annotation[key] for key in ("text", "is_sentence", "shapes")}
