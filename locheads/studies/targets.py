"""Turns words into a set of boxes, none, one or several, and scores it as in gRefCOCO (arXiv 2306.00968)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Real
from scipy.optimize import linear_sum_assignment

from locheads.data.values import Box
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import box_iou
from locheads.studies.several_objects import Text

SAME = 0.5
"""Least IoU of two boxes that are of one target, and of a box that is right."""

Boxes = Mapping[str, Sequence[Box]]
"""Boxes by the name of their text."""


def iou_matrix(first: Real[np.ndarray, "n 4"], second: Real[np.ndarray, "m 4"]) -> np.ndarray:
    """Returns the IoU of each box of `first` with each of `second`: `n × m`."""
    n, m = len(first), len(second)
    return box_iou(np.repeat(first, m, axis=0), np.tile(second, (n, 1))).reshape(n, m)


def merged(boxes: Sequence[Box], scores: Sequence[float]) -> list[Box]:
    """Keeps one box per place: of boxes that overlap by `SAME`, that of the highest score.

    Example:
        >>> merged([(0, 0, 2, 2), (0, 0, 2, 3), (8, 8, 9, 9)], [0.5, 0.9, 0.7])
        [(0, 0, 2, 3), (8, 8, 9, 9)]
    """
    kept: list[Box] = []
    for place in np.argsort(-np.asarray(scores, float), kind="stable"):
        box = np.array([boxes[place]], float)
        if not kept or iou_matrix(box, np.array(kept, float)).max() < SAME:
            kept.append(boxes[place])
    return kept


def targets_of(words: pd.DataFrame, named: pd.Series, score: str, texts: Sequence[Text]) -> Boxes:
    """Returns the boxes of the words that are taken for names, one per place, for every text.

    Args:
        words: From `several_objects.words_of`.
        named: Which words are taken for names.
        score: Decides which box of a place is kept.
        texts: All texts; one without a name has no box.
    """
    found: dict[str, list[Box]] = {one.name: [] for one in texts}
    for name, some in words[named].groupby("text"):
        found[str(name)] = merged(some.box.tolist(), some[score].tolist())
    return found


def right_boxes(found: Sequence[Box], true: Sequence[Box]) -> int:
    """Counts the boxes that are matched, one to one, with a true box of an IoU of at least `SAME`."""
    if not found or not true:
        return 0
    ious = iou_matrix(np.array(found, float), np.array(true, float)) >= SAME
    return int(ious[linear_sum_assignment(-ious.astype(int))].sum())


def region_iou(found: Sequence[Box], true: Sequence[Box], size: tuple[int, int]) -> float:
    """Returns the IoU of the pixels in any found box with those in any true one; 1 where there are none."""
    regions = np.zeros((2, size[1], size[0]), bool)
    for region, boxes in zip(regions, (found, true), strict=True):
        for x0, y0, x1, y1 in np.round(np.array(boxes, float).reshape(-1, 4)).astype(int):
            region[max(y0, 0) : y1, max(x0, 0) : x1] = True
    union = np.count_nonzero(regions.any(axis=0))
    return np.count_nonzero(regions.all(axis=0)) / union if union else 1.0


def outcomes(found: Boxes, texts: Sequence[Text]) -> pd.DataFrame:
    """Scores the set of boxes of each text.

    Returns:
        One row per text: `text`, `image_id`, `targets`, `boxes` (found), `exact` (each true box is matched,
        and no box is left over: F1 = 1 in gRefCOCO's words; without a target: no box) and `region`
        (`region_iou`, whose mean is gIoU).
    """
    rows = []
    for one in texts:
        boxes, true = found[one.name], one.boxes
        exact = len(boxes) == len(true) == right_boxes(boxes, true)
        row = {"text": one.name, "image_id": one.sample.image_id, "targets": len(true), "boxes": len(boxes)}
        rows.append(row | {"exact": exact, "region": region_iou(boxes, true, one.sample.size)})
    return pd.DataFrame(rows)


NAMES = {0: "no target", 1: "one target", 2: "two targets"}


def by_targets(found: Mapping[str, pd.DataFrame], column: str, seed: int = 0) -> pd.DataFrame:
    """Computes the mean of `exact` or `region` for each number of targets and each way.

    With `exact`, that of no target is gRefCOCO's N-acc, the others are its Pr@(F1 = 1).

    Returns:
        Columns `group`, `variant`, `samples`, `value`, `low`, `high` (95 %, pictures resampled).
    """
    rows = []
    for variant, table in found.items():
        groups = [*((NAMES.get(int(n), f"{n} targets"), part) for n, part in table.groupby("targets"))]
        for group, some in [*groups, ("all", table)]:
            values = some[column].to_numpy(float)
            interval = vars(mean_interval(values, some.image_id.to_numpy(), seed=seed))
            row = {"group": group, "variant": variant, "samples": len(some), "value": values.mean()}
            rows.append(row | interval)
    return pd.DataFrame(rows)


def best_exact_threshold(words: pd.DataFrame, score: str, texts: Sequence[Text], steps: int = 25) -> float:
    """Returns the threshold of a score at which most texts get exactly their boxes, on training texts.

    `steps` quantiles of the score are tried; of equal ones the highest counts.
    """
    tried = np.unique(np.quantile(words[score].to_numpy(float), np.linspace(0, 1, steps)))[::-1]
    right = [
        outcomes(targets_of(words, words[score] >= at, score, texts), texts).exact.mean() for at in tried
    ]
    return float(tried[int(np.argmax(right))])
