"""Builds the published layouts: entries of `instances.json`, `refs(…).p` and ReasonSeg's json."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np

from locheads.data.masks import decode_mask, encode_mask
from locheads.data.scenes.outlines import coco_polygons, labelme_polygons
from locheads.data.scenes.scenes import ROUND, SHAPES, SIDE, Scene

_POLYGON_IOU = 0.98
"""Minimum IoU of polygons with their mask; below it the mask is written as RLE."""
_LONG_QUERY = 7
"""Minimum number of words of a ReasonSeg query that counts as a sentence."""


def as_json(content: Any) -> str:
    """Serialises to JSON independently of the order of keys."""
    return json.dumps(content, sort_keys=True, separators=(",", ":")) + "\n"


class ReferSet:
    """Collects the content of one data set's `instances.json` and `refs(…).p`."""

    def __init__(self) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.references: list[dict[str, Any]] = []
        self.sentences = 0

    def add(
        self,
        image: dict[str, Any],
        annotations: list[dict[str, Any]],
        texts: dict[int, list[str]],
        split: str,
    ) -> None:
        """Adds one image, all its objects, and the expressions of some of them: object → texts."""
        self.images.append(image)
        self.annotations.extend(annotations)
        for thing, queries in texts.items():
            entry = annotations[thing]
            sentences = [_sentence(text, self.sentences + n) for n, text in enumerate(queries)]
            self.sentences += len(sentences)
            self.references.append(
                {
                    "ref_id": len(self.references),
                    "ann_id": entry["id"],
                    "image_id": image["id"],
                    "category_id": entry["category_id"],
                    "file_name": image["file_name"].replace(".jpg", f"_{entry['id']}.jpg"),
                    "split": split,
                    "sent_ids": [sentence["sent_id"] for sentence in sentences],
                    "sentences": sentences,
                }
            )

    def write(self, folder: Path | str, split_by: str) -> None:
        """Writes both files; via JSON, as the bytes of a pickle depend on the identity of strings."""
        categories = [
            {"id": number, "name": shape, "supercategory": "round" if shape in ROUND else "angular"}
            for number, shape in enumerate(SHAPES, 1)
        ]
        info = {"description": "locheads specimen: procedural scenes in the layout of refer"}
        content = {
            "info": info,
            "images": self.images,
            "annotations": self.annotations,
            "categories": categories,
        }
        folder = Path(folder)
        folder.mkdir(parents=True)
        (folder / "instances.json").write_text(as_json(content))
        plain = json.loads(as_json(self.references))
        (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(plain, protocol=2))


def image_entry(number: int) -> dict[str, Any]:
    """Builds an image entry of `instances.json`, with a file name as in COCO."""
    return {"id": number, "file_name": f"COCO_train2014_{number:012d}.jpg", "width": SIDE, "height": SIDE}


def annotation(scene: Scene, thing: int, image_id: int) -> dict[str, Any]:
    """Builds the annotation of the visible part of one object."""
    x0, y0, x1, y1 = map(int, scene.boxes[thing])
    return {
        "id": 10 * image_id + thing,
        "image_id": image_id,
        "category_id": 1 + list(SHAPES).index(scene.things[thing].shape),
        "bbox": [x0, y0, x1 - x0, y1 - y0],
        "segmentation": _segmentation(scene.masks[thing]),
        "area": int(scene.masks[thing].sum()),
        "iscrowd": 0,
    }


def _segmentation(mask: np.ndarray) -> list[list[float]] | dict[str, Any]:
    """Returns polygons if they are accurate, else RLE (a ring has a hole)."""
    polygons = coco_polygons(mask)
    drawn = decode_mask(polygons, (SIDE, SIDE))
    faithful = (drawn & mask).sum() > _POLYGON_IOU * (drawn | mask).sum()
    return polygons if faithful else encode_mask(mask)


def _sentence(text: str, sent_id: int) -> dict[str, Any]:
    return {"sent_id": sent_id, "sent": text, "raw": text, "tokens": text.split()}


def labelme_entry(mask: np.ndarray, queries: list[str], image_name: str) -> dict[str, Any]:
    """Builds a ReasonSeg annotation of one object and its queries."""
    shape = {"label": "target", "labels": ["target"], "shape_type": "polygon", "image_name": image_name}
    return {
        "text": queries,
        "is_sentence": max(len(text.split()) for text in queries) >= _LONG_QUERY,
        "shapes": [{**shape, "points": points} for points in labelme_polygons(mask)],
    }
