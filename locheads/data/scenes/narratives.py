"""Generates narratives of scenes in the layout of Panoptic Narrative Grounding, in the specimen's words.

"the red ring is to the left of the large star the shape that appears twice the sky": noun phrases of single
objects, of two objects together, and of the background. The specimen learned expressions of one object that
stood alone. It was never taught a caption with several phrases, one phrase for two objects (it knows "the
shape that appears twice" only with "the one on the left" after it, and no plural), or a word for the
background: "the sky" stands for it because no word of the vocabulary means it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from locheads.data.scenes.expressions import (
    _RELATIONS,
    MARGIN,
    _alike,
    _noun_phrase,
    _positions,
    _subsets,
)
from locheads.data.scenes.layouts import as_json
from locheads.data.scenes.scenes import SHAPES, SIDE, Scene

BACKGROUND = 1000
"""Segment id of the background; object `i` is segment `1 + i`."""
SKY = "the sky"
_STUFF = 1 + len(SHAPES)


@dataclass(frozen=True)
class Part:
    """Part of a caption: its text and its segment ids, none for the words between phrases."""

    text: str
    segments: tuple[int, ...] = ()


Narrative = tuple[Part, ...]


def tell(scene: Scene, rng: np.random.Generator) -> Narrative | None:
    """Draws a random narrative; None if no two objects can be named and distinguished by a relation."""
    pairs = [
        (one, other, relation)
        for one in range(len(scene.things))
        for other in range(len(scene.things))
        for relation, (axis, sign) in _RELATIONS.items()
        if one != other and sign * np.subtract(*_positions(scene)[[one, other], axis]) > MARGIN
        if _names(scene, one) and _names(scene, other)
    ]
    if not pairs:
        return None
    one, other, relation = pairs[rng.integers(len(pairs))]
    first, second = (Part(str(rng.choice(_names(scene, thing))), (1 + thing,)) for thing in (one, other))
    twins = [Part(f"the {key} that appears twice", segments) for key, segments in _twins(scene)]
    some = [twins[rng.integers(len(twins))]] if twins else []
    return first, Part(f"is {relation}"), second, *some, Part(SKY, (BACKGROUND,))


def _names(scene: Scene, thing: int) -> list[str]:
    """Returns noun phrases of one or two attributes that fit this object alone."""
    keys = [k for k in _subsets() if 1 <= len(k) <= 2 and len(_alike(scene, thing, k)) == 1]
    return [f"the {_noun_phrase(scene.things[thing], k)}" for k in keys]


def _twins(scene: Scene) -> list[tuple[str, tuple[int, ...]]]:
    """Returns phrases for a shape or colour shared by exactly two objects, with their segments."""
    found = []
    for key in ("shape", "color"):
        values = [getattr(thing, key) for thing in scene.things]
        twice = [value for value in dict.fromkeys(values) if values.count(value) == 2]
        if len(twice) == 1 and max(map(values.count, values)) == 2:
            found.append((key, tuple(1 + i for i, value in enumerate(values) if value == twice[0])))
    return found


def write(folder: Path, year: str, told: Sequence[tuple[Scene, Narrative]]) -> None:
    """Writes the narratives and COCO's panoptic annotations with their masks; images are named by number."""
    masks = folder / "panoptic_segmentation" / year
    masks.mkdir(parents=True)
    for number, (scene, _) in enumerate(told):
        Image.fromarray(_colours(scene)).save(masks / f"{number:012d}.png")
    narratives = [_narrative_entry(number, narrative) for number, (_, narrative) in enumerate(told)]
    (folder / f"png_coco_{year}.json").write_text(as_json(narratives))
    (folder / f"panoptic_{year}.json").write_text(as_json(_panoptic([scene for scene, _ in told])))


def _colours(scene: Scene) -> np.ndarray:
    """Encodes the segment id of each pixel as a colour: red + 256 green + 256² blue."""
    ids = np.full((SIDE, SIDE), BACKGROUND)
    for thing, mask in enumerate(scene.masks):
        ids[mask] = 1 + thing
    return np.stack([ids % 256, ids // 256, 0 * ids], axis=-1).astype(np.uint8)


def _narrative_entry(number: int, narrative: Narrative) -> dict[str, Any]:
    segments = [
        {
            "utterance": part.text,
            "segment_ids": [str(segment) for segment in part.segments],
            "plural": len(part.segments) > 1,
            "noun": bool(part.segments),
        }
        for part in narrative
    ]
    caption = " ".join(part.text for part in narrative)
    return {"image_id": str(number), "caption": caption, "segments": segments}


def _panoptic(scenes: Sequence[Scene]) -> dict[str, Any]:
    categories = [{"id": number, "name": shape, "isthing": 1} for number, shape in enumerate(SHAPES, 1)]
    return {
        "images": [
            {"id": number, "file_name": f"{number:012d}.jpg", "width": SIDE, "height": SIDE}
            for number in range(len(scenes))
        ],
        "annotations": [
            {
                "image_id": number,
                "file_name": f"{number:012d}.png",
                "segments_info": [
                    *(
                        {"id": 1 + i, "category_id": 1 + list(SHAPES).index(thing.shape)}
                        for i, thing in enumerate(scene.things)
                    ),
                    {"id": BACKGROUND, "category_id": _STUFF},
                ],
            }
            for number, scene in enumerate(scenes)
        ],
        "categories": [*categories, {"id": _STUFF, "name": "background", "isthing": 0}],
    }
