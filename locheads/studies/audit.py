"""Applies every reading of the method to stored maps, and measures boxes, masks and heads.

`paper.open_choices` says what paper and releases do, `audit_readings` makes each of these a `Reading`. What a
reading of the criteria needs comes from the maps of a profile store. A choice that changes what the model
sees (query, prompt, square) is captured anew, with the heads kept, in `audit_inputs`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Int

from locheads.data.samples import Sample, true_mask
from locheads.evaluation.evaluate import Variant, evaluate_variants, stored_maps
from locheads.method.criteria import bottom_row_peak, curvature_threshold, sample_thresholds, spatial_entropy
from locheads.method.frequency import frequency_over_trials
from locheads.method.head_iou import iou_per_head, upscaled_iou
from locheads.method.releases import keeping_one, lowest_entropies, passing_by_number
from locheads.method.selection import Head, candidates, top_heads
from locheads.model.lvlm import Lvlm, coverage_of
from locheads.model.segmenter import Segmenter
from locheads.studies.audit_readings import IouOf, Reading

Chosen = Bool[np.ndarray, "sample layer head"]
PerHead = Float[np.ndarray, "sample layer head"]


def chosen_by(profiled: xr.Dataset, wanted: Mapping[str, Reading]) -> dict[str, Chosen]:
    """Returns the candidates of every sample under each reading; greedy readings have none and are left out.

    Args:
        profiled: A profile with the maps of all heads; they are read a block at a time.
        wanted: Readings by name.
    """
    fixed = {name: reading for name, reading in wanted.items() if reading.greedy is None}
    sums, judged = profiled.attention_sum.values, _judged(profiled, fixed)
    return {
        name: candidates(sums, _barred(*judged[name]), -np.inf, reading.kept, 0, threshold_on="sample")
        for name, reading in fixed.items()
    }


def greedy_of(
    profiled: xr.Dataset, wanted: Mapping[str, Reading]
) -> dict[str, Int[np.ndarray, "sample k 2"]]:
    """Returns each sample's own heads under the greedy readings.

    Args:
        profiled: A profile, with maps, of the samples to be grounded; averaged sums are averaged over them.
        wanted: Readings by name; those with fixed heads are left out.
    """
    greedy = {name: reading for name, reading in wanted.items() if reading.greedy is not None}
    sums, judged = profiled.attention_sum.values, _judged(profiled, greedy)
    return {
        name: lowest_entropies(*judged[name], reading.greedy or 0, sums if reading.ties == "sum" else None)
        for name, reading in greedy.items()
    }


def passing_by_number_range(profiled: xr.Dataset) -> tuple[int, float, int]:
    """Returns how many heads pass by number in a sample: the least, the median and the most."""
    counts = passing_by_number(profiled.attention_sum.values).sum(axis=(1, 2))
    return int(counts.min()), float(np.median(counts)), int(counts.max())


def _judged(profiled: xr.Dataset, wanted: Mapping[str, Reading]) -> dict[str, tuple[PerHead, Chosen]]:
    """Returns the spatial entropies under each reading, and the heads that pass all its rules."""
    sums, ways = profiled.attention_sum.values, {reading.entropy for reading in wanted.values()}
    parts: dict[tuple, list[PerHead]] = {way: [] for way in ways}
    tops: list[Chosen] = []
    for maps in stored_maps(profiled):
        tops.append(bottom_row_peak(maps))
        for way in ways:
            parts[way].append(spatial_entropy(maps, *way))
    entropies = {way: np.stack(values) for way, values in parts.items()}
    peaks = np.stack(tops)
    return {
        name: (entropies[reading.entropy], _eligible(sums, entropies[reading.entropy], peaks, reading))
        for name, reading in wanted.items()
    }


def _eligible(sums: PerHead, entropies: PerHead, peaks: PerHead, reading: Reading) -> Chosen:
    out = peaks > (np.inf if reading.bottom_row is None else reading.bottom_row)
    threshold: float | np.ndarray = -np.inf
    passing = np.ones(sums.shape, bool)
    if reading.passing == "number":
        passing = passing_by_number(sums, reading.elbow)
    elif reading.threshold_on == "sample":
        threshold = sample_thresholds(sums, reading.elbow)
    else:
        threshold = curvature_threshold(sums.mean(axis=0), reading.elbow).value
    # All candidates that there are: every head that passes.
    found = np.where(out | ~passing, np.inf, entropies)
    every = candidates(
        sums, found, threshold, sums[0].size, reading.skipped_layers, threshold_on=reading.threshold_on
    )
    return keeping_one(every, sums, out) if reading.min_keep else every


def _barred(entropies: PerHead, eligible: Chosen) -> PerHead:
    """Returns entropies that are infinite where a head is not eligible, and there only."""
    return np.where(eligible, np.where(np.isfinite(entropies), entropies, 0.0), np.inf)


def heads_of(chosen: Mapping[str, Chosen], k: int = 3, seed: int = 0) -> dict[str, tuple[Head, ...]]:
    """Returns the `k` most frequent heads under each reading; none where fewer were ever chosen."""
    frequency = {name: frequency_over_trials(one, seed) for name, one in chosen.items()}
    return {n: top_heads(one, k) if np.count_nonzero(one) >= k else () for n, one in frequency.items()}


def variants_of(
    heads: Mapping[str, tuple[Head, ...] | Int[np.ndarray, "sample k 2"]], wanted: Mapping[str, Reading]
) -> dict[str, Variant]:
    """Returns the variant of each reading; readings without heads are left out.

    Args:
        heads: From `heads_of` and `greedy_of`, by name.
        wanted: Readings by name.
    """
    shared = [f.name for f in fields(Variant) if f.name not in ("heads", "sigma", "level")]
    return {
        name: Variant(heads[name], **{setting: getattr(one, setting) for setting in shared})
        for name, one in wanted.items() if len(heads[name])
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
        variants: By name.
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
    heads = variant.heads
    same = frozenset(map(tuple, heads)) if isinstance(heads, tuple) else (heads.shape, heads.tobytes())
    return same, *rest


def ious_by(
    lvlm: Lvlm, samples: Sequence[Sample], profiled: xr.Dataset, wanted: Mapping[str, Reading]
) -> dict[str, PerHead]:
    """Returns the IoU of every head with the true object under each reading, by the reading's `iou_of`.

    Args:
        lvlm: The model that was profiled.
        samples: With masks, in the order of the profile.
        profiled: A profile with the maps of all heads.
        wanted: Readings by name.
    """
    ways = sorted({reading.iou_of for reading in wanted.values()})
    found: dict[IouOf, list[np.ndarray]] = {way: [] for way in ways}
    for sample, maps in zip(samples, stored_maps(profiled), strict=True):
        for way in ways:
            found[way].append(_ious(lvlm, sample, maps, way))
    stacked = {way: np.stack(values) for way, values in found.items()}
    return {name: stacked[reading.iou_of] for name, reading in wanted.items()}


def _ious(lvlm: Lvlm, sample: Sample, maps: np.ndarray, way: IouOf) -> Float[np.ndarray, "layer head"]:
    if way == "upscaled":
        return upscaled_iou(maps, true_mask(sample), lvlm.window(sample.size))
    return iou_per_head(maps[None], coverage_of(lvlm, sample)[None], kernel=7 if way == "smoothed" else 1)[0]
