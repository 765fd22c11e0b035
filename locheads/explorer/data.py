"""Gathers what the explorer shows: expressions with their pictures, true boxes, and the maps of all heads.

The maps of the heads chosen most often are stored as computed, in single precision; those of the others in
steps of 1/65535 of each map's largest value.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from PIL import Image

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.evaluation.metrics import box_iou
from locheads.method.geometry import Window
from locheads.method.grounding import ground
from locheads.method.selection import Head, Selection

EXACT = 16
"""How many heads, the most frequent ones, keep their maps in single precision."""

STEPS = 65535
PIXELS = 336
"""Longest edge of a stored picture."""

WindowOf = Callable[[tuple[int, int]], Window]
"""Returns the window of an image of (width, height), as `Lvlm.window` does."""


def choose_expressions(
    profile: xr.Dataset,
    samples: Sequence[Sample],
    window_of: WindowOf,
    heads: Sequence[Head],
    pictures: int = 4,
) -> list[int]:
    """Chooses pictures from well to badly grounded ones, each with two expressions where it has them.

    Pictures with expressions for two objects come first. They are ranked by the IoU of the `heads`' box with
    the true box, and taken at equal distances from the best to the worst.

    Args:
        profile: A profile of `samples`, in their order, with the maps of all heads.
        samples: Of these, the ones without a box are left out.
        window_of: The model's window of an image.
        heads: The localization heads.
        pictures: How many pictures, at most.

    Returns:
        Positions in `samples`, those of a picture adjacent.

    Raises:
        LocheadsError: No sample has a box.
    """
    positions = _two_of_each(samples)
    if not positions:
        raise LocheadsError("no sample has a box; the explorer needs a data set with boxes, such as refcoco")
    ious = {
        name: [_iou(profile, samples, place, window_of, heads) for place in positions[name]]
        for name in positions
    }
    most = max(map(len, positions.values()))
    ranked = sorted(
        (name for name in positions if len(positions[name]) == most), key=lambda name: -np.mean(ious[name])
    )
    ranks = np.unique(np.linspace(0, len(ranked) - 1, min(pictures, len(ranked))).round().astype(int))
    return [place for rank in ranks for place in positions[ranked[rank]]]


def _two_of_each(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Returns the positions of up to two samples of each image, with different boxes."""
    positions: dict[str, list[int]] = defaultdict(list)
    for place, sample in enumerate(samples):
        here = positions[sample.image_id] if sample.box is not None else []
        if (
            sample.box is not None
            and len(here) < 2
            and sample.box not in [samples[other].box for other in here]
        ):
            here.append(place)
    return dict(positions)


def _iou(
    profile: xr.Dataset, samples: Sequence[Sample], place: int, window_of: WindowOf, heads: Sequence[Head]
) -> float:
    """Returns the IoU of the heads' box with the true box of one sample."""
    layers, numbers = (xr.DataArray([head[axis] for head in heads], dims="k") for axis in (0, 1))
    maps = (
        profile.maps.isel(sample=place)
        .isel(layer=layers, head=numbers)
        .transpose("k", "row", "column")
        .values
    )
    found = ground(maps, window_of(samples[place].size))
    return float(box_iou(found.box[None], np.array([samples[place].box], float))[0])


def explorer_data(
    profile: xr.Dataset,
    samples: Sequence[Sample],
    shown: Sequence[int],
    window_of: WindowOf,
    selection: Selection,
) -> dict[str, Any]:
    """Gathers what the explorer shows, ready for JSON.

    Args:
        profile: A profile of `samples`, in their order, with the maps of all heads.
        samples: The samples over which attention sum and IoU are averaged.
        shown: Positions of the samples that are shown, which need a box.
        window_of: The model's window of an image.
        selection: The localization heads, and how often each head was a candidate.

    Returns:
        Heads are numbered `layer * heads + head`. Per head: frequency, mean sum and IoU (None where no sample
        has a mask); per expression the same of its own, its entropies in nats (None without a component), its
        picture, window and true box in pixels, and the maps as base64.

    Raises:
        LocheadsError: The profile lacks maps, or a sample that is shown has no box.
    """
    if "maps" not in profile:
        raise LocheadsError("the profile has no maps; make it with `locheads profile --maps all`")
    layers, heads = profile.sizes["layer"], profile.sizes["head"]
    order = np.argsort(-selection.frequency, axis=None, kind="stable")
    exact = sorted(int(head) for head in order[:EXACT])
    return {
        "model": str(profile.attrs.get("model", "")),
        "samples": len(samples),
        "chosen_in": len(selection.chosen),
        "layers": layers,
        "heads": heads,
        "rows": profile.sizes["row"],
        "columns": profile.sizes["column"],
        "ranking": order.tolist(),
        "chosen": [head.layer * heads + head.head for head in selection.heads],
        "exact": exact,
        "frequency": _numbers(selection.frequency),
        "attention_sum": _numbers(profile.attention_sum.mean("sample").values),
        "iou": _numbers(profile.iou.mean("sample").values),
        "expressions": [_expression(profile, samples[place], place, window_of, exact) for place in shown],
    }


def _expression(
    profile: xr.Dataset, sample: Sample, place: int, window_of: WindowOf, exact: list[int]
) -> dict[str, Any]:
    """Returns one expression with its picture and maps."""
    if sample.box is None:
        raise LocheadsError(f"sample {sample.sample_id} has no box; show samples with boxes only")
    one = profile.isel(sample=place)
    maps = one.maps.values.astype(np.float32).reshape(-1, one.sizes["row"] * one.sizes["column"])
    if not np.isfinite(maps).all():
        raise LocheadsError(
            f"sample {sample.sample_id}: the profile lacks maps; make it with `locheads profile --maps all`"
        )
    window = window_of(sample.size)
    steps, scales = quantised(np.delete(maps, exact, axis=0))
    return {
        "id": sample.sample_id,
        "image": sample.image_id,
        "expression": sample.expression,
        "picture": _picture(sample.image),
        "size": list(sample.size),
        "window": [window.x0, window.y0, window.x1, window.y1],
        "box": list(map(float, sample.box)),
        "attention_sum": _numbers(one.attention_sum.values),
        "entropy": _numbers(one.spatial_entropy.values),
        "iou": _numbers(one.iou.values),
        "exact": _base64(maps[exact].astype("<f4").tobytes()),
        "coarse": _base64(steps.astype("<u2").tobytes()),
        "scales": [float(scale) for scale in scales],
    }


def quantised(maps: Float[np.ndarray, "head cells"]) -> tuple[np.ndarray, Float[np.ndarray, " head"]]:
    """Rounds each map to whole steps of 1/65535 of its largest value.

    Returns:
        The steps, and the size of a step of each map; a map is `steps * scales[:, None]`. An empty map has
        steps of size 0.

    Example:
        >>> steps, scales = quantised(np.array([[0.0, 1.0, 3.0]]))
        >>> steps.tolist(), scales.round(7).tolist()
        ([[0, 21845, 65535]], [4.58e-05])
    """
    scales = maps.max(axis=1, initial=0).astype(np.float64) / STEPS
    steps = np.divide(maps, scales[:, None], out=np.zeros(maps.shape), where=scales[:, None] > 0)
    return steps.round().astype(np.uint16), scales


def _picture(image: Image.Image) -> str:
    """Returns a small JPEG as a data URL."""
    small = image.copy()
    small.thumbnail((PIXELS, PIXELS))
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{_base64(buffer.getvalue())}"


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode("ascii")


def _numbers(values: np.ndarray) -> list[float | None]:
    """Returns values in flat order, rounded to five places; None for what is not finite."""
    return [round(float(value), 5) if np.isfinite(value) else None for value in values.ravel()]
