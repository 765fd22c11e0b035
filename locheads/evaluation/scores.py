"""Computes scores of boxes (REC) and masks (RES), and their differences, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Real

from locheads.evaluation.metrics import (
    Overlap,
    bootstrap_interval,
    paired_difference_interval,
    resample_means,
)

METRICS = ("rec_acc50", "res_ciou")
"""The metrics that the paper's tables of RefCOCO report."""

Statistic = Callable[[np.ndarray], np.ndarray]


def scores(
    outcomes: pd.DataFrame,
    seed: int = 0,
    by: Sequence[str] = ("dataset", "split", "heads"),
    metrics: Sequence[str] = METRICS,
) -> pd.DataFrame:
    """Computes REC Acc@0.5, RES cIoU and gIoU of every group of outcomes, in [0, 1].

    Args:
        outcomes: Rows from `evaluate` or `evaluate_variants`, with the columns of `by`.
        seed: Seed of the bootstrap over samples.
        by: Columns to group by.
        metrics: Any of `rec_acc50`, `res_ciou` and `res_giou`. Those of masks are left out of a group in
            which a sample has none.

    Returns:
        One row per group and metric: the columns of `by`, `metric`, `value`, and `low` and `high` of the 95 %
        interval. The value of a random choice is the mean over its draws.
    """
    rows = []
    for key, group in outcomes.groupby(list(by), sort=False):
        measured = _per_sample(group)
        for metric in (one for one in metrics if one in measured):
            values, statistic = measured[metric]
            interval = bootstrap_interval(values, statistic, seed=seed)
            value = {"metric": metric, "value": float(statistic(values[None])[0])}
            rows.append(dict(zip(by, key, strict=True)) | value | vars(interval))
    return pd.DataFrame(rows)


def named(table: pd.DataFrame, name: str) -> dict[str, float]:
    """Names scores for saving: the value, and its interval under the same name with `_low` and `_high`.

    Args:
        table: From `scores`.
        name: Template of the names, with the columns of the table in braces: `"{metric}_{variant}"`.
    """
    saved: dict[str, float] = {}
    for row in table.to_dict("records"):
        stem = name.format(**row)
        saved |= {stem: row["value"], f"{stem}_low": row["low"], f"{stem}_high": row["high"]}
    return saved


def differences(
    outcomes: pd.DataFrame, reference: str, seed: int = 0, metrics: Sequence[str] = METRICS
) -> pd.DataFrame:
    """Computes the difference of every variant's scores from a reference, paired by sample.

    Args:
        outcomes: Rows from `evaluate_variants`.
        reference: The variant that is subtracted.
        seed: Seed of the bootstrap over samples.
        metrics: As in `scores`.

    Returns:
        Columns `variant`, `metric`, `value` (variant − reference, in [-1, 1]), `low`, `high` (95 %
        intervals over samples, paired).
    """
    groups = {str(name): _per_sample(group) for name, group in outcomes.groupby("variant", sort=False)}
    rows = []
    for name, measured in groups.items():
        for metric in (one for one in metrics if one in measured):
            values, statistic = measured[metric]
            base = groups[reference][metric][0]
            interval = paired_difference_interval(values, base, statistic, seed=seed)
            value = float(statistic(values[None])[0] - statistic(base[None])[0])
            rows.append({"variant": name, "metric": metric, "value": value} | vars(interval))
    return pd.DataFrame(rows)


def _per_sample(group: pd.DataFrame) -> dict[str, tuple[np.ndarray, Statistic]]:
    """Returns, per metric, its values (one row per sample) and the statistic of a stack of resamples."""
    draws = group["draw"].nunique() if "draw" in group else 1
    hits = (group["box_iou"] >= 0.5).to_numpy(float).reshape(-1, draws)
    boxes: dict[str, tuple[np.ndarray, Statistic]] = {"rec_acc50": (hits.mean(1), resample_means)}
    if group["union"].isna().any():
        return boxes
    areas = group[["intersection", "union"]].to_numpy().reshape(-1, draws, 2)
    ious = Overlap(areas[..., 0], areas[..., 1]).iou
    return {**boxes, "res_ciou": (areas, _mean_ciou), "res_giou": (ious.mean(1), resample_means)}


def _mean_ciou(areas: Real[np.ndarray, "resample n draws 2"]) -> Float[np.ndarray, " resample"]:
    total = areas.sum(1)
    return (total[..., 0] / total[..., 1]).mean(-1)
