"""Reads Panoptic Narrative Grounding (arXiv 2109.04988): noun phrases of long captions, panoptic masks.

::

    root/annotations/png_coco_val2017.json                 [{"image_id", "caption", "segments": [{"utterance",
                                                           "segment_ids", "plural", …}, …]}, …]
    root/annotations/panoptic_val2017.json                 COCO's panoptic annotations
    root/annotations/panoptic_segmentation/val2017/*.png   or panoptic_val2017/*.png, as COCO unpacks
    root/images/val2017/*.jpg                              or val2017/*.jpg

`root` is `panoptic_narrative_grounding`, `coco` or the folder of the data sets itself. A segment with ids is
a phrase. Its expression is the caption up to and including the phrase, so the last text token belongs to the
phrase and attends to the preceding caption, as in F-LMM. Its mask is the union of its segments.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from locheads.data import values
from locheads.data.mask_files import open_lossless
from locheads.data.masks import encode_mask, tight_box
from locheads.data.samples import LazySamples, Sample
from locheads.data.strict_json import load_json
from locheads.errors import LocheadsError

SPLITS = ("train", "val")


@dataclass(frozen=True)
class _Phrase:
    narrative: int
    segment: int
    image_id: int
    context: str
    utterance: str
    ids: tuple[int, ...]
    is_plural: bool


def read_narratives(data: Path | str, split: str, images: Path | str | None = None) -> LazySamples:
    """Reads the samples of one split, one per phrase with a mask, in the order of the file.

    `is_thing` is true if any of the phrase's segments is a thing.

    Args:
        data: Folder of the data sets.
        split: `"train"` or `"val"`, of COCO's 2017 split.
        images: Folder of the images; None: the layout's own.

    Raises:
        LocheadsError: Unknown split, missing or damaged file; from a sample, a segment or image that the
            panoptic annotations lack, or masks that do not decode.
    """
    if split not in SPLITS:
        raise LocheadsError(f"{data}: no split {split!r} of PNG; there are {', '.join(SPLITS)}")
    data = Path(data)
    root = next((data / name for name in ("panoptic_narrative_grounding", "coco") if _has(data / name)), data)
    year, folder = f"{split}2017", root / "annotations"
    narratives_file = folder / f"png_coco_{year}.json"
    narratives = _load(narratives_file)
    try:
        listed = enumerate(values.items(narratives, "the file"))
        phrases = [phrase for item in listed for phrase in _phrases(*item)]
    except values.MALFORMED as error:
        reason = values.reason(error)
        raise LocheadsError(f"{narratives_file}: not PNG's narratives ({reason}); fetch it again") from error
    masks = _first(folder / "panoptic_segmentation" / year, folder / f"panoptic_{year}")
    pictures = Path(images) if images else _first(root / "images" / year, root / year)
    panoptic = _Panoptic(folder / f"panoptic_{year}.json", masks, pictures)
    return LazySamples(phrases, lambda phrase: panoptic.sample(phrase, f"png-{split}"))


def _has(root: Path) -> bool:
    return any((root / "annotations").glob("png_coco_*.json"))


def _first(*places: Path) -> Path:
    """Returns the first path that exists, or else the first one, for the message."""
    return next((place for place in places if place.is_dir()), places[0])


def _load(path: Path) -> Any:
    try:
        return load_json(path, "JSON")
    except OSError as error:
        raise LocheadsError(f"{path}: cannot be read ({error.strerror}); fetch the file") from error


def _phrases(number: int, narrative: dict[str, Any]) -> Iterator[_Phrase]:
    """Yields the phrases with a mask, each with the caption up to its end."""
    segments = [values.fields(one, "a segment") for one in values.items(narrative["segments"], "segments")]
    utterances = [values.text(segment["utterance"], "an utterance").strip() for segment in segments]
    contexts = _contexts(values.text(narrative["caption"], "the caption"), utterances)
    for index, segment in enumerate(segments):
        ids = values.items(segment["segment_ids"], "segment_ids")
        if ids:
            yield _Phrase(
                number,
                index,
                int(values.identifier(narrative["image_id"], "image_id")),
                contexts[index],
                utterances[index],
                tuple(int(values.identifier(one, "a segment id")) for one in ids),
                values.truth(segment["plural"], "plural"),
            )


def _contexts(caption: str, utterances: list[str]) -> list[str]:
    """Returns the caption up to each utterance's end; if one is missing in it, the joined utterances."""
    end, contexts = 0, []
    for utterance in utterances:
        start = caption.lower().find(utterance.lower(), end)
        if start < 0:
            return [" ".join(utterances[: count + 1]) for count in range(len(utterances))]
        end = start + len(utterance)
        contexts.append(caption[:end].strip())
    return contexts


class _Panoptic:
    """COCO's panoptic annotations: images and segments by id, and the file that holds the masks."""

    def __init__(self, path: Path, masks: Path, images: Path) -> None:
        self.path, self.masks, self.pictures = path, masks, images
        content = _load(path)
        try:
            self.images = values.by_id(content["images"], "id", "images")
            self.annotations = values.by_id(content["annotations"], "image_id", "annotations")
            categories = values.by_id(content["categories"], "id", "categories")
            self.is_thing = {key: values.truth(one["isthing"], "isthing") for key, one in categories.items()}
        except values.MALFORMED as error:
            reason = values.reason(error)
            raise LocheadsError(
                f"{path}: not COCO's panoptic annotations ({reason}); fetch it again"
            ) from error

    def sample(self, phrase: _Phrase, prefix: str) -> Sample:
        sample_id = f"{prefix}-{phrase.narrative}-{phrase.segment}"
        try:
            image, annotation = self.images[phrase.image_id], self.annotations[phrase.image_id]
            segments = values.by_id(annotation["segments_info"], "id", "segments_info")
            is_thing = [self.is_thing[segments[one]["category_id"]] for one in phrase.ids]
            file = values.inside(self.masks, annotation["file_name"])
            picture = values.inside(self.pictures, image["file_name"])
            size = values.size([image["width"], image["height"]])
        except values.MALFORMED as error:
            reason = values.reason(error)
            raise LocheadsError(
                f"{self.path}, sample {sample_id}: its image or segment is missing or malformed ({reason})"
            ) from error
        mask = np.isin(segment_ids(file), phrase.ids)
        return Sample(
            sample_id=sample_id,
            image_path=picture,
            image_id=str(phrase.image_id),
            expression=phrase.context,
            size=size,
            box=tight_box(mask),
            segmentation=encode_mask(mask),
            phrase=phrase.utterance,
            is_plural=phrase.is_plural,
            is_thing=any(is_thing),
        )


@lru_cache(maxsize=4)  # the phrases of a caption follow each other
def segment_ids(path: Path | str) -> Int[np.ndarray, "height width"]:
    """Decodes the segment id of each pixel of a panoptic PNG: red + 256 green + 256² blue.

    Raises:
        LocheadsError: The file is missing or does not decode.
    """
    picture = open_lossless(path, "the masks of a panoptic image")
    if picture.mode != "RGB":
        raise LocheadsError(f"{path}: masks of Pillow's mode {picture.mode!r}, not RGB; fetch the file again")
    return np.asarray(picture, np.int64) @ np.array([1, 256, 256**2])
