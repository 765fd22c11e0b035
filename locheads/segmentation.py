"""From boxes to masks: the last step of the paper's referring expression segmentation (Section 5).

The paper hands the box around the pseudo-mask's convex hull to the Segment Anything model and takes
the mask it returns. A box is an unambiguous prompt, so the mask is SAM's single output
(`multimask_output=False`) and not the best guess of its three ambiguous ones.
"""

from __future__ import annotations

import pickle
import re
from dataclasses import dataclass
from pathlib import Path

import locheads._torchvision  # noqa: F401

import numpy as np
from jaxtyping import Bool, Float, Real, UInt8
from PIL import Image

# isort: split
from segment_anything import SamPredictor, sam_model_registry
from segment_anything.modeling import Sam

from locheads.errors import LocheadsError
from locheads.specimen.segmenter import SEGMENTER, load_sam


@dataclass(frozen=True)
class Segmenter:
    """A Segment Anything model that turns boxes into masks.

    Attributes:
        name: What was loaded: `"specimen"` or a path.
        predictor: SAM's own driver; it holds the model and the embedding of the last image.
    """

    name: str
    predictor: SamPredictor

    def masks(
        self,
        image: Image.Image | UInt8[np.ndarray, "rows columns 3"],
        boxes: Real[np.ndarray, "n 4"],
    ) -> Bool[np.ndarray, "n rows columns"]:
        """The mask of what each box holds. The image is embedded once, whatever the number of boxes.

        Args:
            image: A picture, or its bytes in RGB order.
            boxes: Half-open xyxy, in pixels of the image; what reaches outside it is cut off.
                SAM sees the numbers as they are, as in its authors' use of COCO's boxes.

        Returns:
            One mask per box, of the image's height and width; no mask for no box.

        Raises:
            LocheadsError: A box has a coordinate that is not a number, or no area inside the image.
        """
        pixels = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
        rows, columns = pixels.shape[:2]
        inside = _inside(boxes, rows, columns)
        if len(inside) == 0:
            return np.zeros((0, rows, columns), bool)
        self.predictor.set_image(pixels)
        found = [self.predictor.predict(box=box, multimask_output=False)[0][0] for box in inside]
        return np.stack(found)


def _inside(boxes: Real[np.ndarray, "n 4"], rows: int, columns: int) -> Float[np.ndarray, "n 4"]:
    """The boxes, cut off at the border of the image; raises where nothing remains."""
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


def load_segmenter(name_or_path: str | Path = "specimen", device: str = "cpu") -> Segmenter:
    """A segmenter by name or path.

    Args:
        name_or_path: `"specimen"`, the small model shipped with this package; a folder laid out like
            its; or a checkpoint as published with Segment Anything, a `.pth` file whose name says
            `vit_b`, `vit_l` or `vit_h`.
        device: Where to run it.

    Raises:
        LocheadsError: There is no such name or path, the weights have the wrong hash, or they are
            not those of a Segment Anything model.
    """
    path = SEGMENTER if name_or_path == "specimen" else Path(name_or_path)
    if path.suffix == ".pth" and path.is_file():
        sam = _published(path)
    elif path.is_dir():
        sam = load_sam(path)
    else:
        raise LocheadsError(
            f"{path}: no such segmenter; give 'specimen', a folder of weights, or a .pth checkpoint of SAM"
        )
    return Segmenter(str(name_or_path), SamPredictor(sam.to(device)))


def _published(path: Path) -> Sam:
    """A checkpoint as published, e.g. `sam_vit_b_01ec64.pth`: the file name says which model it is."""
    kind = re.search(r"vit_[blh]", path.name)
    if kind is None:
        raise LocheadsError(f"{path}: the file name must say vit_b, vit_l or vit_h, as the published ones do")
    try:
        return sam_model_registry[kind[0]](checkpoint=str(path))
    except (RuntimeError, pickle.UnpicklingError, EOFError):
        raise LocheadsError(f"{path}: not the weights of a SAM {kind[0]}; download it again") from None
