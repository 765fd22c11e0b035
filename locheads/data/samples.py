"""Defines a sample: one image, one referring expression, and the box and mask of the referred object.

Every reader of `locheads.data` returns `Sample`s, so that no other module needs to know a
file format. Boxes are xyxy in pixels of the original image, half-open; masks are boolean
`height × width`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pycocotools import mask as coco

from locheads.errors import LocheadsError

Box = tuple[float, float, float, float]
Segmentation = Sequence[Sequence[int | float]] | Mapping[str, Any]
"""COCO style: polygons `[[x0, y0, x1, y1, …], …]`, or RLE `{"size": [h, w], "counts": …}`."""

BOX_SLACK = 1.0
"""Pixels by which a published box may stick out of its image (COCO rounds its boxes)."""


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
        return self.stored() if self.stored else _bytes_of(self.image_path, self._owner)

    @property
    def image(self) -> Image.Image:
        """Reads the image in RGB, as stored (no EXIF rotation: annotations refer to the stored pixels).

        Raises:
            LocheadsError: The file is missing, does not decode, or has another size than annotated.
        """
        picture = read_image(self.image_path, self._owner, self.stored() if self.stored else None)
        if picture.size != tuple(self.size):
            raise self._wrong(f"the image is {picture.size} and not, as annotated, {tuple(self.size)} pixels")
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
            LocheadsError: Blank expression, empty box, box outside the image (by more than
                `BOX_SLACK`), malformed or empty mask.
        """
        if not self.expression.strip():
            raise self._wrong("the expression is empty")
        if self.box is not None:
            self._check_box(self.box)
        if self.segmentation is not None:
            self._check_mask(self.segmentation)
        return self

    def _check_box(self, box: Box) -> None:
        x0, y0, x1, y1 = box
        width, height = self.size
        if not (x0 < x1 and y0 < y1):
            raise self._wrong(f"the box {box} (xyxy) is empty")
        if min(x0, y0) < -BOX_SLACK or x1 > width + BOX_SLACK or y1 > height + BOX_SLACK:
            raise self._wrong(f"the box {box} (xyxy) lies outside the image of {width} × {height} pixels")

    def _check_mask(self, segmentation: Segmentation) -> None:
        try:
            area = coco.area(_rle(segmentation, *self.size))
        except ValueError as error:
            raise self._wrong(str(error)) from error
        if not area:
            raise self._wrong("the mask is empty")

    def _decoded(self, segmentation: Segmentation) -> np.ndarray:
        try:
            return decode_mask(segmentation, self.size)
        except ValueError as error:
            raise self._wrong(str(error)) from error

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


def read_image(path: Path, owner: str, content: bytes | None = None) -> Image.Image:
    """Reads an image in RGB, fully decoded.

    Args:
        path: The file.
        owner: The sample or purpose of the image, for messages.
        content: The encoded image, if `path` is only its name.

    Raises:
        LocheadsError: The file is missing or does not decode.
    """
    with _opened(path, owner, content) as picture:
        return picture.convert("RGB")


def read_size(path: Path, owner: str, content: bytes | None = None) -> tuple[int, int]:
    """Reads `(width, height)` from an image's header; arguments and errors are those of `read_image`."""
    with _opened(path, owner, content) as picture:
        return picture.size


@contextmanager
def _opened(path: Path, owner: str, content: bytes | None) -> Iterator[Image.Image]:
    try:
        with Image.open(path if content is None else BytesIO(content)) as picture:
            yield picture
    except FileNotFoundError as error:
        raise _no_image(path, owner) from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LocheadsError(f"{path}: the image does not decode ({owner}); fetch it again") from error


def _bytes_of(path: Path, owner: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _no_image(path, owner) from error


def _no_image(path: Path, owner: str) -> LocheadsError:
    return LocheadsError(f"{path}: no such image ({owner}); check the folder of the data set")


def tight_box(mask: Bool[np.ndarray, "height width"]) -> Box | None:
    """Returns the smallest half-open xyxy box around a mask; None if the mask is empty."""
    columns, rows = np.flatnonzero(mask.any(0)), np.flatnonzero(mask.any(1))
    if not len(rows):
        return None
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def encode_mask(mask: Bool[np.ndarray, "height width"]) -> dict[str, Any]:
    """Encodes a boolean mask as compressed COCO RLE with its counts as text, ready for JSON."""
    rle = coco.encode(np.asfortranarray(mask, np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def decode_mask(segmentation: Segmentation, size: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Decodes COCO polygons (their union) or RLE, compressed or not, into a boolean mask.

    Args:
        segmentation: Polygons in pixels, counted from the corner of the first pixel, or RLE.
        size: `(width, height)` of the image; parts outside are clipped.

    Raises:
        ValueError: The segmentation is malformed, has no polygon, or is RLE of another size.
    """
    return np.asarray(coco.decode(_rle(segmentation, *size)), bool)


def _rle(segmentation: Segmentation, width: int, height: int) -> Any:
    """Converts either kind of segmentation to compressed RLE; ValueError as `decode_mask`."""
    try:
        if not isinstance(segmentation, Mapping):
            if not segmentation or any(len(polygon) < 6 or len(polygon) % 2 for polygon in segmentation):
                raise ValueError("it needs polygons of three points or more, each x and y")
            polygons = [list(map(float, polygon)) for polygon in segmentation]
            return coco.merge(coco.frPyObjects(polygons, height, width))
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"its size {segmentation['size']} is not [{height}, {width}]")
        uncompressed = isinstance(segmentation["counts"], list)
        return coco.frPyObjects(dict(segmentation), height, width) if uncompressed else segmentation
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"the mask is malformed: {error}") from error


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
