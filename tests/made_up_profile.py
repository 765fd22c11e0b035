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


def profile_of(sums: np.ndarray, entropies: np.ndarray) -> xr.Dataset:
    return xr.Dataset({"attention_sum": (PER_HEAD, sums), "spatial_entropy": (PER_HEAD, entropies)})


def noise(seed: int = 0, samples: int = 40) -> xr.Dataset:
    """Sums with a bend, entropies with many ties: no head is better than another."""
    rng = np.random.default_rng(seed)
    sums = np.sort(rng.random(32)).reshape(4, 8) ** 4 + 0.01 * rng.random((samples, 4, 8))
    return profile_of(sums, np.round(rng.random((samples, 4, 8)), 1))


def planted(samples: int = 40) -> xr.Dataset:
    """As `noise`, but three heads that pass look at one place in every sample."""
    profiled = noise(samples=samples)
    for head in (5, 6, 7):
        profiled.spatial_entropy[:, 3, head] = -1.0
    return profiled
