"""Compares the two criteria, alone and together, with heads fixed or chosen per sample (Table 5)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool

from locheads import paper
from locheads.evaluation.evaluate import Variant
from locheads.method.criteria import curvature_threshold
from locheads.method.frequency import frequency_over_trials
from locheads.method.selection import Criterion, Head, candidates, greedy_heads, top_heads

CRITERIA: tuple[Criterion, ...] = ("attention_sum", "entropy", "both")
"""The columns of Table 5."""

MODEL = "LLaVA-1.5-13B"
"""The model of Table 5."""


def criteria_variants(
    profiled: xr.Dataset, held_out: xr.Dataset, k: int = 3, kept: int = 10, seed: int = 0
) -> dict[str, Variant]:
    """Returns the variants of Table 5: heads fixed or greedy, by attention sum alone, entropy alone, or both.

    Args:
        profiled: The profile from which the threshold and the fixed heads come.
        held_out: The profile of the samples to ground; greedy selection takes each one's own best heads.
        k: How many heads.
        kept: Candidates per sample, for the fixed heads.
        seed: Of the five trials.

    Returns:
        Variants by name, as in `"fixed_both"` and `"greedy_attention_sum"`.

    Raises:
        ValueError: When fewer than `k` heads were ever chosen.
    """
    own_sums, own_entropies = held_out.attention_sum.values, held_out.spatial_entropy.values
    sums, entropies = profiled.attention_sum.values, profiled.spatial_entropy.values
    tau = curvature_threshold(sums.mean(0)).value
    variants = {}
    for use in CRITERIA:
        chosen = candidates(sums, entropies, tau, kept, use=use)
        variants[f"greedy_{use}"] = Variant(greedy_heads(own_sums, own_entropies, tau, k, use=use))
        variants[f"fixed_{use}"] = Variant(top_heads(frequency_over_trials(chosen, seed), k))
    return variants


def fixed_heads(variants: Mapping[str, Variant], profiled: xr.Dataset, held_out: xr.Dataset) -> pd.DataFrame:
    """Describes the heads that each criterion fixes.

    Args:
        variants: From `criteria_variants`.
        profiled: The profile from which the heads come; their attention sums are measured on it.
        held_out: The profile on which the IoU of each head alone is measured.

    Returns:
        One row per criterion and head: `attention sum` and `IoU [%]`, each the mean over samples.
    """
    sums, ious = profiled.attention_sum.mean("sample").values, held_out.iou.mean("sample").values
    rows = []
    for use in CRITERIA:
        heads = _fixed(variants, use)
        rows += [(use.replace("_", " "), str(head), sums[head], 100 * ious[head]) for head in sorted(heads)]
    columns = ["criterion", "head", "attention sum", "IoU [%]"]
    return pd.DataFrame(rows, columns=columns).set_index(["criterion", "head"])


def _fixed(variants: Mapping[str, Variant], use: Criterion) -> tuple[Head, ...]:
    """Returns the heads that a criterion fixes for all samples."""
    heads = variants[f"fixed_{use}"].heads
    assert isinstance(heads, tuple)
    return heads


@dataclass(frozen=True)
class Reach:
    """Says how much each criterion can sort out.

    Attributes:
        heads: How many heads there are behind the first two layers.
        passing: How many of them pass τ.
        attentive: Share of them whose mean attention sum exceeds one half.
        at_zero: Median number of passing heads whose entropy is 0 in a sample: a single component.
        tied: Share of samples in which more than `k` of them tie at 0, so that the attention sum decides.
        same: Share of samples in which the greedy choice by both criteria is that of the fixed heads.
    """

    heads: int
    passing: int
    attentive: float
    at_zero: float
    tied: float
    same: float


def reach_of(
    variants: Mapping[str, Variant],
    held_out: xr.Dataset,
    passing: Bool[np.ndarray, "layer head"],
    skipped_layers: int = 2,
) -> Reach:
    """Measures how many heads the first criterion lets pass, and how often the second one ties.

    Args:
        variants: From `criteria_variants`, like the following.
        held_out: The profile of the samples that are grounded.
        passing: The heads that pass τ, as in `Selection.passing`.
        skipped_layers: The first layers, which are left out.
    """
    fixed, greedy = _fixed(variants, "both"), np.asarray(variants["greedy_both"].heads)
    sums = held_out.attention_sum.mean("sample").values[skipped_layers:]
    zeros = (held_out.spatial_entropy.values[:, passing] == 0).sum(axis=1)
    same = [set(map(tuple, own)) == set(fixed) for own in greedy.tolist()]
    return Reach(
        heads=sums.size,
        passing=int(passing.sum()),
        attentive=float((sums > 0.5).mean()),
        at_zero=float(np.median(zeros)),
        tied=float((zeros > len(fixed)).mean()),
        same=float(np.mean(same)),
    )


def beside_table5(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Puts scores beside those of Table 5, in per cent.

    Args:
        table: From `evaluation.scores.scores`, by variant.
        name: Name of the model that has these scores.

    Returns:
        One row per way of choosing, in the paper's order; columns: the paper's REC and RES, then the model's.
    """
    value = 100 * table.pivot(index="variant", columns="metric", values="value")
    rows = {}
    for how in ("greedy", "fixed"):
        for use in CRITERIA:
            setting, mine = f"{how}, {use.replace('_', ' ')}", value.loc[f"{how}_{use}"]
            theirs = [paper.reported(task, MODEL, "refcoco", "val", setting).value for task in ("rec", "res")]
            rows[setting] = [*theirs, mine.rec_acc50, mine.res_ciou]
    columns = ["paper REC [%]", "paper RES [%]", f"{name} REC [%]", f"{name} RES [%]"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("selection")


def comparisons(beside: pd.DataFrame) -> pd.DataFrame:
    """Compares what Table 5 shows with what a model shows, one finding of the table at a time.

    Args:
        beside: From `beside_table5`.

    Returns:
        One row per finding: differences of REC Acc@0.5 in percentage points, `paper` and `here`.
    """
    pairs = {
        "both, fixed - greedy": ("fixed, both", "greedy, both"),
        "fixed, both - attention sum alone": ("fixed, both", "fixed, attention sum"),
        "fixed, both - entropy alone": ("fixed, both", "fixed, entropy"),
        "greedy, both - attention sum alone": ("greedy, both", "greedy, attention sum"),
        "greedy, both - entropy alone": ("greedy, both", "greedy, entropy"),
    }
    theirs, mine = beside["paper REC [%]"], beside.filter(like="REC").iloc[:, 1]
    rows = {what: [theirs[a] - theirs[b], mine[a] - mine[b]] for what, (a, b) in pairs.items()}
    return pd.DataFrame.from_dict(rows, orient="index", columns=["paper", "here"]).rename_axis("in points")
