"""Measures what single heads overlap with: the object that is meant, or a rival of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float

from locheads.data.samples import Sample
from locheads.evaluation.intervals import mean_interval
from locheads.method.head_iou import iou_per_head
from locheads.method.selection import Head, Selection
from locheads.model.lvlm import Lvlm, coverage_of
from locheads.studies.across_models import Compared

Group = Bool[np.ndarray, "layer head"]


def groups_of(selection: Selection) -> dict[str, Group]:
    """Returns the heads to compare: the localization heads, all that pass τ, and all of the model."""
    chosen = np.zeros_like(selection.passing)
    for head in selection.heads:
        chosen[head] = True
    return {
        "localization heads": chosen,
        "all that pass τ": selection.passing,
        "all heads": np.ones_like(chosen),
    }


def group_means(
    iou: Float[np.ndarray, "sample layer head"],
    groups: Mapping[str, Group],
    pictures: Sequence[str],
    seed: int = 0,
) -> pd.DataFrame:
    """Returns the mean IoU of single heads per group, with a 95 % interval over pictures.

    Args:
        iou: IoU per sample and head, in [0, 1].
        groups: Heads by name of the group.
        pictures: Image id of each sample.
        seed: Of the bootstrap.

    Returns:
        One row per group: `heads`, `mean IoU [%]`, `low`, `high`, all but the first in per cent.
    """
    rows = {}
    for name, members in groups.items():
        per_sample = 100 * iou[:, members].mean(axis=1)
        interval = mean_interval(per_sample, np.array(pictures), seed=seed)
        rows[name] = [int(members.sum()), per_sample.mean(), interval.low, interval.high]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["heads", "mean IoU [%]", "low", "high"])


def rival_pairs(samples: Sequence[Sample]) -> list[tuple[int, int]]:
    """Returns the positions of each two expressions of one picture that mean different objects, both ways."""
    return [
        (a, b)
        for a, b in permutations(range(len(samples)), 2)
        if samples[a].image_id == samples[b].image_id and samples[a].box != samples[b].box
    ]


def rival_iou(
    lvlm: Lvlm, samples: Sequence[Sample], measured: xr.Dataset, heads: Sequence[Head]
) -> pd.DataFrame:
    """Compares each head's IoU with the object that is meant and with a rival object of the same picture.

    Rivals are objects that another expression of the samples names. The IoU is that of the head's own map,
    binarised at its mean, as in the profile.

    Args:
        lvlm: The model that gave the maps.
        samples: With masks.
        measured: Their profile, with maps, in the same order.
        heads: The heads to compare.

    Returns:
        One row per head: `meant [%]` and `rival [%]`, means over the same pairs, and `pairs`. NaN without a
        pair.
    """
    pairs = rival_pairs(samples)
    coverage = np.stack([coverage_of(lvlm, sample) for sample in samples])
    asked, rival = np.array(pairs, int).reshape(-1, 2).T
    rows = []
    for head in heads:
        maps = measured.maps[:, head.layer, head.head].values[asked, None]
        against = [iou_per_head(maps, coverage[of], sigma=0.0)[:, 0] for of in (asked, rival)]
        meant, other = (100 * one.mean() if len(one) else np.nan for one in against)
        rows.append({"head": str(head), "meant [%]": meant, "rival [%]": other, "pairs": len(pairs)})
    return pd.DataFrame(rows).set_index("head")


def best_by_iou(profiled: xr.Dataset, k: int = 3, skipped_layers: int = 2) -> tuple[Head, ...]:
    """Returns the `k` heads of the highest mean IoU: a choice that knows the masks, as a ceiling."""
    iou = profiled.iou.mean("sample").values.copy()
    iou[:skipped_layers] = -np.inf
    order = np.argsort(-iou, axis=None, kind="stable")[:k]
    return tuple(Head(*map(int, np.unravel_index(at, iou.shape))) for at in order)


def summary(one: Compared, table: pd.DataFrame, rivals: pd.DataFrame, held_out: int) -> dict[str, Any]:
    """Returns the numbers of selection frequency and IoU, ready for `save_results`.

    Args:
        one: The heads with their ρ.
        table: From `group_means` of `groups_of`.
        rivals: From `rival_iou` of the localization heads.
        held_out: On how many expressions the IoU was measured.
    """
    rho = {
        "spearman_rho": one.correlation.rho,
        "spearman_p": one.correlation.p_value,
        "spearman_ci_low": one.correlation.low,
        "spearman_ci_high": one.correlation.high,
    }
    means = dict(zip(("selected", "passing", "all"), table["mean IoU [%]"] / 100, strict=True))
    values = rho | {f"mean_iou_{name}": mean for name, mean in means.items()}
    values["mean_iou_selected_meant"] = rivals["meant [%]"].mean() / 100
    values["mean_iou_selected_rival"] = rivals["rival [%]"].mean() / 100
    defined = {name: float(value) if np.isfinite(value) else None for name, value in values.items()}
    return defined | {"n_heads": one.correlation.n, "samples": one.samples, "held_out_samples": held_out}
