"""Measures the effects of the audit's choices: paired differences in ρ, a ranking of all effects, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped
from scipy import stats

from locheads.evaluation.intervals import (
    RESAMPLES,
    corrected,
    expected_by_chance,
    p_value,
    percentiles,
    resampled_sums,
)
from locheads.evaluation.scores import in_percent
from locheads.method.selection import Head, name_of
from locheads.studies.audit import Chosen
from locheads.studies.audit_readings import (
    AS_SHIPPED,
    CRITERIA_ONLY,
    DEFAULT,
    PRESETS,
    Reading,
    differing,
    parts_of,
)

METRICS = {"rec_acc50": "Acc@0.5 [points]", "res_ciou": "cIoU [points]", "spearman": "Spearman's ρ"}
"""The audit's metrics, and how tables and figures head their differences."""


def correlation_differences(
    chosen: Mapping[str, Chosen],
    iou: Mapping[str, Float[np.ndarray, "other layer head"]],
    pictures: tuple[Shaped[np.ndarray, " sample"], Shaped[np.ndarray, " other"]],
    least: float = 0.01,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> pd.DataFrame:
    """Returns the change of Spearman's ρ (selection frequency against mean IoU over heads) by each reading.

    The pictures of both the selection and the IoU are drawn anew, the same draws for every reading; τ stays
    that of all samples. Heads chosen less often than `least` in a draw are left out of it.

    Args:
        chosen: Candidates by reading, with `DEFAULT` among them.
        iou: IoU of every head on other samples, by reading; where a reading is missing, that of `DEFAULT`.
        pictures: The picture of each sample of `chosen`, and of each sample of `iou`.
        least: The least selection frequency, in [0, 1], as in figure 12.
        resamples: How often the pictures are drawn; many comparisons need many for a small enough `p`.
        seed: Of the draws.

    Returns:
        Columns `variant`, `metric` ("spearman"), `value` (ρ − ρ of `DEFAULT`), `low`, `high` (95 % interval,
        paired), `p` (two-sided, of the same draws), `rho`. NaN where there is no correlation.
    """
    rho = {}
    for name, one in chosen.items():
        frequency = _means(one, pictures[0], resamples, seed)
        mean_iou = _means(iou.get(name, iou[DEFAULT]), pictures[1], resamples, seed + 1)
        rho[name] = _rhos(frequency, mean_iou, least)
    rows = []
    for name, values in rho.items():
        difference = values - rho[DEFAULT]
        found = vars(percentiles(difference[1:])) | {"p": p_value(difference[1:]), "rho": values[0]}
        rows.append({"variant": name, "metric": "spearman", "value": difference[0]} | found)
    return pd.DataFrame(rows)


def _means(
    values: np.ndarray, pictures: Shaped[np.ndarray, " n"], resamples: int, seed: int
) -> Float[np.ndarray, "resample_and_one head"]:
    """Returns the mean over samples of each head: first that of all, then those of resampled pictures."""
    flat = values.reshape(len(values), -1).astype(float)
    counted = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
    sums = resampled_sums(counted, pictures, np.random.default_rng(seed), resamples)
    return np.concatenate([flat.mean(axis=0, keepdims=True), sums[:, :-1] / sums[:, -1:]])


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


def without_effect(effects: pd.DataFrame) -> list[str]:
    """Returns the variants whose every difference, interval included, is 0 or does not exist."""
    moved = (effects[["value", "low", "high"]].fillna(0.0) != 0).any(axis=1)
    return [name for name, some in moved.groupby(effects.variant, sort=False) if not some.any()]


def in_points(effects: pd.DataFrame) -> pd.DataFrame:
    """Returns differences of scores in percentage points; those of ρ stay as they are."""
    columns, scores = ["value", "low", "high"], effects.metric != "spearman"
    return effects.assign(**{name: effects[name].where(~scores, 100 * effects[name]) for name in columns})


def comparisons(effects: pd.DataFrame) -> pd.DataFrame:
    """Counts, for each metric, the differences that stand out, those expected by chance, and Holm's.

    Args:
        effects: With `p`; a difference that is 0 in every resample is no comparison.

    Returns:
        One row per metric: how many comparisons, how many have an interval without 0, how many of so many
        would by chance, and how many survive Holm's correction.
    """
    moved = effects[~effects.variant.isin(without_effect(effects))].dropna(subset="p")
    table = corrected(moved).assign(clear=(moved.low > 0) | (moved.high < 0))
    found = table.groupby("metric").agg(
        comparisons=("p", "size"), standing_out=("clear", "sum"), surviving=("survives", "sum")
    )
    chance = [expected_by_chance(int(count)) for count in found.comparisons]
    found.insert(2, "expected by chance", chance)
    named = {"standing_out": "interval without 0", "surviving": "survive Holm's correction"}
    return found.rename(columns=named, index=METRICS)


def listing(effects: pd.DataFrame, order: Sequence[str]) -> pd.DataFrame:
    """Returns a table of `difference [low, high]`: one row per variant, one column per metric.

    Scores are in percentage points. A star marks what survives Holm's correction; cells without a value are
    empty.

    Args:
        effects: Columns `variant`, `metric`, `value`, `low`, `high`, `p`.
        order: Variants, from the top down.
    """
    starred = corrected(in_points(effects))
    columns = ["metric", "value", "low", "high", "survives"]
    cells = starred.assign(text=[_written(*row) for row in starred[columns].itertuples(index=False)])
    table = cells.pivot(index="variant", columns="metric", values="text").reindex(order)[list(METRICS)]
    return table.fillna("").rename(columns=METRICS).rename_axis(index=None, columns=None)


def _written(metric: str, value: float, low: float, high: float, survives: bool) -> str:
    if np.isnan(value):
        return ""
    digits = 3 if metric == "spearman" else 1
    text = f"{value:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"
    return "0" if value == low == high == 0 else text + (" *" if survives else "")


def cost_of_greed(table: pd.DataFrame) -> pd.DataFrame:
    """Returns what greedy selection costs: each release as shipped less its criteria with fixed heads.

    Args:
        table: From `scores.scores`, by `variant`; releases without fixed heads are left out.

    Returns:
        One row per release as shipped: its Acc@0.5, that of its criteria with fixed heads and that of the
        paper's reading, in %, and the second less the first, in points.
    """
    hits = 100 * table[table.metric == "rec_acc50"].set_index("variant").value
    rows = {
        shipped: {
            "as shipped [%]": hits[shipped],
            "its criteria, heads fixed [%]": hits[fixed],
            "the paper's reading [%]": hits[DEFAULT],
            "greedy costs [points]": hits[fixed] - hits[shipped],
        }
        for shipped in AS_SHIPPED for fixed in CRITERIA_ONLY
        if shipped.split(",")[0] == fixed.split(",")[0] and {shipped, fixed} <= set(hits.index)
    }  # fmt: skip
    return pd.DataFrame(rows).T


def found_heads(
    chosen: Mapping[str, Chosen], heads: Mapping[str, tuple[Head, ...]], wanted: Mapping[str, Reading]
) -> pd.DataFrame:
    """Returns the fixed heads of each reading whose candidates differ from the paper's reading.

    Args:
        chosen: From `audit.chosen_by`.
        heads: From `audit.heads_of`.
        wanted: The readings by name.

    Returns:
        One row per reading, the paper's first: its parameters that differ, the share of candidates in common
        with the paper's (intersection over union), and its heads.
    """
    base = chosen[DEFAULT]
    moved = [name for name in chosen if name == DEFAULT or (chosen[name] != base).any()]
    common = [(chosen[name] & base).sum() / max((chosen[name] | base).sum(), 1) for name in moved]
    columns = {
        "parameters": [", ".join(differing(wanted[name])) for name in moved],
        "candidates in common [%]": [round(100 * float(share)) for share in common],
        "heads": [name_of(heads[name]) for name in moved],
    }
    return pd.DataFrame(columns, index=moved)


def wholes_and_parts(effects: pd.DataFrame) -> pd.DataFrame:
    """Returns the effect of each release's criteria as a whole beside the sum of its choices' effects.

    Args:
        effects: In points, with the alternatives and `CRITERIA_ONLY` among the variants.
    """
    value = effects.pivot(index="variant", columns="metric", values="value")[list(METRICS)]
    rows = {}
    for name, reading in CRITERIA_ONLY.items():
        rows[f"{name}, as a whole"] = value.loc[name]
        rows[f"{name}, sum of its parts"] = value.loc[parts_of(reading)].sum()
    return pd.DataFrame(rows).T.rename(columns=METRICS)


def saved(table: pd.DataFrame, effects: pd.DataFrame, rho: float) -> dict[str, object]:
    """Returns the audit's named numbers: scores in [0, 1] of default and releases, and every difference.

    Args:
        table: From `scores.scores`, by `variant`.
        effects: Columns `variant`, `metric`, `value`, `low`, `high`, `p`.
        rho: Spearman's ρ of the default; where it is NaN, None is saved.
    """
    names = {DEFAULT: "default"} | {
        name: f"{name.split(',')[0].replace(' ', '_')}_{_kind(name)}" for name in PRESETS
    }
    shown = table[table.variant.isin(names)]
    found = {f"{row.metric}_{names[row.variant]}": row.value for row in shown.itertuples()}
    found["spearman_default"] = None if np.isnan(rho) else rho
    records = effects[["variant", "metric", "value", "low", "high", "p"]].sort_values(["variant", "metric"])
    return found | {"effects": records.astype(object).where(records.notna(), None).to_dict("records")}


def _kind(name: str) -> str:
    return f"as_shipped_{name.rsplit(' ', 1)[1]}" if name in AS_SHIPPED else "criteria"


def by_variant(table: pd.DataFrame) -> pd.DataFrame:
    """Returns scores with their intervals in %: one row per variant, one column per metric.

    Args:
        table: From `scores.scores`, by `variant`.
    """
    cells = in_percent(table, "variant")
    names = {"rec_acc50": "Acc@0.5 [%]", "res_ciou": "cIoU [%]"}
    return cells[list(names)].rename(columns=names).rename_axis(index=None, columns=None)


def released(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the scores of the paper's reading and of both releases, as shipped and by their criteria alone.

    Args:
        table: From `scores.scores`, by `variant`.
    """
    cells = by_variant(table)
    return cells.loc[[name for name in (DEFAULT, *AS_SHIPPED, *CRITERIA_ONLY) if name in cells.index]]


def _rhos(
    frequency: Float[np.ndarray, "row head"], iou: Float[np.ndarray, "row head"], least: float
) -> Float[np.ndarray, " row"]:
    """Computes ρ over the often chosen heads of each row; NaN where there are too few, or all are equal."""
    often = frequency >= least
    ranks = [
        stats.rankdata(np.where(often, values, np.nan), axis=1, nan_policy="omit")
        for values in (frequency, iou)
    ]
    count = often.sum(axis=1)
    x, y = (np.where(often, rank - ((count + 1) / 2)[:, None], 0.0) for rank in ranks)  # about their mean
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    there = (count >= 3) & (scale > 0)
    return np.divide((x * y).sum(axis=1), scale, out=np.full(len(x), np.nan), where=there)
