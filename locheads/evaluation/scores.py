"""Computes scores of boxes (REC) and masks (RES), and their differences, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Real

from locheads.evaluation.intervals import p_value, percentiles, resampled_ratios
from locheads.evaluation.metrics import Overlap

METRICS = ("rec_acc50", "res_ciou")
"""The metrics that the paper's tables of RefCOCO report."""


def scores(
    outcomes: pd.DataFrame,
    seed: int = 0,
    by: Sequence[str] = ("dataset", "split", "heads"),
    metrics: Sequence[str] = METRICS,
) -> pd.DataFrame:
    """Computes REC Acc@0.5, RES cIoU and gIoU of every group of outcomes, in [0, 1].

    Args:
        outcomes: Rows from `evaluate` or `evaluate_variants`, with the columns of `by`.
        seed: Seed of the bootstrap over pictures, and over draws where there are several.
        by: Columns to group by.
        metrics: Any of `rec_acc50`, `res_ciou` and `res_giou`. Those of masks are left out of a group in
            which a sample has none.

    Returns:
        One row per group and metric: the columns of `by`, `metric`, `value`, and `low` and `high` of the 95 %
        interval, which carries the choice of pictures and of draws. The value of a random choice is the mean
        over its draws.
    """
    rows = []
    for key, group in outcomes.groupby(list(by), sort=False):
        measured, pictures = _parts(group)
        for metric in (one for one in metrics if one in measured):
            interval = percentiles(resampled_ratios(measured[metric], pictures, seed=seed))
            value = {"metric": metric, "value": _ratio(measured[metric])}
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


def in_percent(table: pd.DataFrame, index: str | list[str], columns: str = "metric") -> pd.DataFrame:
    """Returns scores with their intervals as text, `76.0 [68.0, 84.0]`: the rows in the order of the table.

    Args:
        table: Scores: `value`, `low` and `high` in [0, 1], and the columns that are named here.
        index: What the rows are.
        columns: What the columns are.

    Example:
        >>> one = {"metric": "rec_acc50", "variant": "k3", "value": 0.76, "low": 0.68, "high": 0.84}
        >>> in_percent(pd.DataFrame([one]), "variant").loc["k3", "rec_acc50"]
        '76.0 [68.0, 84.0]'
    """
    rows = 100 * table[["value", "low", "high"]].to_numpy()
    wide = table.assign(text=[f"{value:.1f} [{low:.1f}, {high:.1f}]" for value, low, high in rows])
    wide = wide.pivot(index=index, columns=columns, values="text")
    return wide.reindex(table.set_index(index).index.unique())


def differences(
    outcomes: pd.DataFrame, reference: str, seed: int = 0, metrics: Sequence[str] = METRICS
) -> pd.DataFrame:
    """Computes the difference of every variant's scores from a reference, paired by sample.

    Args:
        outcomes: Rows from `evaluate_variants`.
        reference: The variant that is subtracted.
        seed: Seed of the bootstrap over pictures, and over draws where there are several.
        metrics: As in `scores`.

    Returns:
        Columns `variant`, `metric`, `value` (variant − reference, in [-1, 1]), `low`, `high` (95 % intervals
        over pictures, paired) and `p` (two-sided, of the same resamples).
    """
    groups = {str(name): _parts(group) for name, group in outcomes.groupby("variant", sort=False)}
    rows = []
    for name, (measured, pictures) in groups.items():
        for metric in (one for one in metrics if one in measured):
            parts, base = measured[metric], groups[reference][0][metric]
            gains = resampled_ratios(parts, pictures, seed=seed) - resampled_ratios(base, pictures, seed=seed)
            found = {"value": _ratio(parts) - _ratio(base)} | vars(percentiles(gains)) | {"p": p_value(gains)}
            rows.append({"variant": name, "metric": metric} | found)
    return pd.DataFrame(rows)


def _parts(group: pd.DataFrame) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns, per metric, numerators and denominators `[n draw 2]`, and the picture of each sample."""
    draws = group["draw"].nunique() if "draw" in group else 1
    pictures = group["image_id"].to_numpy()[::draws]
    ious = group["box_iou"].to_numpy(float).reshape(-1, draws)
    ones = np.ones_like(ious)
    boxes = {"rec_acc50": np.stack([ious >= 0.5, ones], axis=-1)}
    if group["union"].isna().any():
        return boxes, pictures
    areas = group[["intersection", "union"]].to_numpy().astype(np.int64).reshape(-1, draws, 2)
    mask_ious = Overlap(areas[..., 0], areas[..., 1]).iou
    return {**boxes, "res_ciou": areas, "res_giou": np.stack([mask_ious, ones], axis=-1)}, pictures


def _ratio(parts: Real[np.ndarray, "n draw 2"]) -> float:
    """Returns the ratio of the sums, averaged over draws."""
    totals = parts.sum(0)
    return float((totals[:, 0] / totals[:, 1]).mean())
