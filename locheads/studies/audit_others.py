"""Sets what others measured beside the audit's own numbers."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from locheads.paper.open_choices import ATTEMPTS, INDEPENDENT_RUN, named_heads_frame


def independent_run() -> str:
    """Returns in words which of the paper's heads the independent run finds among its first three."""
    run, named = INDEPENDENT_RUN, named_heads_frame().dropna(subset="rank in the paper")
    ranks = ", ".join(f"{row['head']} {row['rank in the run']}" for _, row in named.iterrows())
    again = named[named["rank in the run"] <= len(named)]["head"]
    return (
        f"{run.source}, {run.model}, {run.samples} samples, {run.kept} heads kept, "
        f"expressions {run.expressions}: {len(again)} of {len(named)} again ({', '.join(again)}); "
        f"ranks there: {ranks}"
    )


def boxes_beside(here: Mapping[str, tuple[float, float]], model: str) -> pd.DataFrame:
    """Returns others' Acc@0.5 on RefCOCO val beside some of this run, each with the score it is held against.

    Args:
        here: Description → score and the score to compare it with, both in [0, 1].
        model: Name of the model of this run.
    """
    theirs = [
        (one.what, one.source, one.value, one.against, one.meaning_of_against)
        for one in ATTEMPTS if one.what.startswith("RefCOCO val")
    ]  # fmt: skip
    ours = [
        (what, f"{model}, here", 100 * a, 100 * b, "the paper's reading") for what, (a, b) in here.items()
    ]
    columns = ["what", "source", "Acc@0.5 [%]", "held against [%]", "which is"]
    return pd.DataFrame(theirs + ours, columns=columns).round(1)
