"""Measures the effects of the audit's choices: paired differences in ρ, and a ranking of all effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy import stats

from locheads.studies.audit import Chosen
from locheads.studies.audit_readings import DEFAULT


def correlation_differences(
    chosen: Mapping[str, Chosen],
    iou: Mapping[str, Float[np.ndarray, "other layer head"]],
    least: float = 0.01,
    resamples: int = 500,
    seed: int = 0,
) -> pd.DataFrame:
    """Returns the change of Spearman's ρ (selection frequency against mean IoU over heads) by each reading.

    Both the samples of the selection and those of the IoU are drawn anew, the same draws for every reading;
    τ stays that of all samples. Heads chosen less often than `least` in a draw are left out of it.

    Args:
        chosen: Candidates by reading, with `DEFAULT` among them.
        iou: IoU of every head on other samples, by reading; where a reading is missing, that of `DEFAULT`.
        least: The least selection frequency, in [0, 1], as in figure 12.
        resamples: How often the samples are drawn.
        seed: Of the draws.

    Returns:
        Columns `variant`, `metric` ("spearman"), `value` (ρ − ρ of `DEFAULT`), `low`, `high` (95 % interval,
        paired), `p` (two-sided, of the same draws), `rho`. NaN where there is no correlation.
    """
    rng = np.random.default_rng(seed)
    some = iou[DEFAULT]
    drawn = [_counts(len(chosen[DEFAULT]), resamples, rng), _counts(len(some), resamples, rng)]
    rho = {}
    for name, one in chosen.items():
        by_head = (one.reshape(len(one), -1), iou.get(name, some).reshape(len(some), -1))
        frequency, mean_iou = (
            np.concatenate([values.mean(axis=0, keepdims=True), counts @ values / len(values)])
            for values, counts in zip(by_head, drawn, strict=True)
        )
        rho[name] = np.array([_rho(f, i, least) for f, i in zip(frequency, mean_iou, strict=True)])
    rows = []
    for name, values in rho.items():
        difference = values - rho[DEFAULT]
        known = difference[1:][np.isfinite(difference[1:])]
        low, high = np.percentile(known, [2.5, 97.5]) if len(known) else (np.nan, np.nan)
        rows.append({"variant": name, "metric": "spearman", "value": difference[0], "low": low, "high": high,
                     "rho": values[0]})  # fmt: skip
    return pd.DataFrame(rows)


def ranked(effects: pd.DataFrame) -> list[str]:
    """Ranks variants by the largest absolute difference in boxes or masks, then in ρ; ties keep their order.

    Args:
        effects: Columns `variant`, `metric`, `value`, as of `scores.differences` and
            `correlation_differences`.
    """
    size = effects.assign(value=effects.value.abs()).pivot(index="variant", columns="metric", values="value")
    size = size.reindex(effects.variant.unique()).fillna(0.0)
    order = pd.DataFrame({"score": size.drop(columns="spearman").max(axis=1), "rho": size.spearman})
    return list(order.sort_values(["score", "rho"], ascending=False, kind="stable").index)


def listing(effects: pd.DataFrame, order: Sequence[str], metrics: Mapping[str, str]) -> pd.DataFrame:
    """Returns a table of `difference [low, high]`: one row per variant, one column per metric.

    Cells without a value are empty.

    Args:
        effects: Columns `variant`, `metric`, `value`, `low`, `high`.
        order: Variants, from the top down.
        metrics: Which metrics, and what to call them.
    """
    cells = effects.assign(text=[_written(*row) for row in effects[["value", "low", "high"]].to_numpy()])
    table = cells.pivot(index="variant", columns="metric", values="text").reindex(order)[list(metrics)]
    return table.fillna("").rename(columns=dict(metrics)).rename_axis(index=None, columns=None)


def _written(value: float, low: float, high: float) -> str:
    if np.isnan(value):
        return ""
    return "0" if value == low == high == 0 else f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def _counts(n: int, resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "resample n"]:
    """Returns how often each of `n` samples is in each resample."""
    return rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(float)


def _rho(frequency: Float[np.ndarray, " head"], iou: Float[np.ndarray, " head"], least: float) -> float:
    often = frequency >= least
    if often.sum() < 3 or np.ptp(frequency[often]) == 0 or np.ptp(iou[often]) == 0:
        return np.nan
    x, y = stats.rankdata(frequency[often]), stats.rankdata(iou[often])
    return float(np.corrcoef(x, y)[0, 1])
