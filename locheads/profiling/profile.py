"""Profiles heads: criteria and IoU of every head on every sample, in one labelled, resumable store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from locheads.data.samples import Sample, by_image
from locheads.locks import hold
from locheads.method.criteria import attention_sum, spatial_entropy
from locheads.method.head_iou import iou_per_head
from locheads.model.attention import Heads, capture_each, on_host
from locheads.model.lvlm import Lvlm, coverage_of
from locheads.model.shared_image import capture_image, shares
from locheads.profiling import criteria_cuda as on_card
from locheads.profiling.claim import claim
from locheads.profiling.criteria_cuda import SIGMA
from locheads.profiling.origin import IouOf, Kept, command, origin_of
from locheads.profiling.store import PART, is_finished, keeps, opened, unfinished, write
from locheads.progress import progress

BATCH = 16


def profile(
    lvlm: Lvlm,
    samples: Sequence[Sample],
    store: Path | str,
    maps: Kept | None = None,
    batch: int = BATCH,
    iou_of: IouOf = "raw",
) -> xr.Dataset:
    """Captures every head's map on every sample and computes the paper's criteria and the IoU.

    Args:
        lvlm: The frozen model.
        samples: At least one sample; the IoU needs masks.
        store: Folder of the store (see `store`); samples already in it are not computed again, unless their
            files are missing or damaged, which is said on stdout. A store that another process is writing
            is waited for.
        maps: Heads whose maps are kept: `"all"`, `"none"`, or some `(layer, head)`; None: as in the existing
            store, and all in a new one. The criteria of all heads are kept in any case.
        batch: Samples in one forward pass.
        iou_of: Map of which a head's IoU is taken: `raw`, binarised at its mean (appendix A), or `smoothed`
            before, as for grounding.

    Returns:
        `attention_sum`, `spatial_entropy` and `iou` (each `sample, layer, head`, double precision; `iou` is
        NaN where a sample has no mask) and `maps (sample, layer, head, row, column)`, NaN for heads whose
        maps are not kept. `sample` is labelled by sample ids, in the order given. Values are read lazily.

        Maps have the model's precision: single, or half where the model computes in half precision
        (also bfloat16). Half precision keeps a cell to 1 in 2048, or to 3e-8 where it is below 6e-5, which
        is less than such a model's own rounding. The criteria are computed before.

    Raises:
        LocheadsError: The store was made with other parameters, the images have different grids, a picture
            cannot be read, or the disk is full.
    """
    order, store = by_image(samples, PART), Path(store)
    ordered = [samples[position] for position in order]
    origin = origin_of(lvlm, ordered, maps, iou_of)
    if not is_finished(store, origin):
        with hold(store, "writes this profile", wait=True):
            claim(store, lvlm, ordered, origin, PART, command())
            _fill(store, lvlm, ordered, batch, iou_of)
    return opened(store, order)


def _fill(store: Path, lvlm: Lvlm, ordered: Sequence[Sample], batch: int, iou_of: IouOf) -> None:
    """Computes and writes the parts that are missing."""
    parts, kept = unfinished(store, ordered), keeps(store)
    missing = sum(len(part.samples) for part in parts)
    with progress(len(ordered), f"heads of {lvlm.name}", len(ordered) - missing) as bar:
        for part in parts:
            write(store, part, judged(lvlm, part.samples, batch, kept, iou_of))
            bar.update(len(part.samples))


def judged(
    lvlm: Lvlm, samples: Sequence[Sample], batch: int, kept: Kept = "all", iou_of: IouOf = "raw"
) -> dict[str, np.ndarray]:
    """Computes what `profile` stores for some samples.

    Returns:
        `attention_sum`, `spatial_entropy` and `iou` of all heads, and `maps` of the kept ones, in single
        precision: `sample × layer × head × row × column`; of some heads, in their order, `sample × head × row
        × column`; with `none` there is no such entry.
    """
    starts = range(0, len(samples), PART)
    parts = [_part(lvlm, samples[start : start + PART], batch, kept, iou_of) for start in starts]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _part(
    lvlm: Lvlm, samples: Sequence[Sample], batch: int, kept: Kept, iou_of: IouOf
) -> dict[str, np.ndarray]:
    """As `judged`, for one part: the maps stay on the model's device until the criteria are computed."""
    # One map tensor per sample: layer × head × row × column.
    starts = range(0, len(samples), batch)
    maps = [one for start in starts for one in _captured(lvlm, samples[start : start + batch], None)]
    # Share of each cell covered by the object, sample × row × column; zeros without a mask.
    masks, nothing = [sample.mask is not None for sample in samples], np.zeros(maps[0].shape[-2:])
    coverage = np.stack(
        [coverage_of(lvlm, s) if masked else nothing for s, masked in zip(samples, masks, strict=True)]
    )
    # Criteria and IoU, each sample × layer × head; the IoU is NaN without a mask.
    judge = on_card.judge if on_card.stay(maps) else _in_main_memory
    found = judge(maps, coverage, iou_of)
    found["iou"][~np.array(masks)] = np.nan
    if kept != "none":
        found["maps"] = _stacked(maps if kept == "all" else [_some(one, kept) for one in maps])
    return found


def _in_main_memory(
    maps: Sequence[torch.Tensor], coverage: np.ndarray, iou_of: IouOf
) -> dict[str, np.ndarray]:
    """Computes the results of `on_card.judge` on the CPU."""
    here = _stacked(maps)
    iou = iou_per_head(here, coverage, sigma=SIGMA[iou_of])
    return {"attention_sum": attention_sum(here), "spatial_entropy": spatial_entropy(here), "iou": iou}


def _stacked(maps: Sequence[torch.Tensor]) -> np.ndarray:
    return np.stack([one.numpy() for one in on_host(maps)])


def _some(maps: torch.Tensor, heads: Heads) -> torch.Tensor:
    return torch.stack([maps[layer, head] for layer, head in heads])


def maps_of(
    lvlm: Lvlm, samples: Sequence[Sample], batch: int = BATCH, heads: Heads | None = None
) -> Iterator[np.ndarray]:
    """Yields the maps of one sample after another: `layer × head × row × column`, single precision.

    An image that several samples of a batch share is read once, and computed once where the family allows it.
    With `heads` given, only their maps, `head × row × column`; the model runs no further than the deepest.
    """
    for start in range(0, len(samples), batch):
        captured = _captured(lvlm, samples[start : start + batch], heads)
        yield from (one.numpy() for one in on_host(captured))


def _captured(lvlm: Lvlm, samples: Sequence[Sample], wanted: Heads | None) -> list[torch.Tensor]:
    """Captures the maps of a batch: each image with several samples by itself, all others together."""
    # Positions of the batch by image; images with several samples share their computation if possible.
    images = defaultdict(list)
    for place, sample in enumerate(samples):
        images[sample.image_id].append(place)
    groups = list(images.values())
    several = [places for places in groups if len(places) > 1 and shares(lvlm)]
    single = [place for places in groups if places not in several for place in places]
    pictures = {name: samples[places[0]].image for name, places in images.items()}
    found: dict[int, torch.Tensor] = {}
    for places in several:  # one shared pass per image: expression × (layer × head or head) × row × column
        expressions = [samples[place].expression for place in places]
        maps = capture_image(lvlm, pictures[samples[places[0]].image_id], expressions, wanted)
        found |= zip(places, maps, strict=True)
    if single:  # all others in one batch
        some = [samples[place] for place in single]
        each = capture_each(lvlm, [pictures[s.image_id] for s in some], [s.expression for s in some], wanted)
        found |= zip(single, each, strict=True)
    return [found[place] for place in range(len(samples))]
