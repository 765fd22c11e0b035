"""Describes the heads that were selected from one profile."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float

from locheads.data.samples import Sample
from locheads.method.criteria import binarise, count_components
from locheads.method.selection import Head, Selection
from locheads.model.lvlm import Lvlm
from locheads.paper.tables import HEADS
from locheads.profiling.profile import maps_of

PAPERS_MODEL = "LLaVA-1.5-7B"


def most_scattered(selection: Selection, entropies: Float[np.ndarray, "layer head"]) -> Head:
    """Returns, of the heads that pass τ, the one of highest entropy."""
    return _head(np.where(selection.passing, entropies, -np.inf).argmax(), entropies.shape[1])


def components_of(profiled: xr.Dataset, selection: Selection) -> pd.DataFrame:
    """Compares the most frequent head with the least frequent one that passes τ.

    Returns:
        One row per head: `head`, `components per map` (mean) and `median entropy [nats]`.
    """
    least = _head(
        np.where(selection.passing, selection.frequency, np.inf).argmin(), selection.passing.shape[1]
    )
    rows = {}
    for name, (layer, head) in {
        "most frequent": selection.heads[0],
        "least frequent that passes": least,
    }.items():
        components = count_components(binarise(profiled.maps[:, layer, head].values)).mean()
        entropy = float(np.median(profiled.spatial_entropy[:, layer, head]))
        rows[name] = [str(Head(layer, head)), float(components), entropy]
    columns = ["head", "components per map", "median entropy [nats]"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def average_map(lvlm: Lvlm, sample: Sample) -> Float[np.ndarray, "row column"]:
    """Returns the mean over the maps of all heads on one sample."""
    (maps,) = maps_of(lvlm, [sample])
    return np.asarray(maps.mean(axis=(0, 1)))


def beside_paper(name: str, selection: Selection) -> pd.DataFrame:
    """Returns the heads that the paper names beside the most frequent ones here, by rank."""
    here = [f"{head} ({selection.frequency[head]:.0%})" for head in selection.heads]
    papers = [str(Head(*place)) for place in HEADS[PAPERS_MODEL]]
    papers[0] += " (≈ 45 %)"
    columns = {f"{PAPERS_MODEL}, paper": pd.Series(papers), f"{name}, here": pd.Series(here)}
    return pd.DataFrame(columns).rename(index=lambda rank: rank + 1).rename_axis("rank").fillna("")


def summary(selection: Selection, samples: int) -> dict[str, Any]:
    """Returns a selection's numbers, ready for `save_results`.

    Args:
        selection: The heads.
        samples: From how many expressions they were selected.
    """
    return {
        "selected_heads": [
            {"layer": int(h.layer), "head": int(h.head), "frequency": float(selection.frequency[h])}
            for h in selection.heads
        ],
        "threshold": selection.threshold.value,
        "threshold_side": selection.threshold.side,
        "n_passing": int(selection.passing.sum()),
        "n_candidates": int((selection.frequency >= 0.01).sum()),
        "samples": samples,
    }


def _head(flat: np.integer, heads_per_layer: int) -> Head:
    return Head(*divmod(int(flat), heads_per_layer))
