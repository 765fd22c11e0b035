"""Grounds samples under one or many variants and compares boxes and masks with the true ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Int

from locheads.data.samples import Sample, by_image, true_mask
from locheads.evaluation.metrics import box_iou, mask_overlap
from locheads.method.geometry import Window
from locheads.method.grounding import Border, Grounding, ground
from locheads.method.selection import Head, take_heads
from locheads.model.lvlm import Lvlm, coverage_of
from locheads.model.segmenter import Segmenter
from locheads.profiling.profile import BATCH, maps_of
from locheads.progress import progress

Heads = tuple[Head, ...]

BLOCK = 64
"""Number of samples whose maps are read from the store at once."""


@dataclass(frozen=True, eq=False)
class Variant:
    """One way from the maps of all heads to a box.

    Attributes:
        heads: One choice for all samples, or one per sample, as from `selection.greedy_heads`.
        kernel, sigma, level, keep, border, whole_pixels: As in `grounding.ground`, whose defaults are the
            paper's.
        scaled_as: How cells become pixels: undoing the actual preprocessing (`window`), or as if the image
            had always been stretched (`stretch`, the later rewrite).
        prompt, cascade: The segmenter's prompt, as in `Segmenter.masks`.
    """

    heads: Heads | Int[np.ndarray, "sample k 2"]
    kernel: int = 7
    sigma: float = 1.0
    level: float = 1.0
    keep: Literal["largest", "all"] = "largest"
    scaled_as: Literal["window", "stretch"] = "window"
    prompt: str = "box"
    cascade: int = 0
    border: Border = "mirror"
    whole_pixels: bool = False

    def ground(
        self, maps: Float[np.ndarray, "layer head row column"], window: Window, sample: int
    ) -> Grounding:
        """Grounds one sample from the maps of all its heads; `sample` is its position."""
        heads = self.heads if isinstance(self.heads, tuple) else self.heads[sample, None]
        chosen = take_heads(maps[None], heads)[0]
        if self.scaled_as == "stretch":
            window = Window.stretch(window.size, (window.rows, window.columns))
        how = (self.kernel, self.sigma, self.level, self.keep, self.border, self.whole_pixels)
        return ground(chosen, window, *how)


def evaluate_variants(
    lvlm: Lvlm,
    segmenter: Segmenter | None,
    samples: Sequence[Sample],
    maps: Iterable[Float[np.ndarray, "layer head row column"]],
    variants: Mapping[str, Variant],
    boxes_alone: Collection[str] = (),
) -> pd.DataFrame:
    """Grounds every sample under every variant; boxes with the same prompt share the image embedding.

    Args:
        lvlm: The model that gave the maps.
        segmenter: Turns boxes into masks; the box is its only prompt unless a variant says otherwise. None:
            boxes alone are scored.
        samples: Samples with a box; of those without a mask, `intersection` and `union` are NaN.
        maps: Maps of all heads, one sample after another: from `stored_maps` or `profile.maps_of`.
        variants: Name → variant.
        boxes_alone: Names of variants that are scored by their boxes; `intersection` and `union` are NaN.

    Returns:
        One row per sample and variant, the variants of a sample together: `sample_id`, `image_id`, `variant`,
        `box` (xyxy pixels), `box_iou`, and `intersection` and `union` of the masks in pixels, without the
        pixels that the data set ignores.

    Raises:
        ValueError: The numbers of maps and samples differ.
    """
    rows: list[pd.DataFrame] = []
    with progress(len(samples), "grounding") as bar:
        for number, (sample, heads) in enumerate(zip(samples, maps, strict=True)):
            window = lvlm.window(sample.size)
            found = [variant.ground(heads, window, number) for variant in variants.values()]
            rows.append(_outcomes(sample, found).assign(variant=list(variants)))
            if segmenter is not None and sample.segmentation is not None:
                chosen = [number for number, name in enumerate(variants) if name not in boxes_alone]
                some = [list(variants.values())[number] for number in chosen]
                masks = _masks(sample, window, [found[number] for number in chosen], some, segmenter)
                rows[-1].loc[chosen, ["intersection", "union"]] = areas_of(sample, masks)
            bar.update()
    return pd.concat(rows, ignore_index=True)


def _masks(
    sample: Sample,
    window: Window,
    found: Sequence[Grounding],
    variants: Sequence[Variant],
    segmenter: Segmenter,
) -> Bool[np.ndarray, "n height width"]:
    """Segments one mask per variant; boxes with the same prompt go together, and equal boxes only once."""
    masks = np.zeros((len(found), *sample.size[::-1]), bool)
    image = sample.image
    for prompt, cascade in sorted({(variant.prompt, variant.cascade) for variant in variants}):
        mine = [i for i, one in enumerate(variants) if (one.prompt, one.cascade) == (prompt, cascade)]
        boxes = np.stack([found[i].box for i in mine])
        if (prompt, cascade) == ("box", 0):
            different, which = np.unique(boxes, axis=0, return_inverse=True)
            masks[mine] = segmenter.masks(image, different)[which]
        else:
            masks[mine] = segmenter.masks(image, boxes, [found[i] for i in mine], window, prompt, cascade)
    return masks


def areas_of(sample: Sample, masks: Bool[np.ndarray, "n height width"]) -> Int[np.ndarray, "n 2"]:
    """Counts the pixels of intersection and union of each mask with the true one, ignored pixels left out."""
    counted = true_mask(sample)
    if sample.ignored_mask is not None:
        masks, counted = masks & ~sample.ignored_mask, counted & ~sample.ignored_mask
    overlap = mask_overlap(masks, np.broadcast_to(counted, masks.shape))
    return np.stack([overlap.intersection, overlap.union], axis=-1)


def _outcomes(sample: Sample, found: Sequence[Grounding]) -> pd.DataFrame:
    """Compares the boxes of one sample with its own, one row per grounding; areas are not known yet."""
    boxes = np.stack([one.box for one in found])
    return pd.DataFrame(
        {
            "sample_id": sample.sample_id,
            "image_id": sample.image_id,
            "box": list(map(tuple, boxes)),
            "box_iou": box_iou(np.tile(np.array(sample.box, float), (len(boxes), 1)), boxes),
            "intersection": np.nan,
            "union": np.nan,
        }
    )


def stored_maps(profiled: xr.Dataset) -> Iterator[np.ndarray]:
    """Yields the maps of a profile store, one sample after another: `layer × head × row × column`."""
    for start in range(0, profiled.sizes["sample"], BLOCK):
        yield from profiled.maps[start : start + BLOCK].values


def boxes_of(
    variant: Variant,
    maps: Iterable[Float[np.ndarray, "layer head row column"]],
    windows: Sequence[Window],
) -> Float[np.ndarray, "n 4"]:
    """Computes the box (xyxy pixels) of every sample under one variant, without masks.

    Args:
        variant: The way from maps to a box.
        maps: Maps of all heads, one sample after another, as from `stored_maps`.
        windows: The part of the image that each sample's grid covers.

    Raises:
        ValueError: The numbers of maps and windows differ.
    """
    pairs = zip(maps, windows, strict=True)
    return np.stack(
        [variant.ground(heads, window, number).box for number, (heads, window) in enumerate(pairs)]
    )


def evaluate(
    lvlm: Lvlm,
    segmenter: Segmenter | None,
    samples: Sequence[Sample],
    heads: Heads,
    rivals: Sequence[Heads] = (),
) -> pd.DataFrame:
    """Captures and grounds every sample with `heads`, and with each of the rival choices.

    Only the maps of these heads are captured, and the model runs no further than the deepest of them. Samples
    of one image are captured together.

    Args:
        lvlm: The frozen model.
        segmenter: Turns boxes into masks; the box is its only prompt. None: boxes alone are scored.
        samples: Samples with a box, and with a mask or without.
        heads: The localization heads.
        rivals: Other choices of heads, numbered by `draw`; scored by their boxes alone.

    Returns:
        Rows as from `evaluate_variants`, with `heads` ("localization" or "random") and `draw` instead of
        `variant`.
    """
    choices = [("localization", 0, heads), *(("random", draw, rival) for draw, rival in enumerate(rivals))]
    union = sorted({head for _, _, chosen in choices for head in chosen})
    place = {head: Head(0, number) for number, head in enumerate(union)}  # heads renumbered within one layer
    variants = {
        f"{name} {draw}": Variant(tuple(map(place.__getitem__, some))) for name, draw, some in choices
    }
    order = by_image(samples, BATCH)
    ordered = [samples[position] for position in order]
    maps = (some[None] for some in maps_of(lvlm, ordered, heads=union))
    outcomes = evaluate_variants(lvlm, segmenter, ordered, maps, variants, list(variants)[1:])
    rows = np.argsort(order)[:, None] * len(choices) + np.arange(len(choices))  # back to the given order
    outcomes = outcomes.iloc[rows.ravel()].reset_index(drop=True)
    names, draws, _ = zip(*choices, strict=True)
    told_apart = {"heads": names * len(samples), "draw": draws * len(samples)}
    return outcomes.drop(columns="variant").assign(**told_apart)


def ceiling(lvlm: Lvlm, samples: Sequence[Sample]) -> Float[np.ndarray, " n"]:
    """Computes the box IoUs that the pipeline reaches when given the true masks averaged onto the grid."""
    boxes = [ground(coverage_of(lvlm, sample)[None], lvlm.window(sample.size)).box for sample in samples]
    return box_iou(np.array([sample.box for sample in samples], float), np.stack(boxes))
