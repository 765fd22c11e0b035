"""Turns boxes into masks: the last step of the paper's referring expression segmentation (Section 5).

The paper hands the box around the pseudo-mask's convex hull to the Segment Anything model and takes
the mask it returns. A box is an unambiguous prompt, so the mask is SAM's single output
(`multimask_output=False`) and not the best guess of its three ambiguous ones. It does not say whether
SAM also got points or a mask, or saw its own mask again; these are parameters of `Segmenter.masks`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Real, UInt8
from PIL import Image

# isort: split
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam

from locheads.data.pictures import to_rgb
from locheads.errors import LocheadsError, first_line
from locheads.method.geometry import Window
from locheads.method.grounding import Grounding
from locheads.model.checkpoint import reason
from locheads.model.devices import pick_device
from locheads.model.embeddings import Embeddings
from locheads.model.hub_sam import load_hub_sam
from locheads.model.shipped import weights_digest
from locheads.model.small_sam import SEGMENTER, load_sam

PROMPTS = ("box", "box+mask", "box+point")
"""What SAM is given: the box alone (paper), or with the pseudo-mask, or with the map's highest point."""
LOGIT = 8.0
"""Logit of a mask prompt inside the pseudo-mask; outside it is minus that."""


@dataclass(frozen=True)
class Segmenter:
    """A Segment Anything model that turns boxes into masks.

    Attributes:
        name: What was loaded: `"specimen"`, a path or a hub name.
        predictor: SAM's own driver; it holds the model and the embedding of the last image.
        embeddings: Those of the images before.
    """

    name: str
    predictor: SamPredictor
    embeddings: Embeddings = field(default_factory=Embeddings)

    def masks(
        self,
        image: Image.Image | UInt8[np.ndarray, "rows columns 3"],
        boxes: Real[np.ndarray, "n 4"],
        found: Sequence[Grounding] = (),
        window: Window | None = None,
        prompt: str = "box",
        cascade: int = 0,
    ) -> Bool[np.ndarray, "n rows columns"]:
        """Segments the object in each box. An image is embedded once, see `embeddings`.

        Args:
            image: A picture, or its bytes in RGB order.
            boxes: Half-open xyxy, in pixels of the image; what reaches outside it is cut off.
                SAM sees the numbers as they are, as in its authors' use of COCO's boxes.
            found: The grounding that each box came from; not needed when `prompt` is `"box"`.
            window: Which pixels the patch grid of `found` covers; as `found`.
            prompt: One of `PROMPTS`, what SAM is given beside the box: nothing (the paper's reading);
                the component that the hull encloses, as low-resolution logits; or the cell of it where
                the map is highest, as a point on the object.
            cascade: How often SAM sees its own low-resolution mask again, in the place of the mask
                prompt, with the same box and point.

        Returns:
            One mask per box, of the image's height and width; no mask for no box.

        Raises:
            LocheadsError: A box has a coordinate that is not a number, or no area inside the image;
                the image is too narrow for SAM's resizing; unknown `prompt`, negative `cascade`, or `found`
                or `window` do not fit.
        """
        pixels = np.asarray(to_rgb(image)) if isinstance(image, Image.Image) else image
        rows, columns = pixels.shape[:2]
        _check_shape(rows, columns, self.predictor.transform.target_length)
        inside = _inside(boxes, rows, columns)
        _check_prompt(prompt, cascade, len(inside), found, window, (columns, rows))
        if len(inside) == 0:
            return np.zeros((0, rows, columns), bool)
        self.embeddings.set_image(self.predictor, pixels)
        given: list[dict[str, Any]] = [{} for _ in inside]
        if window is not None and prompt == "box+mask":
            given = [{"mask_input": self._logits(one, window)} for one in found]
        if window is not None and prompt == "box+point":
            given = [{"point_coords": _peak(one, window), "point_labels": np.ones(1)} for one in found]
        return np.stack([self._mask(box, extra, cascade) for box, extra in zip(inside, given, strict=True)])

    def _mask(
        self, box: Float[np.ndarray, "4"], extra: dict[str, Any], cascade: int
    ) -> Bool[np.ndarray, "rows columns"]:
        for _ in range(cascade + 1):
            masks, _, low = self.predictor.predict(box=box, multimask_output=False, **extra)
            extra = {**extra, "mask_input": low}
        return masks[0]

    def _logits(self, found: Grounding, window: Window) -> Float[np.ndarray, "1 side side"]:
        """Renders the hull's component in the frame of SAM's mask prompt; the padding counts as outside."""
        side = 4 * self.predictor.features.shape[-1]
        share = side / self.predictor.model.image_encoder.img_size
        height, width = (max(1, round(share * length)) for length in self.predictor.input_size)
        y, x = np.mgrid[:height, :width] + 0.5
        columns, rows = window.size
        points = np.stack([x * columns / width, y * rows / height], axis=-1)
        column, row = np.moveaxis(np.floor(window.points_to_cells(points)).astype(int), -1, 0)
        on_grid = (row >= 0) & (row < window.rows) & (column >= 0) & (column < window.columns)
        logits = np.full((1, side, side), -LOGIT)
        logits[0, :height, :width][on_grid] = LOGIT * (2 * found.region[row[on_grid], column[on_grid]] - 1)
        return logits


def _check_shape(rows: int, columns: int, side: int) -> None:
    """Refuses an image whose shorter edge vanishes when SAM resizes the longer one to `side` pixels."""
    if min(rows, columns) * side / max(rows, columns) < 0.5:
        raise LocheadsError(
            f"an image of {columns} × {rows} pixels is too narrow for SAM, which scales it to {side} pixels; "
            "crop its longer edge"
        )


def _check_prompt(
    prompt: str,
    cascade: int,
    boxes: int,
    found: Sequence[Grounding],
    window: Window | None,
    size: tuple[int, int],
) -> None:
    if prompt not in PROMPTS:
        raise LocheadsError(f"prompt = {prompt!r}: give one of {', '.join(PROMPTS)}")
    if cascade < 0:
        raise LocheadsError(f"cascade = {cascade}: SAM sees its mask again 0 times or more")
    if prompt != "box" and (len(found) != boxes or window is None or window.size != size):
        raise LocheadsError(
            f"prompt = {prompt!r}: needs as found one grounding for each of {boxes} boxes, not {len(found)}, "
            f"and the window of an image of {size[0]} x {size[1]} pixels"
        )


def _peak(found: Grounding, window: Window) -> Float[np.ndarray, "1 2"]:
    """Returns the centre, in pixels, of the hull's cell with the highest map value (the first, if tied)."""
    cell = np.argmax(np.where(found.region, found.map, -np.inf))
    row, column = np.unravel_index(cell, found.map.shape)
    point = window.points_to_pixels(np.array([[column + 0.5, row + 0.5]]))
    return np.clip(point, 0, np.array(window.size) - 1.0)


def _inside(boxes: Real[np.ndarray, "n 4"], rows: int, columns: int) -> Float[np.ndarray, "n 4"]:
    """Clips boxes to the image; raises where no area remains."""
    cut = np.clip(boxes.astype(float), 0, [columns, rows, columns, rows])
    empty = ~((cut[:, :2] < cut[:, 2:]).all(1) & np.isfinite(boxes).all(1))
    if empty.any():
        index = int(np.argmax(empty))
        numbers = ", ".join(f"{value:g}" for value in boxes[index])
        raise LocheadsError(
            f"box {index} ({numbers}): no area inside the image of {columns} x {rows} pixels; "
            "give x0, y0, x1, y1 in pixels of the image, with x0 < x1 and y0 < y1"
        )
    return cut


def load_segmenter(
    name_or_path: str | Path = "specimen", device: str = "auto", kept_in: Path | str | None = None
) -> Segmenter:
    """Loads a segmenter by name or path.

    Args:
        name_or_path: `"specimen"`, the small model shipped with this package; a folder laid out like
            its; a checkpoint as published with Segment Anything, a `.pth` file whose name says
            `vit_b`, `vit_l` or `vit_h`; or a SAM in transformers' layout, a folder or a hub name such as
            `"facebook/sam-vit-huge"`.
        device: Where to run it, as `locheads.model.devices.pick_device` takes it.
        kept_in: Folder that keeps the embeddings of images, by the hash of the weights; None: none are kept.

    Raises:
        LocheadsError: There is no such name or path, the weights have the wrong hash, or they are
            not those of a Segment Anything model.
    """
    path = SEGMENTER if name_or_path == "specimen" else Path(name_or_path)
    if path.suffix == ".pth" and path.is_file():
        sam = _published(path)
    elif path.is_dir():
        sam = load_hub_sam(str(path)) if _is_transformers(path) else load_sam(path)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", str(name_or_path)) and path.suffix != ".pth":
        sam = load_hub_sam(str(name_or_path))
    else:
        raise LocheadsError(
            f"{path}: no such segmenter; give 'specimen', a folder of weights, a .pth checkpoint of SAM, "
            "or a hub name"
        )
    place = pick_device(device, str(name_or_path))
    folder = None
    if kept_in is not None:
        folder = Path(kept_in) / f"embeddings-{weights_digest(sam)}-{place.partition(':')[0]}"
    return Segmenter(str(name_or_path), SamPredictor(sam.to(place)), Embeddings(folder))


def _published(path: Path) -> Sam:
    """Loads a published checkpoint, e.g. `sam_vit_b_01ec64.pth`, whose file name gives the architecture."""
    kind = re.search(r"vit_[blh]", path.name)
    if kind is None:
        raise LocheadsError(f"{path}: the file name must say vit_b, vit_l or vit_h, as the published ones do")
    sam = sam_model_registry[kind[0]]()
    try:
        sam.load_state_dict(_state(path))
    except (RuntimeError, TypeError, AttributeError):
        raise LocheadsError(
            f"{path}: does not hold the weights of a SAM {kind[0]}; give a file with the published keys"
        ) from None
    return sam.eval()


def _state(path: Path) -> Any:
    """Reads weights onto the CPU, wherever they were saved; unpacks a training checkpoint `{"model": …}`."""
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for bytes that are no checkpoint
        raise LocheadsError(f"{path}: {reason(path) or first_line(error)}") from error
    wrapped = (found.get(key) for key in ("model", "state_dict")) if isinstance(found, dict) else ()
    return next((inner for inner in wrapped if isinstance(inner, dict)), found)


def _is_transformers(folder: Path) -> bool:
    try:
        return "model_type" in json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
