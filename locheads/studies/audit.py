"""Varies every open choice of the method, and measures its effect on boxes, masks and heads.

`paper.open_choices` says what paper and releases do; here each of these is a `Reading`, whose defaults are
the paper's. What a reading of the criteria needs comes from the maps of a profile store. A choice that
changes what the model sees (prompt, square) is captured anew, with the heads kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Int

from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Variant, evaluate_variants, stored_maps
from locheads.method.criteria import (
    Elbow,
    Logarithm,
    bends,
    bottom_row_peak,
    curvature_threshold,
    sample_thresholds,
    spatial_entropy,
)
from locheads.method.selection import Head, candidates, frequency_over_trials, top_heads
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import Segmenter
from locheads.paper.open_choices import Choice

Chosen = Bool[np.ndarray, "sample layer head"]
BLOCK = 64
"""Number of samples whose maps are read at a time."""


@dataclass(frozen=True)
class Reading:
    """Describes one reading of the method, from the sums of the heads to SAM. The defaults are the paper's.

    Attributes:
        threshold_on, elbow: Where τ comes from: `selection.candidates`, `criteria.curvature_threshold`.
        passing: A head passes by its `sum`, or by its `index`: the first release compares the head's number,
            counted through all layers, with the place of the bend among the sorted sums.
        level, floor, weight, logarithm: Of `criteria.spatial_entropy`.
        skipped_layers: First layers left out.
        bottom_row: A head is left out of a sample where its last row has a value above this; None: nowhere.
        kept: Candidates per sample.
        keep, scaled_as, prompt, cascade: Of `evaluation.Variant`; the prompt is SAM's.
    """

    threshold_on: Literal["mean", "sample"] = "mean"
    elbow: Elbow = "chord"
    passing: Literal["sum", "index"] = "sum"
    level: float = 1.0
    floor: float = 0.0
    weight: Literal["area", "mass"] = "area"
    logarithm: Logarithm = "natural"
    skipped_layers: int = 2
    bottom_row: float | None = None
    kept: int = 10
    keep: Literal["largest", "all"] = "largest"
    scaled_as: Literal["window", "stretch"] = "window"
    prompt: str = "box"
    cascade: int = 0

    @property
    def entropy(self) -> tuple[float, float, Literal["area", "mass"], Literal[4, 8], Logarithm]:
        """Returns the arguments of `spatial_entropy` after the maps."""
        return self.level, self.floor, self.weight, 8, self.logarithm


@dataclass(frozen=True)
class Alternative:
    """Another answer than the paper's to an open choice, and the reading that follows from it."""

    choice: Choice
    answer: str
    reading: Reading = field(default_factory=Reading)

    @property
    def name(self) -> str:
        """Returns choice and answer, as tables and figures show them."""
        return f"{self.choice}: {self.answer}"


DEFAULT = "default"
"""The name of the paper's reading among the others."""

ALTERNATIVES = (
    Alternative(Choice.THRESHOLD_FROM, "each sample's sums", Reading(threshold_on="sample")),
    Alternative(Choice.PASSING, "by index (the bug)", Reading(passing="index")),
    Alternative(Choice.ELBOW, "curvature, literally", Reading(elbow="curvature")),
    Alternative(Choice.BINARISE, "mean + 0.001", Reading(floor=0.001)),
    Alternative(Choice.BINARISE, "2 × mean", Reading(level=2.0)),
    Alternative(Choice.BINARISE, "2 × mean + 0.001", Reading(level=2.0, floor=0.001)),
    Alternative(Choice.WEIGHT, "attention mass", Reading(weight="mass")),
    Alternative(Choice.FILTER, "none, all layers in", Reading(skipped_layers=0)),
    Alternative(Choice.FILTER, "bottom row > 0.05 out", Reading(bottom_row=0.05)),
    Alternative(Choice.BOX, "all cells above the mean", Reading(keep="all")),
    Alternative(Choice.SAM, "box + mask", Reading(prompt="box+mask")),
    Alternative(Choice.SAM, "box + point", Reading(prompt="box+point")),
    Alternative(Choice.SAM, "box, mask fed back once", Reading(cascade=1)),
    Alternative(Choice.LOGARITHM, "base 2", Reading(logarithm="2")),
    Alternative(Choice.LOGARITHM, "normalised", Reading(logarithm="normalised")),
    Alternative(Choice.KEPT, "5 of a sample", Reading(kept=5)),
    Alternative(Choice.KEPT, "14 of a sample", Reading(kept=14)),
)
"""Each choice answered otherwise, all else as in the paper; those that need no capture of their own."""

PRESETS = {
    "first release": Reading(
        threshold_on="sample", passing="index", floor=0.001, weight="mass", skipped_layers=0
    ),
    "later rewrite": Reading(
        threshold_on="sample", level=2.0, floor=0.001, weight="mass", bottom_row=0.05, keep="all",
        scaled_as="stretch",
    ),
}  # fmt: skip
"""The released variants as wholes (June and August 2025). The first ships no box: it gets the paper's."""


def readings() -> dict[str, Reading]:
    """Returns the paper's reading, every alternative alone, and the released variants, by name."""
    return {DEFAULT: Reading()} | {one.name: one.reading for one in ALTERNATIVES} | PRESETS


def differing(reading: Reading) -> tuple[str, ...]:
    """Returns the parameters in which a reading differs from the paper's."""
    default = Reading()
    return tuple(f.name for f in fields(Reading) if getattr(reading, f.name) != getattr(default, f.name))


def parts_of(reading: Reading) -> list[str]:
    """Returns the names of the alternatives that make up a reading, without those that another includes."""
    parts = {one.name: _settings(one.reading) for one in ALTERNATIVES}
    inside = {name: part for name, part in parts.items() if part <= _settings(reading)}
    return [name for name, part in inside.items() if not any(part < other for other in inside.values())]


def _settings(reading: Reading) -> set[tuple[str, object]]:
    return {(name, getattr(reading, name)) for name in differing(reading)}


def chosen_by(profiled: xr.Dataset, wanted: Mapping[str, Reading]) -> dict[str, Chosen]:
    """Returns the candidates of every sample under each reading.

    Args:
        profiled: A profile with the maps of all heads; they are read a block at a time.
        wanted: Readings by name.
    """
    entropies, peaks = _judged(profiled.maps, {reading.entropy for reading in wanted.values()})
    sums = profiled.attention_sum.values
    return {
        name: _candidates(sums, entropies[reading.entropy], peaks, reading)
        for name, reading in wanted.items()
    }


def _judged(
    maps: xr.DataArray, ways: set[tuple]
) -> tuple[dict[tuple, Float[np.ndarray, "sample layer head"]], Float[np.ndarray, "sample layer head"]]:
    """Returns the spatial entropies under several readings, and the peak of the bottom row, of all heads."""
    blocks = [maps[start : start + BLOCK].values for start in range(0, len(maps), BLOCK)]
    entropies = {way: np.concatenate([spatial_entropy(block, *way) for block in blocks]) for way in ways}
    return entropies, np.concatenate([bottom_row_peak(block) for block in blocks])


def _candidates(
    sums: Float[np.ndarray, "sample layer head"],
    entropies: Float[np.ndarray, "sample layer head"],
    peaks: Float[np.ndarray, "sample layer head"],
    reading: Reading,
) -> Chosen:
    out = np.zeros(sums.shape, bool)
    if reading.bottom_row is not None:
        out |= peaks > reading.bottom_row
    threshold: float | np.ndarray = -np.inf
    if reading.passing == "index":
        out |= ~passing_by_index(sums, reading.threshold_on, reading.elbow)
    elif reading.threshold_on == "sample":
        threshold = sample_thresholds(sums, reading.elbow)
    else:
        threshold = curvature_threshold(sums.mean(axis=0), reading.elbow).value
    barred = np.where(out, np.inf, entropies)
    return candidates(
        sums, barred, threshold, reading.kept, reading.skipped_layers, threshold_on=reading.threshold_on
    )


def passing_by_index(
    sums: Float[np.ndarray, "sample layer head"],
    threshold_on: Literal["mean", "sample"] = "mean",
    elbow: Elbow = "chord",
) -> Bool[np.ndarray, "sample layer head"]:
    """Returns the heads that pass by the first release's rule, which compares head numbers (its issue 12).

    Heads are numbered through all layers from 0, and those from the number on at which the *sorted* sums bend
    pass. So the lower layers are left out, whatever their sums.
    """
    flat = sums.mean(axis=0, keepdims=True) if threshold_on == "mean" else sums
    ascending = np.sort(flat.reshape(len(flat), -1), axis=-1)
    bend: Int[np.ndarray, " n"] = bends(ascending, elbow).argmax(axis=-1)
    passing = np.arange(ascending.shape[1]) >= bend[:, None]
    return np.broadcast_to(passing.reshape(flat.shape), sums.shape)


def heads_of(chosen: Mapping[str, Chosen], k: int = 3, seed: int = 0) -> dict[str, tuple[Head, ...]]:
    """Returns the `k` most frequent heads under each reading; none where fewer were ever chosen."""
    frequency = {name: frequency_over_trials(one, seed) for name, one in chosen.items()}
    return {n: top_heads(one, k) if np.count_nonzero(one) >= k else () for n, one in frequency.items()}


def variants_of(heads: Mapping[str, tuple[Head, ...]], wanted: Mapping[str, Reading]) -> dict[str, Variant]:
    """Returns the variant of each reading; readings without heads are left out."""
    return {
        name: Variant(heads[name], keep=one.keep, scaled_as=one.scaled_as, prompt=one.prompt,
                      cascade=one.cascade)
        for name, one in wanted.items() if heads[name]
    }  # fmt: skip


def evaluate_each(
    lvlm: Lvlm,
    segmenter: Segmenter,
    samples: Sequence[Sample],
    maps: Iterable[Float[np.ndarray, "layer head row column"]] | xr.Dataset,
    variants: Mapping[str, Variant],
) -> pd.DataFrame:
    """Evaluates variants like `evaluate_variants`, grounding those that differ only in name once.

    Args:
        lvlm: As there.
        segmenter: As there.
        samples: As there.
        maps: As there, or a profile that holds them.
        variants: By name, each with the same heads for all samples.
    """
    kinds = {name: _kind(variant) for name, variant in variants.items()}
    first: dict[tuple, str] = {}
    for name, kind in kinds.items():
        first.setdefault(kind, name)
    given = stored_maps(maps) if isinstance(maps, xr.Dataset) else maps
    once = evaluate_variants(
        lvlm, segmenter, samples, given, {name: variants[name] for name in first.values()}
    )
    groups = dict(list(once.groupby("variant")))
    parts = [groups[first[kind]].assign(variant=name) for name, kind in kinds.items()]
    return pd.concat(parts, ignore_index=True)


def _kind(variant: Variant) -> tuple:
    """Returns a key that equal variants share; the order of heads does not count: their maps are summed."""
    rest = [getattr(variant, f.name) for f in fields(Variant) if f.name != "heads"]
    return frozenset(map(tuple, variant.heads)), *rest
