"""Defines a sample: one image, one referring expression, and the box and mask of the referred object.

Every reader of `locheads.data` returns `Sample`s, so that no other module needs to know a
file format. Boxes are xyxy in pixels of the original image, half-open; masks are boolean
`height × width`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image

from locheads.data import values
from locheads.data.masks import Segmentation, areas, decode_mask, encode_mask, mask_area, tight_box
from locheads.data.pictures import open_picture, picture_bytes
from locheads.data.values import Box
from locheads.errors import LocheadsError

__all__ = ["Box", "LazySamples", "Sample", "by_image", "decode_mask", "encode_mask", "tight_box", "true_mask"]

BOX_SLACK = 1.0
"""Pixels by which a published box may stick out of its image (COCO rounds its boxes)."""
MASK_IN_BOX = 0.5
"""The least share of a mask that lies inside its box: with less, one of them is of another object."""


@dataclass(frozen=True)
class Sample:
    """One referring expression and the object it refers to.

    Attributes:
        sample_id: Unique within its data set, stable between runs.
        image_path: The image file, read only when `image` is accessed; with `stored`, only its name.
        image_id: The data set's name of the image; samples of one image share it.
        expression: The referring expression.
        size: `(width, height)` of the image in pixels.
        box: xyxy box of the object in pixels, half-open; None when the data set has none.
        segmentation: The object as COCO polygons or RLE; None when the data set has none.
        ignored: Region that the data set excludes from the evaluation (ReasonSeg), or None.
        is_sentence: ReasonSeg's kind of query: True for long, False for short, None in other data sets.
        phrase: The noun phrase that ends the expression (Panoptic Narrative Grounding), None elsewhere.
        is_plural: Whether that phrase refers to several objects, or None.
        is_thing: Whether it refers to things (True) or stuff (False), or None.
        stored: Returns the encoded image, if the data set keeps it inside another file. It is not part
            of a sample's identity and is ignored when samples are compared.
    """

    sample_id: str
    image_path: Path
    image_id: str
    expression: str
    size: tuple[int, int]
    box: Box | None = None
    segmentation: Segmentation | None = None
    ignored: Segmentation | None = None
    is_sentence: bool | None = None
    phrase: str | None = None
    is_plural: bool | None = None
    is_thing: bool | None = None
    stored: Callable[[], bytes] | None = field(default=None, compare=False, repr=False)

    @property
    def encoded_image(self) -> bytes:
        """Reads the encoded image as stored, byte for byte, e.g. to hash it.

        Raises:
            LocheadsError: The file is missing or unreadable.
        """
        return self.stored() if self.stored else picture_bytes(self.image_path, self._owner)

    @property
    def image(self) -> Image.Image:
        """Reads the image in RGB, by the rules of `locheads.data.pictures`: turned as its EXIF data say.

        Raises:
            LocheadsError: The file is missing, does not decode, or has another size than annotated.
        """
        picture = open_picture(self.image_path, self._owner, self.stored() if self.stored else None)
        if picture.size != tuple(self.size):
            turned = ", turned as its EXIF data say" if picture.size == tuple(self.size)[::-1] else ""
            raise self._wrong(
                f"the image is {picture.size}{turned} and not, as annotated, {tuple(self.size)} pixels"
            )
        return picture

    @property
    def mask(self) -> Bool[np.ndarray, "height width"] | None:
        """Decodes the boolean mask of the object; None if the data set has none."""
        return None if self.segmentation is None else self._decoded(self.segmentation)

    @property
    def ignored_mask(self) -> Bool[np.ndarray, "height width"] | None:
        """Decodes the boolean mask of the region excluded from the evaluation, or None."""
        return None if self.ignored is None else self._decoded(self.ignored)

    def checked(self) -> Sample:
        """Checks the annotations and returns the sample itself (the image is not opened).

        Raises:
            LocheadsError: The expression is no text or blank, the size is not that of an image, the box is
                empty or outside the image (by more than `BOX_SLACK`), a mask is malformed or empty, or less
                than `MASK_IN_BOX` of it lies inside the box.
        """
        try:
            if not values.text(self.expression, "the expression").strip():
                raise ValueError("the expression is empty")
            values.size(self.size)
            if self.box is not None:
                _check_box(values.box(self.box), self.size)
            if self.segmentation is not None:
                self._check_mask(self.segmentation)
            if self.ignored is not None:
                mask_area(self.ignored, self.size)
        except (TypeError, ValueError) as error:
            raise self._wrong(values.reason(error)) from error
        return self

    def _check_mask(self, segmentation: Segmentation) -> None:
        width, height = map(float, self.size)
        whole, inside = areas(segmentation, self.box or (0.0, 0.0, width, height), self.size)
        if not whole:
            raise ValueError("the mask is empty")
        if inside < MASK_IN_BOX * whole:
            raise ValueError(f"only {inside / whole:.0%} of the mask lies inside the box {self.box} (xyxy)")

    def _decoded(self, segmentation: Segmentation) -> np.ndarray:
        try:
            return decode_mask(segmentation, self.size)
        except (TypeError, ValueError) as error:
            raise self._wrong(values.reason(error)) from error

    @property
    def _owner(self) -> str:
        return f"sample {self.sample_id}"

    def _wrong(self, what: str) -> LocheadsError:
        return LocheadsError(f"{self.image_path}, sample {self.sample_id}: {what}")


@dataclass(frozen=True)
class LazySamples:
    """The samples of a split: counted up front, each created on access.

    A thousand samples of a million can be drawn and only the thousand are read.

    Attributes:
        items: The reader's data of each sample.
        make: Creates a sample from its item; raises LocheadsError for invalid data.
    """

    items: Sequence[Any]
    make: Callable[[Any], Sample]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Sample:
        return self.make(self.items[index])

    def __iter__(self) -> Iterator[Sample]:
        return map(self.make, self.items)


def _check_box(box: Box, size: tuple[int, int]) -> None:
    x0, y0, x1, y1 = box
    width, height = size
    if not (x0 < x1 and y0 < y1):
        raise ValueError(f"the box {box} (xyxy) is empty")
    if min(x0, y0) < -BOX_SLACK or x1 > width + BOX_SLACK or y1 > height + BOX_SLACK:
        raise ValueError(f"the box {box} (xyxy) lies outside the image of {width} × {height} pixels")


def true_mask(sample: Sample) -> Bool[np.ndarray, "height width"]:
    """Returns the mask of a sample's object.

    Raises:
        LocheadsError: The sample has no mask.
    """
    mask = sample.mask
    if mask is None:
        raise LocheadsError(f"sample {sample.sample_id} has no mask; overlap needs a data set with masks")
    return mask


def by_image(samples: Sequence[Sample], part: int) -> list[int]:
    """Orders samples so that those of one image are adjacent and lie in the same part.

    Images keep the order of their first sample, but an image with more samples than a part has room left
    for waits for the next part. An image is divided only if none fits.

    Returns:
        Positions in `samples`.
    """
    images = defaultdict(list)
    for position, sample in enumerate(samples):
        images[sample.image_id].append(position)
    waiting, order = list(images.values()), list[int]()
    while waiting:
        room = part - len(order) % part
        fitting = (place for place, image in enumerate(waiting) if len(image) <= room)
        order += waiting.pop(next(fitting, 0))
    return order
