"""Grounds single expressions and whole splits, and describes the boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Real
from PIL import Image

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.evaluation.evaluate import Heads, evaluate
from locheads.evaluation.metrics import box_iou
from locheads.method.geometry import Window
from locheads.method.grounding import Grounding, ground
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import Segmenter
from locheads.profiling.profile import maps_of
from locheads.studies.failures import counts

Split = tuple[str, str]
"""A data set and one of its splits."""

Case = tuple[Image.Image, str, np.ndarray, np.ndarray, float]
"""Picture, expression, true box, found box, IoU."""


@dataclass(frozen=True, eq=False)
class Grounded:
    """One expression grounded by a few heads.

    Attributes:
        sample: The expression with its picture and true box.
        window: Which pixels the grid covers.
        maps: Maps of the heads, `k × row × column`.
        found: The box and the steps that led to it.
        iou: IoU of the box with the true one.
    """

    sample: Sample
    window: Window
    maps: Float[np.ndarray, "k row column"]
    found: Grounding
    iou: float

    @property
    def hit(self) -> bool:
        """Returns whether the box counts as right: an IoU of at least 0.5."""
        return self.iou >= 0.5


def ground_each(lvlm: Lvlm, samples: Sequence[Sample], heads: Heads) -> list[Grounded]:
    """Grounds each sample with the same heads, in the order given."""
    grounded = []
    for sample, maps in zip(samples, maps_of(lvlm, samples, heads=heads), strict=True):
        window = lvlm.window(sample.size)
        found = ground(maps, window)
        iou = float(box_iou(np.array([sample.box], float), found.box[None])[0])
        grounded.append(Grounded(sample, window, maps, found, iou))
    return grounded


def median_hit(ious: Sequence[float]) -> int:
    """Returns the position of the typical success: the lower median of the IoUs that are at least 0.5.

    Where there is no success, the position of the highest IoU. Of equal IoUs the first counts.

    Raises:
        LocheadsError: There is no IoU.

    Example:
        >>> median_hit([0.9, 0.2, 0.6, 0.7, 0.8]), median_hit([0.1, 0.4])
        (3, 1)
    """
    if not len(ious):
        raise LocheadsError("samples: none was grounded, so that there is no typical one")
    order = [int(at) for at in np.argsort(ious, kind="stable")]
    hits = [at for at in order if ious[at] >= 0.5]
    return hits[(len(hits) - 1) // 2] if hits else order[-1]


def iou_table(grounded: Sequence[Grounded]) -> pd.DataFrame:
    """Returns one row per expression: what it says, the IoU of its box, and whether that is a hit."""
    rows = [{"expression": one.sample.expression, "IoU": one.iou, "hit": one.hit} for one in grounded]
    return pd.DataFrame(rows).rename_axis("example")


def evaluate_splits(
    lvlm: Lvlm,
    segmenter: Segmenter | None,
    splits: Mapping[Split, Sequence[Sample]],
    heads: Heads,
    rivals: Sequence[Heads],
) -> pd.DataFrame:
    """Grounds the samples of several splits with the same heads; see `evaluation.evaluate.evaluate`.

    Returns:
        Its rows with the columns `dataset` and `split`.
    """
    return pd.concat(
        [
            evaluate(lvlm, segmenter, samples, heads, rivals).assign(dataset=dataset, split=split)
            for (dataset, split), samples in splits.items()
        ],
        ignore_index=True,
    )


def boxes_of(
    outcomes: pd.DataFrame, samples: Mapping[str, Sample]
) -> tuple[Real[np.ndarray, "n 4"], Real[np.ndarray, "n 4"], Real[np.ndarray, "n 2"]]:
    """Returns found boxes, true boxes, and sizes of the pictures (width, height), one row per outcome."""
    of = [samples[sample_id] for sample_id in outcomes.sample_id]
    true = np.array([sample.box for sample in of], float)
    return np.array(outcomes.box.tolist(), float), true, np.array([sample.size for sample in of])


def by_wording(outcomes: pd.DataFrame, samples: Mapping[str, Sample]) -> pd.DataFrame:
    """Describes boxes by data set and by whether the expression takes counting.

    Args:
        outcomes: Rows of `evaluate_splits` of one choice of heads.
        samples: By sample id.

    Returns:
        Per group: `expressions`, `median area ratio` (found box over true box), `median IoU` and `hits [%]`.
    """
    found, true, _ = boxes_of(outcomes, samples)
    areas = [(box[:, 2:] - box[:, :2]).prod(axis=1) for box in (found, true)]
    counting = [counts(samples[sample_id].expression) for sample_id in outcomes.sample_id]
    table = outcomes.assign(
        area_ratio=areas[0] / areas[1],
        hit=100.0 * (outcomes.box_iou >= 0.5),
        expression=np.where(counting, "takes counting", "does not"),
    )
    named = {"expressions": ("hit", "size"), "median area ratio": ("area_ratio", "median")}
    named |= {"median IoU": ("box_iou", "median"), "hits [%]": ("hit", "mean")}
    return table.groupby(["dataset", "expression"], sort=False).agg(**named)


def extremes(outcomes: pd.DataFrame, samples: Mapping[str, Sample], most: int = 4) -> list[Case]:
    """Returns the `most` best and the `most` worst boxes, in this order."""
    order = outcomes.sort_values("box_iou", kind="stable")
    return [
        (
            samples[row.sample_id].image,
            samples[row.sample_id].expression,
            np.array(samples[row.sample_id].box, float),
            np.array(row.box, float),
            row.box_iou,
        )
        for row in pd.concat([order.tail(most).iloc[::-1], order.head(most)]).itertuples()
    ]


def first_of_each(outcomes: pd.DataFrame, hits: int = 2, misses: int = 1) -> list[str]:
    """Returns the sample ids of the first hits and the first misses, each of a picture of its own."""
    own = outcomes[~outcomes.image_id.duplicated()]
    hit = own.box_iou >= 0.5
    return [*own.sample_id[hit].head(hits), *own.sample_id[~hit].head(misses)]
