"""Measures several models on the same expressions: heads, overlap, likeness of maps, hits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.method.selection import random_heads
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.profiling.profile import BATCH, profile
from locheads.profiling.store import read_profile
from locheads.studies.across_datasets import RANDOM, Hits, hits
from locheads.studies.across_models import Compared, PerHead, compared, correlations, sameness

OWN = "its heads"
"""Name of a model's own localization heads among the choices that are grounded."""


@dataclass(frozen=True)
class How:
    """How each model is measured, the same for all.

    Attributes:
        batch: Expressions in one forward pass.
        k: Localization heads.
        least_frequency: Heads chosen in fewer samples are left out of ρ.
        random_draws: Sets of random heads that pass the threshold.
        seed: Of trials, random heads and resamples.
    """

    batch: int = BATCH
    k: int = 3
    least_frequency: float = 0.01
    random_draws: int = 30
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Measured:
    """One model, measured.

    Attributes:
        heads: Its heads, and their ρ.
        alike: From `across_models.sameness`, on the training expressions.
        hits: Which boxes of its own and of random heads are right, on the held-out expressions.
    """

    heads: Compared
    alike: PerHead
    hits: Hits


def measure(
    lvlm: Lvlm,
    name: str,
    train: Sequence[Sample],
    val: Sequence[Sample],
    stores: Sequence[Path],
    how: How,
) -> Measured:
    """Profiles one model on training and held-out expressions, or reads its stores, and measures it."""
    profiled, held_out = (
        profile(lvlm, samples, store, batch=how.batch)
        for samples, store in zip((train, val), stores, strict=True)
    )
    one = compared(name, profiled, held_out, how.k, how.least_frequency, how.seed)
    rng = np.random.default_rng(how.seed)
    random = [random_heads(one.selection.passing, how.k, rng) for _ in range(how.random_draws)]
    choices = {OWN: [one.selection.heads], RANDOM: random}
    return Measured(one, sameness(profiled, train), hits(lvlm, val, held_out, choices))


def load_and_measure(
    name: str,
    device: str,
    dtype: str,
    train: Sequence[Sample],
    val: Sequence[Sample],
    stores: Sequence[Path],
    how: How,
) -> dict[str, Measured]:
    """Loads a further model and measures it, with stores in a folder of its name beside those given.

    Returns:
        The model by name; nothing where it cannot be loaded or cannot read the expressions, which is printed.
    """
    own = [store.parent / name.replace("/", "--") / store.name for store in stores]
    try:
        return {name: measure(load_lvlm(name, device, dtype), name, train, val, own, how)}
    except LocheadsError as error:
        print(f"{name} is left out: {error}")
        return {}


def from_stores(pairs: Sequence[Sequence[str]], how: How) -> dict[str, Compared]:
    """Reads models from pairs of profile stores: training and held-out expressions.

    Raises:
        LocheadsError: An entry is no pair, or a store is no profile.
    """
    found = {}
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2:
            raise LocheadsError(f"profiles: {pair!r} is no pair of stores; write [training, held-out]")
        profiled, held_out = map(read_profile, pair)
        name = f"{profiled.attrs['model']} ({Path(pair[0]).name})"
        found[name] = compared(name, profiled, held_out, how.k, how.least_frequency, how.seed)
    return found


def summary(
    models: Sequence[Compared], accuracy: pd.DataFrame, samples: int, held_out: int
) -> dict[str, Any]:
    """Returns the numbers of the comparison, ready for `save_results`.

    Args:
        models: The first is the one of the other notebooks.
        accuracy: From `across_models.accuracies`, in per cent; saved as shares.
        samples: Training expressions.
        held_out: Held-out expressions.
    """
    rhos = correlations(models)
    shares = accuracy / 100
    return {
        "models": len(models),
        "spearman_rho": rhos[0]["rho"],
        "least_spearman_rho": min((row["rho"] for row in rhos if row["rho"] is not None), default=None),
        "samples": samples,
        "held_out": held_out,
        "heads_of_models": [
            {"model": one.name, "layer": h.layer, "head": h.head, "frequency": one.selection.frequency[h]}
            for one in models
            for h in one.selection.heads
        ],
        "correlations": rhos,
        "rec_acc50_val": shares.reset_index().to_dict("records"),
    }
