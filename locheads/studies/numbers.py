"""Grounds with one head, two heads and so on, and sets the scores beside the paper's Table 4."""

from __future__ import annotations

from typing import Any

import pandas as pd
import xarray as xr

from locheads import paper
from locheads.evaluation.evaluate import Variant
from locheads.evaluation.intervals import corrected
from locheads.evaluation.scores import METRICS, differences, named
from locheads.method.selection import Head, Selection

ALL = "all"
"""Name of the variant of every head that passes τ."""


def ranked(selection: Selection, measured: xr.Dataset) -> pd.DataFrame:
    """Returns the heads by rank, with their selection frequency and their own IoU in per cent."""
    iou = measured.iou.mean("sample").values
    rows = [[str(h), 100 * selection.frequency[h], 100 * iou[h]] for h in selection.heads]
    columns = ["head", "selection frequency [%]", "IoU of the head alone [%]"]
    return pd.DataFrame(rows, columns=columns, index=pd.RangeIndex(1, len(rows) + 1, name="k"))


def variants_of(selection: Selection) -> dict[str, Variant]:
    """Returns the variants `k1`, `k2`, … of the most frequent heads, and `all` that pass τ."""
    passing = tuple(Head(*map(int, place)) for place in zip(*selection.passing.nonzero(), strict=True))
    first = {f"k{k}": Variant(selection.heads[:k]) for k in range(1, len(selection.heads) + 1)}
    return {**first, ALL: Variant(passing)}


def counted(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the scores of the numbered variants, with the column `k`."""
    some = table[table.variant != ALL]
    return some.assign(k=some.variant.str[1:].astype(int))


def against_three(outcomes: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Returns the paired difference of each variant to three heads, with Holm's correction per metric.

    Returns:
        As `evaluation.scores.differences`, without three heads themselves, and `survives`.
    """
    gains = differences(outcomes, "k3", seed=seed)
    return corrected(gains[gains.variant != "k3"].reset_index(drop=True))


def verdict(gains: pd.DataFrame) -> str:
    """Returns, for one metric, which variants are better and worse than three heads by their intervals."""
    better, worse = gains.variant[gains.low > 0], gains.variant[gains.high < 0]
    named_or_none = [", ".join(some) or "none" for some in (better, worse)]
    return f"better than three heads: {named_or_none[0]}; worse: {named_or_none[1]}"


def table4() -> pd.DataFrame:
    """Returns the paper's Table 4: one row per model and one of the means, one column per number of heads."""
    rows = paper.frame().query("table == 'Table 4'")
    return rows.pivot(index="model", columns="setting", values="value")


def printed_means() -> pd.DataFrame:
    """Returns the mean row that Table 4 prints, beside the means of its columns."""
    table = table4()
    models = table.drop("mean").mean()
    return pd.DataFrame({"printed mean": table.loc["mean"], "mean of the column": models})


def beside_table4(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Returns Table 4's models and this one: RES cIoU in per cent."""
    wide = counted(table).query("metric == 'res_ciou' and k <= 5").set_index("k").value
    here = (100 * wide).rename("k={}".format).rename(f"{name}, here").to_frame().T
    return pd.concat([table4().drop("mean"), here]).rename_axis(columns=None)


def papers_gains() -> dict[str, list[float]]:
    """Returns each of the paper's models' differences to three heads, in percentage points."""
    models = table4().drop("mean")
    return {str(name): list(row - row["k=3"]) for name, row in models.iterrows()}


def best(table: pd.DataFrame) -> dict[str, int]:
    """Returns the best number of heads by metric; of equal ones the fewest."""
    some = counted(table).sort_values("k", kind="stable")
    found = {metric: part.set_index("k").value.idxmax() for metric, part in some.groupby("metric")}
    return {metric: int(k) for metric, k in found.items() if metric in METRICS}


def summary(
    table: pd.DataFrame, best_numbers: pd.DataFrame, means: pd.DataFrame, held_out: int
) -> dict[str, Any]:
    """Returns the numbers of the study, ready for `save_results`.

    Args:
        table: Scores by variant.
        best_numbers: From `studies.levels.best_numbers`.
        means: From `printed_means`.
        held_out: How many expressions were grounded.
    """
    results: dict[str, Any] = named(table, "{metric}_{variant}")
    results |= {f"best_k_{metric[:3]}": k for metric, k in best(table).items()}
    for level, row in best_numbers.iterrows():
        results |= {f"best_k_at_{level:g}": int(row.k), f"rec_acc50_best_at_{level:g}": row.value / 100}
    printed, computed = means.loc["k=4"]
    return results | {
        "held_out": held_out,
        "table4_mean_k4_printed": float(printed),
        "table4_mean_k4_computed": float(computed),
    }
