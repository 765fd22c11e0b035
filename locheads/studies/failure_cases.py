"""Chooses the pictures that show each kind of failure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Real
from PIL import Image

from locheads.data.samples import Box, Sample, true_mask
from locheads.model.segmenter import Segmenter

Mask = Bool[np.ndarray, "height width"]
BoxCase = tuple[Image.Image, str, np.ndarray, np.ndarray, np.ndarray]
"""Picture, title, true box, found box, boxes of all objects."""


def box_cases(
    samples: Sequence[Sample],
    boxes: Real[np.ndarray, "n 4"],
    objects: Mapping[str, Sequence[Box]],
    kinds: Sequence[str],
    wanted: Mapping[str, int],
) -> list[BoxCase]:
    """Returns the first boxes of each kind, with the boxes of all objects of the picture.

    Args:
        samples: With boxes.
        boxes: Boxes of the heads.
        objects: Boxes of all objects of each picture, by image id.
        kinds: The kind of each box.
        wanted: How many of each kind.
    """
    chosen = [i for kind, most in wanted.items() for i in np.flatnonzero(np.array(kinds) == kind)[:most]]
    return [
        (
            samples[i].image,
            f"{samples[i].expression} ({kinds[i]})",
            np.array(samples[i].box, float),
            boxes[i],
            np.array(objects.get(samples[i].image_id, ()), float).reshape(-1, 4),
        )
        for i in chosen
    ]


def shape_cases(
    segmenter: Segmenter, samples: Sequence[Sample], table: pd.DataFrame, places: Sequence[float]
) -> list[tuple[Image.Image, str, Mask, Mask]]:
    """Returns pictures by the rank of their object's solidity, with the true mask and that from the true box.

    Args:
        segmenter: Turns boxes into masks.
        samples: With boxes and masks.
        table: From `anatomy`, in the order of the samples.
        places: Ranks as shares: 0 is the least solid object.
    """
    order = np.argsort(table.solidity.to_numpy(), kind="stable")
    cases = []
    for i in (int(order[round(place * (len(order) - 1))]) for place in places):
        mask = segmenter.masks(samples[i].image, np.array([samples[i].box], float))[0]
        ious = f"hull {100 * table.solidity[i]:.0f} %, segmenter {100 * table.true_box_iou[i]:.0f} %"
        cases.append((samples[i].image, f"{samples[i].expression}\n{ious}", true_mask(samples[i]), mask))
    return cases
