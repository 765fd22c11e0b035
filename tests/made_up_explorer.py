"""An explorer's data without a model: blobs of attention, pictures of noise, some of them oblong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image
from scipy import ndimage

from locheads.data.samples import Sample
from locheads.explorer.data import choose_expressions, explorer_data
from locheads.method.criteria import attention_sum, spatial_entropy
from locheads.method.geometry import Window
from locheads.method.selection import Selection, select_heads

SIZES = ((96, 96), (120, 80), (61, 97))
BOXES = ((8.0, 8.0, 40.0, 40.0), (30.0, 40.0, 60.0, 75.0))


@dataclass(frozen=True)
class MadeUp:
    """What `explorer_data` was given, and what it gave."""

    samples: list[Sample]
    profile: xr.Dataset
    selection: Selection
    shown: Sequence[int]
    data: dict[str, Any]

    @staticmethod
    def window_of(size: tuple[int, int]) -> Window:
        return Window.pad_to_square(size, (12, 12))


def made_up_explorer(layers: int = 6, heads: int = 8, seed: int = 0, pictures: int = 3) -> MadeUp:
    """Three pictures with two expressions each; the last head of the last layer is uniform."""
    samples = [sample(picture, box) for picture in range(3) for box in range(2)]
    maps = attention((len(samples), layers, heads, 12, 12), seed)
    profile = profile_of(maps, samples, seed)
    chosen = select_heads(profile.attention_sum.values, profile.spatial_entropy.values, kept=5)
    shown = choose_expressions(profile, samples, MadeUp.window_of, chosen.heads, pictures)
    data = explorer_data(profile, samples, shown, MadeUp.window_of, chosen)
    return MadeUp(samples, profile, chosen, shown, data)


def sample(picture: int, box: int) -> Sample:
    image = Image.fromarray(
        np.random.default_rng(picture).integers(0, 255, (*SIZES[picture][::-1], 3), np.uint8)
    )
    buffer = BytesIO()
    image.save(buffer, "PNG")
    name = f"p{picture}"
    text = f"the </script> & <b>thing</b> {picture}{box}."
    size, content = SIZES[picture], buffer.getvalue()
    return Sample(f"{name}-{box}", Path(f"{name}.png"), name, text, size, BOXES[box], stored=lambda: content)


def attention(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Blobs that a head shares between samples in part, in single precision."""
    rng = np.random.default_rng(seed)
    noise = ndimage.gaussian_filter(rng.random(shape), (0, 0, 0, 1.2, 1.2))
    maps = (noise - noise.min(axis=(-2, -1), keepdims=True)) ** 4
    sums = np.where(rng.random(shape[1:3]) > 0.4, 0.8, 0.1)[..., None, None]
    maps = maps / maps.sum(axis=(-2, -1), keepdims=True) * sums
    maps[:, -1, -1] = 0.001
    return maps.astype(np.float32)


def profile_of(maps: np.ndarray, samples: Sequence[Sample], seed: int) -> xr.Dataset:
    per_head = ("sample", "layer", "head")
    return xr.Dataset(
        {
            "attention_sum": (per_head, attention_sum(maps)),
            "spatial_entropy": (per_head, spatial_entropy(maps)),
            "iou": (per_head, np.random.default_rng(seed).random(maps.shape[:3])),
            "maps": ((*per_head, "row", "column"), maps),
        },
        coords={"sample": np.array([one.sample_id for one in samples], object)},
        attrs={"model": "made-up <model>"},
    )
