"""Compares a centre crop with padding on the same pictures that are not square."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Real

from locheads.data import cropping
from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Variant, boxes_of, stored_maps
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import box_iou
from locheads.method.geometry import Window
from locheads.model.lvlm import Lvlm
from locheads.profiling.profile import BATCH, profile

VISIBLE = ("less than half", "a part", "all")
"""How much of the object's box a centre crop keeps."""


@dataclass(frozen=True, eq=False)
class Crops:
    """Boxes on pictures that are not square, padded and as their central square.

    Attributes:
        strips: The pictures; square ones are cut to a strip that holds the object whole.
        maps_padded: Maps of all heads on the padded strips, one sample after another.
        padded, cropped: Boxes, xyxy in pixels of the strips.
        visible: The share of each object's box that the crop keeps.
    """

    strips: Sequence[Sample]
    maps_padded: Sequence[Float[np.ndarray, "layer head row column"]]
    padded: Real[np.ndarray, "n 4"]
    cropped: Real[np.ndarray, "n 4"]
    visible: Float[np.ndarray, " n"]

    @property
    def true(self) -> Real[np.ndarray, "n 4"]:
        """Returns the true boxes."""
        return np.array([strip.box for strip in self.strips], float)

    @property
    def sizes(self) -> Real[np.ndarray, "n 2"]:
        """Returns width and height of each strip in pixels."""
        return np.array([strip.size for strip in self.strips])

    def hits(self) -> pd.DataFrame:
        """Returns one row per picture: whether each box is right, and how much of the object is visible."""
        named = {"padded": self.padded, "cropped": self.cropped}
        right = {name: box_iou(boxes, self.true) >= 0.5 for name, boxes in named.items()}
        kept = pd.cut(self.visible, [-0.01, 0.5, 0.99, 1.01], labels=list(VISIBLE))
        return pd.DataFrame(right).assign(visible=kept, image_id=[strip.image_id for strip in self.strips])

    def table(self) -> pd.DataFrame:
        """Returns `pictures`, and Acc@0.5 padded and cropped in %, by how much of the object is visible."""
        named = {"pictures": ("padded", "size"), "padded": ("padded", "mean"), "cropped": ("cropped", "mean")}
        found = self.hits().groupby("visible", observed=True).agg(**named)
        return found.assign(padded=100 * found.padded, cropped=100 * found.cropped)

    def gain(self, seed: int = 0) -> dict[str, float]:
        """Returns the gain of padding over cropping in Acc@0.5 as `value`, with `low` and `high`, paired."""
        hits = self.hits()
        gains = hits.padded.to_numpy(float) - hits.cropped.to_numpy(float)
        return {"value": float(gains.mean())} | vars(
            mean_interval(gains, hits.image_id.to_numpy(), seed=seed)
        )


def compare_crops(
    lvlm: Lvlm, samples: Sequence[Sample], heads: Variant, stores: tuple[Path, Path], batch: int = BATCH
) -> Crops:
    """Grounds the same pictures padded and as their central square.

    Args:
        lvlm: The frozen model.
        samples: With boxes.
        heads: The localization heads.
        stores: Profile stores of the padded strips and of the central squares.
        batch: Expressions in one forward pass.
    """
    strips = [cropping.oblong(sample) for sample in samples]
    squares = [cropping.central_square(strip) for strip in strips]
    centres = [cropping.cut(strip, region) for strip, region in zip(strips, squares, strict=True)]
    padding = replace(lvlm, fit="pad")
    maps_padded = list(stored_maps(profile(padding, strips, stores[0], batch=batch)))
    maps_cropped = stored_maps(profile(lvlm, centres, stores[1], batch=batch))
    padded = boxes_of(heads, maps_padded, [padding.window(strip.size) for strip in strips])
    cropped = boxes_of(heads, maps_cropped, [lvlm.window(centre.size) for centre in centres])
    windows = [Window.resize_and_crop(strip.size, lvlm.grid) for strip in strips]
    visible = [
        window.visible(np.array(strip.box)).item() for window, strip in zip(windows, strips, strict=True)
    ]
    shifts = np.tile(np.array(squares)[:, :2], 2)
    return Crops(strips, maps_padded, padded, cropped + shifts, np.array(visible))
