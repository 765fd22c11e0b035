"""Counts what a run computes, by notebook: forward passes, pictures for SAM, stored samples; and their costs.

A profile and a picture's embedding are made once and read by later notebooks, so they count where they come
first. Passes stop at the deepest of fixed heads and share the picture between expressions, where they can:
the counts are upper bounds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from locheads.model.embeddings import MOST
from locheads.paper.published import (
    ALIASES,
    EMBEDDING_BYTES,
    HUB_SEGMENTERS,
    MODELS,
    PICTURES,
    SEGMENTERS,
    TEXT_TOKENS,
    PublishedModel,
    PublishedSegmenter,
)
from locheads.profiling.profile import BATCH

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
RATE = 1e14
"""Assumed operations per second of a model: about a third of an A100's peak in half precision."""
SAM_SHARE = 0.37
"""Share of that rate which SAM reaches: its authors give 0.15 s per picture of ViT-H on an A100."""
SHRUNK = 0.6
"""Share of the bytes of maps that is left when they are compressed."""
MEASURED_SHARE = 0.5
"""Share of the rate of a product of matrices that a model reaches."""
QUERIES = (200, 779)
"""Queries of ReasonSeg's val and test."""
PHRASES, PHRASES_A_PICTURE = 40_000, 5
"""Phrases of Panoptic Narrative Grounding's val, about."""
Split = tuple[str, str]


@dataclass(frozen=True)
class Work:
    """Counts what one notebook computes.

    Attributes:
        notebook: Its name.
        profiled: Expressions that are profiled and stored.
        grounded: Other forward passes.
        embedded: Pictures that SAM's encoder sees.
    """

    notebook: str
    profiled: int
    grounded: int
    embedded: int


def works(notebooks: Mapping[str, Mapping[str, Any]], splits: Mapping[Split, int]) -> list[Work]:
    """Counts the work of each notebook, in order.

    Args:
        notebooks: Their parameters by name.
        splits: Expressions in each split that is evaluated.
    """
    profiles, embedded, found = set[tuple[Any, ...]](), dict[Any, int](), []
    for name, values in notebooks.items():
        stored, own = 0, _profiles(name[:2], values, splits)
        for key, count in own.items():
            stored += 0 if key in profiles else count
            profiles.add(key)
        fresh, masked = 0, 0
        for key, (expressions, pictures) in _grounded(name[:2], values, splits).items():
            fresh += expressions
            if values.get("segmenter", "none") != "none":
                masked += max(0, pictures - embedded.get(key, 0))
                embedded[key] = max(pictures, embedded.get(key, 0))
        found.append(Work(name, stored, fresh, masked))
    return found


def _profiles(
    number: str, values: Mapping[str, Any], splits: Mapping[Split, int]
) -> dict[tuple[Any, ...], int]:
    """Returns the profiles that a notebook makes or reads: its key → number of expressions."""
    data, samples = str(values.get("dataset", "refcoco")), int(values.get("samples") or 0)
    if number == "12":
        sets = list(values.get("datasets", ["refcoco"]))
        held = values.get("held_out")
        train = {(one, "train", samples): samples for one in sets}
        return train | {(one, "val", held or 0): _least(held, _of_val(one, splits)) for one in sets}
    found: dict[tuple[Any, ...], int] = {(data, "train", samples): samples}
    if number in ("02", "04", "05", "06", "07", "08", "13", "14", "15"):
        wanted = values.get("held_out")
    else:
        wanted = values.get("measured_on", "none")
    if wanted != "none":
        found[data, "val", wanted or 0] = _least(wanted, _of_val(data, splits))
    return found


def _grounded(
    number: str, values: Mapping[str, Any], splits: Mapping[Split, int]
) -> dict[Any, tuple[int, int]]:
    """Returns other forward passes and the pictures whose masks are asked for, by split or kind."""
    held, data = values.get("held_out"), str(values.get("dataset", "refcoco"))
    if number in ("00", "01"):
        return {"examples": (13 if number == "00" else 4, 0)}
    if number == "03":
        return {
            key: (_least(held, count), _pictures(key, _least(held, count))) for key, count in splits.items()
        }
    if number in ("04", "05", "06", "07", "08", "13", "14"):
        key = (data, "val")
        count = _least(held, _of_val(data, splits))
        extra = 11 * int(values.get("captured", 0)) if number == "14" else 100 if number == "13" else 0
        cut = 4 * int(values.get("captured", 0))
        return {key: (0, _pictures(key, count)), f"own {number}": (extra, cut)}
    if number == "09":
        return {"words": (2 * _least(held, _of_val(str(values.get("expressions")), splits)), 0)}
    if number == "10":
        count = _least(held, sum(QUERIES))
        return {"reasonseg": (2 * count, count)}
    if number == "11":
        return {"png": (2 * _least(held, PHRASES), _least(held, PHRASES) // PHRASES_A_PICTURE)}
    return {}


def _of_val(dataset: str, splits: Mapping[Split, int]) -> int:
    """Returns the expressions of a data set's split `val`; of an own list, those of its first split."""
    if dataset == "reasonseg":
        return QUERIES[0]
    return splits.get((dataset, "val"), next(iter(splits.values()), 0))


def _least(wanted: Any, there: int) -> int:
    """Returns how many are drawn: all of them for 0 or None."""
    return min(int(wanted or there), there)


def _pictures(split: Split, expressions: int) -> int:
    return min(PICTURES.get(split, expressions), expressions)


def seconds(work: Work, model: PublishedModel, segmenter: PublishedSegmenter | None, rate: float) -> float:
    """Estimates the time of a notebook at a rate of operations per second."""
    passes = work.profiled + work.grounded
    masks = work.embedded * (segmenter.operations if segmenter else 0.0)
    return (passes * operations(model) + masks / SAM_SHARE) / rate


def operations(model: PublishedModel) -> float:
    """Counts the operations of a forward pass: two per parameter and token, and the encoder's own."""
    return 2.0 * model.parameters * (model.tokens + TEXT_TOKENS) + model.encoder


def disk(done: list[Work], model: PublishedModel, dtype: str, segmenter: PublishedSegmenter | None) -> float:
    """Estimates the bytes of all profile stores and embeddings."""
    cell = 4 if dtype == "float32" else 2
    sample = model.maps * (model.cells or model.tokens) * cell * SHRUNK
    kept = sum(one.embedded for one in done) * EMBEDDING_BYTES if segmenter else 0.0
    return sum(one.profiled for one in done) * sample + min(kept, MOST)


@dataclass(frozen=True)
class Memory:
    """Estimates memory in bytes: of weights, of the segmenter at work, and of each picture of a batch."""

    weights: float
    segmenter: float
    picture: float
    batch: int

    @property
    def total(self) -> float:
        """Returns the sum for the batch."""
        return self.weights + self.segmenter + self.batch * self.picture

    def fitting(self, there: float) -> int:
        """Returns the largest batch that fits; 0 where none does."""
        return max(0, int((there - self.weights - self.segmenter) // self.picture))


def memory(values: Mapping[str, Any], model: PublishedModel) -> Memory:
    """Estimates memory: weights, SAM with 3 GB of activations, and some 0.2 MB per token of each picture."""
    dtype = str(values.get("dtype", "float32"))
    weights = model.parameters * BYTES.get(dtype, model.weight_bytes)  # auto: as published
    sam = segmenter_of(values)
    picture = (model.tokens + TEXT_TOKENS) * 0.2e6 + model.picture_bytes
    return Memory(weights, sam.parameters * 4 + 3e9 if sam else 0.0, picture, int(values.get("batch", BATCH)))


def model_of(values: Mapping[str, Any]) -> PublishedModel | None:
    """Returns what is known of the model, by hub name or the paper's; None if nothing is."""
    name = str(values.get("model"))
    return MODELS.get(ALIASES.get(name.lower(), name))


def segmenter_of(values: Mapping[str, Any]) -> PublishedSegmenter | None:
    """Returns what is known of the segmenter, by file or hub name; None if nothing is."""
    name = str(values.get("segmenter"))
    return HUB_SEGMENTERS.get(name) or SEGMENTERS.get(Path(name).name)


def here(device: str) -> tuple[str, float] | None:
    """Returns the device that a run would take here, and its memory in bytes; None if it is not here."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        number = int(device.partition(":")[2] or 0)
        free, _ = torch.cuda.mem_get_info(number)
        return torch.cuda.get_device_name(number), float(free)
    if device in ("cpu", "auto") and hasattr(os, "sysconf"):
        return "the CPU", float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return None


def measured_rate(device: str, dtype: str) -> float:
    """Measures the operations per second of a device: half of what a product of matrices reaches."""
    import torch

    kind, side = getattr(torch, dtype, torch.float32), 1024
    place = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    a = torch.ones(side, side, device=place, dtype=kind)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        float((a @ a)[0, 0])
        best = min(best, time.perf_counter() - start)
    return MEASURED_SHARE * 2 * side**3 / best
