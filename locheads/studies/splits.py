"""Shows scores of heads over splits: as text, as bars, and beside the paper's Tables 1 and 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from locheads.evaluation.scores import in_percent, named
from locheads.paper.tables import REFER_SPLITS

REFCOCO = REFER_SPLITS
"""The data sets and splits of Tables 1 and 2."""

PAPERS_MODEL = "LLaVA-1.5-7B"
KEYS = ["metric", "dataset", "split"]

Bars = dict[str, tuple[float, float, float]]
"""Name → value with its interval, in [0, 1]."""


def by_metric(table: pd.DataFrame) -> pd.DataFrame:
    """Returns scores as text, `76.0 [68.0, 84.0]`: rows by metric and split, columns by choice of heads."""
    return in_percent(table.sort_values("metric", kind="stable"), KEYS, "heads")


def bars(table: pd.DataFrame, metric: str) -> dict[str, Bars]:
    """Returns the scores of one metric for `plotting.score_bars`: split → heads → value with interval."""
    some = table[table.metric == metric]
    return {
        f"{dataset} {split}": {row.heads: (row.value, row.low, row.high) for row in group.itertuples()}
        for (dataset, split), group in some.groupby(["dataset", "split"], sort=False)
    }


def first_bars(table: pd.DataFrame) -> Bars:
    """Returns REC Acc@0.5 of each choice of heads on the first split, for `plotting.finding`."""
    first = next(iter(bars(table, "rec_acc50").values()))
    return {f"{heads}\nheads": value for heads, value in first.items()}


def beside_paper(
    table: pd.DataFrame, reported: Callable[[str, str, str, str], float], name: str
) -> pd.DataFrame:
    """Returns the localization heads' scores beside the paper's of LLaVA-1.5-7B, in per cent.

    Args:
        table: From `evaluation.scores.scores`.
        reported: The paper's number of a task, model, data set and split; NaN where it has none.
        name: Name of this model.
    """
    own = table[table.heads == "localization"].sort_values("metric", kind="stable")
    papers = [reported(r.metric[:3], PAPERS_MODEL, r.dataset, r.split) for r in own.itertuples()]
    columns = {f"paper, {PAPERS_MODEL} [%]": papers, f"{name}, here [%]": (100 * own.value).round(1)}
    return own[KEYS].assign(**columns).set_index(KEYS)


def times_chance(controls: pd.DataFrame, name: str) -> str:
    """Returns the localization heads' share of hits beside that of random heads, as a sentence."""
    own, chance = (controls.loc[(name, which)] for which in ("localization", "random"))
    apart = "intervals apart" if own.low > chance.high else "intervals overlap"
    return f"{own.value:.1f} % against {chance.value:.1f} % of random heads that pass τ, {apart}"


def summary(
    table: pd.DataFrame, controls: pd.DataFrame, best: Float[np.ndarray, " n"], held_out: int
) -> dict[str, Any]:
    """Returns the numbers of the study, ready for `save_results`.

    Args:
        table: Scores by split and choice of heads.
        controls: REC Acc@0.5 in per cent by choice of heads, on RefCOCO val.
        best: IoU of the boxes of the true masks.
        held_out: How many expressions of each split were grounded.
    """
    results: dict[str, Any] = named(table[table.heads == "localization"], "{metric}_{dataset}_{split}")
    results |= named(table[table.heads == "random"], "{metric}_{dataset}_{split}_random")
    for which, row in controls.iterrows():
        results |= {f"rec_acc50_{which}_control": row.value / 100}
    return results | {"ceiling_rec_acc50_refcoco_val": float((best >= 0.5).mean()), "held_out": held_out}
