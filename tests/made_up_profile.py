"""A profile without a model."""

from __future__ import annotations

import numpy as np
import xarray as xr

PER_HEAD = ("sample", "layer", "head")


def made_up(samples: int = 40, layers: int = 8, heads: int = 8, seed: int = 0) -> xr.Dataset:
    """A profile in which some heads of the upper layers pass, and lower entropy goes with higher IoU."""
    rng = np.random.default_rng(seed)
    shape = (samples, layers, heads)
    quality = rng.random(shape[1:])
    sums = np.where(quality > 0.3, 0.8, 0.1) + 0.01 * rng.random(shape)
    entropies = 2 - quality + 0.2 * rng.random(shape)
    return xr.Dataset(
        {
            "attention_sum": (PER_HEAD, sums),
            "spatial_entropy": (PER_HEAD, entropies),
            "iou": (PER_HEAD, np.clip(quality + 0.1 * rng.normal(size=shape), 0, 1)),
        },
        coords={"sample": np.array([f"s{i}" for i in range(samples)], object)},
        attrs={"model": "made-up"},
    )
