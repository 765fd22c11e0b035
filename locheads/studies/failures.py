"""Measures where grounding with few heads fails: counting, shapes not convex, small objects, rivals, borders.

All measures use expressions, true masks and the boxes of all objects of a picture, so they work on any data
set that has these; no label of the specimen's scenes is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Real
from scipy import ndimage

from locheads.data.samples import Box, Sample, true_mask
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import box_iou, mask_iou
from locheads.method.hulls import convex_hull, polygon_area
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import Segmenter
from locheads.progress import progress

COUNTING = re.compile(
    r"\b(second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|[2-9]nd|[2-9]rd|\d+th|1st|first|"
    r"twice|two|three|four|five|six|odd one)\b",
    re.IGNORECASE,
)
"""Words that identify an object by a number of objects, or by its rank among them."""

KINDS = ("hit", "merged", "rival", "off")
"""What a box is: right (IoU of at least 0.5); over most of another object as well; nearer to another object
than to the right one; or none of these, at the right object with another size or place."""


def counts(expression: str) -> bool:
    """Returns whether an expression requires counting, by the words of `COUNTING`."""
    return COUNTING.search(expression) is not None


def solidity(mask: Bool[np.ndarray, "height width"]) -> float:
    """Returns the share of its convex hull that a mask fills: 1 for convex shapes.

    It is also the IoU of hull and mask.

    Raises:
        ValueError: When the mask is empty.
    """
    return float(mask.sum()) / polygon_area(hull(mask))


def hull(mask: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "corners 2"]:
    """Returns the corners (x, y), in pixels, of a mask's convex hull.

    Raises:
        ValueError: When the mask is empty.
    """
    return convex_hull(mask & ~ndimage.binary_erosion(mask))


def kind_of(
    found: Real[np.ndarray, "4"], true: Real[np.ndarray, "4"], others: Real[np.ndarray, "n 4"]
) -> str:
    """Returns which of `KINDS` a box is.

    Args:
        found: The box, xyxy pixels.
        true: That of the right object.
        others: Those of the other objects.
    """
    if box_iou(found[None], true[None])[0] >= 0.5:
        return "hit"
    if swallowed(found, true, others):
        return "merged"
    nearest = box_iou(np.tile(found, (len(others), 1)), others).max(initial=0.0)
    return "rival" if nearest > box_iou(found[None], true[None])[0] else "off"


def swallowed(
    found: Real[np.ndarray, "4"], true: Real[np.ndarray, "4"], others: Real[np.ndarray, "n 4"]
) -> bool:
    """Returns whether a box covers at least half of the right object and at least half of another.

    Another object that the true box covers by half does not count.
    """
    reached = covered(true[None], found)[0] >= 0.5
    return bool(reached and ((covered(others, found) >= 0.5) & (covered(others, true) < 0.5)).any())


def covered(boxes: Real[np.ndarray, "n 4"], by: Real[np.ndarray, "4"]) -> Float[np.ndarray, " n"]:
    """Returns the share of each box that another one covers; 0 for boxes without area."""
    sides = np.minimum(boxes[:, 2:], by[2:]) - np.maximum(boxes[:, :2], by[:2])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return np.divide(np.maximum(sides, 0).prod(axis=1), area, out=np.zeros(len(boxes)), where=area > 0)


def anatomy(
    lvlm: Lvlm,
    segmenter: Segmenter,
    samples: Sequence[Sample],
    found: Real[np.ndarray, "n 4"],
    objects: Mapping[str, Sequence[Box]],
) -> pd.DataFrame:
    """Describes each sample and its box.

    Args:
        lvlm: The model that found the boxes; sizes are in cells of its grid.
        segmenter: Turns boxes into masks.
        samples: With box and mask.
        found: Boxes of the heads, xyxy pixels.
        objects: Boxes of all objects of each picture, by image id; the sample's own among them.

    Returns:
        One row per sample: `sample_id`, `image_id`, `counting`, `cells` (area of the object), `solidity`,
        `margin` (least distance of its box to the border, in cells), `objects` (how many the picture has; 0:
        unknown), `kind`, `box_iou`, `mask_iou` (of the mask from the heads' box), `true_box_iou` (of the mask
        from the true box).
    """
    rows = []
    with progress(len(samples), "looking at boxes and masks") as bar:
        for sample, box in zip(samples, found, strict=True):
            rows.append(_described(lvlm, sample, box, objects) | _segmented(segmenter, sample, box))
            bar.update()
    return pd.DataFrame(rows)


def _described(
    lvlm: Lvlm, sample: Sample, box: Real[np.ndarray, "4"], objects: Mapping[str, Sequence[Box]]
) -> dict[str, object]:
    mask, true = true_mask(sample), np.array(sample.box, float)
    width, height = lvlm.window(sample.size).cell_size
    every = np.array(objects.get(sample.image_id, ()), float).reshape(-1, 4)
    others = every[box_iou(np.tile(true, (len(every), 1)), every) < 1 - 1e-9]
    to_border = np.concatenate([true[:2], np.array(sample.size) - true[2:]])
    return {
        "sample_id": sample.sample_id,
        "image_id": sample.image_id,
        "counting": counts(sample.expression),
        "cells": mask.sum() / (width * height),
        "solidity": solidity(mask),
        "margin": max(0.0, float((to_border / np.tile([width, height], 2)).min())),
        "objects": len(every),
        "kind": kind_of(box, true, others),
        "box_iou": float(box_iou(box[None], true[None])[0]),
    }


def _segmented(segmenter: Segmenter, sample: Sample, box: Real[np.ndarray, "4"]) -> dict[str, float]:
    masks = segmenter.masks(sample.image, np.stack([box, np.array(sample.box, float)]))
    from_heads, from_truth = mask_iou(masks, np.broadcast_to(true_mask(sample), masks.shape))
    return {"mask_iou": float(from_heads), "true_box_iou": float(from_truth)}


def rates(table: pd.DataFrame, by: str, outcome: str = "hit", seed: int = 0) -> pd.DataFrame:
    """Returns the mean of an outcome in each group, with its 95 % bootstrap interval.

    Args:
        table: One row per sample, with its `image_id`.
        by: The column that names the group; its order is kept where it is categorical.
        outcome: A column of booleans, or of shares in [0, 1].
        seed: Seed of the bootstrap over pictures.

    Returns:
        Indexed by group: `samples`, `value`, `low`, `high`. Groups without a sample are left out.
    """
    rows = {}
    for group, some in table.groupby(by, observed=True):
        values = some[outcome].to_numpy(float)
        rows[group] = {"samples": len(some), "value": values.mean()} | vars(
            mean_interval(values, some["image_id"].to_numpy(), seed=seed)
        )
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(by)


def grouped(table: pd.DataFrame) -> pd.DataFrame:
    """Adds groups of `anatomy`: `hit`, `merged`, `expression`, `shape`, `size`, `border` and `company`.

    Thirds of size are of this table.
    """
    several = table["objects"].clip(upper=6).map(lambda number: "6 or more" if number >= 6 else str(number))
    return table.assign(
        hit=table.kind == "hit",
        merged=table.kind == "merged",
        expression=np.where(table.counting, "counts", "does not"),
        shape=pd.cut(table.solidity, [0, 0.7, 0.9, 1.01], labels=["< 0.7", "0.7–0.9", "> 0.9"]),
        size=pd.qcut(table.cells.rank(method="first"), 3, labels=["small", "middle", "large"]),
        border=np.where(table.margin < 1, "at the border", "inside"),
        company=several,
    )


def shares_of_kinds(table: pd.DataFrame, by: str | None = None) -> pd.DataFrame:
    """Returns the share of each of `KINDS` in each group of `by`, or in the whole table as the row `all`."""
    groups = table[by] if by else pd.Series("all", table.index)
    shares = pd.crosstab(groups, table.kind, normalize="index")
    return shares.reindex(columns=list(KINDS), fill_value=0.0)


def hull_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns mean IoUs in % by `shape`: the hull of the true mask, and masks from the true and found box."""
    means = table.groupby("shape", observed=True)[["solidity", "true_box_iou", "mask_iou"]].mean() * 100
    means.columns = ["hull of the true mask", "mask from the true box", "mask from the heads' box"]
    return means.assign(samples=table["shape"].value_counts())


def in_percent(table: pd.DataFrame) -> pd.DataFrame:
    """Returns `rates` with `value`, `low` and `high` in %."""
    columns = ["value", "low", "high"]
    return table.assign(**100 * table[columns])
