"""Describes what a profile is made from: all of it has to be the same when a store is taken up again."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import transformers
import xarray as xr
import zarr

import locheads
from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.method.geometry import Window
from locheads.method.selection import check_heads, parse_heads
from locheads.model.lvlm import Lvlm
from locheads.model.shipped import weights_digest

Kept = Literal["all", "none"] | Sequence[tuple[int, int]]
"""Whose maps a store keeps: those of all heads, of none, or of some `(layer, head)`."""

IouOf = Literal["raw", "smoothed"]
"""What the IoU of one head is taken of: its map as it is (appendix A), or smoothed as for grounding."""


def origin_of(lvlm: Lvlm, samples: Sequence[Sample], kept: Kept | None, iou_of: IouOf) -> dict[str, str]:
    """Describes what a store is made from, as its attributes.

    Pictures and weights count by their bytes, so that another picture under the same name, or the same
    weights in another order, are another origin. Each picture file is read once.

    Args:
        lvlm: The model that is profiled.
        samples: At least one, in the order of the store.
        kept: Whose maps to keep; None leaves `maps` out.
        iou_of: What the IoU is taken of.

    Raises:
        LocheadsError: A picture cannot be read, the images have different grids, or there is no such head.
    """
    if kept is not None and not isinstance(kept, str):
        check_heads(kept, lvlm.layers, lvlm.heads, lvlm.name)
    window = _common_grid(lvlm, samples)
    seen = _digest([lvlm.window(sample.size) for sample in samples])
    origin = {
        "model": lvlm.name,
        "revision": str(getattr(lvlm.model.config, "_commit_hash", None) or ""),
        "weights": weights_digest(lvlm.model),
        "precision": str(lvlm.model.dtype).removeprefix("torch."),
        "prompt": str(lvlm.prompt),
        "query": lvlm.query,
        "iou_of": iou_of,
        "samples": str(len(samples)),
        "sample_ids": _digest([sample.sample_id for sample in samples]),
        "annotations": annotations_digest(samples),
        "pictures": pictures_digest(samples),
        "geometry": f"{lvlm.fit}, {window.rows} × {window.columns}, {seen}",
    }
    return origin if kept is None else {**origin, "maps": written(kept)}


def check_same(store: Path, there: Mapping[str, Any], origin: Mapping[str, str]) -> None:
    """Compares a store's attributes with what is asked for.

    Args:
        store: Its folder.
        there: Its attributes; those of an earlier layout lack some names, which are not compared.
        origin: As `origin_of` gives it.

    Raises:
        LocheadsError: They differ; the message names the first parameter that does, and both values.
    """
    for name, value in origin.items():
        if (other := there.get(name, value)) != value:
            raise LocheadsError(
                f"{store}: made with {name} {other!r}, asked for {name} {value!r}{_HINTS.get(name, '')}; "
                "ask for the same, or name another store or world"
            )


_HINTS = {
    "weights": " (checksums of the weights)",
    "sample_ids": " (checksums: other samples are drawn; compare data set, split and seed)",
    "annotations": " (checksums of expressions, sizes, boxes and masks)",
    "pictures": " (checksums of the picture files)",
    "geometry": " (with a checksum of the windows of all pictures)",
}


def made_with(command: str) -> dict[str, str]:
    """Returns attributes that only inform: the command, and the versions of what computed the store."""
    return {"command": command, "versions": json.dumps(versions())}


def versions() -> dict[str, str]:
    """Returns the versions of this package, of Python, and of the packages that compute."""
    modules = {"torch": torch, "transformers": transformers, "numpy": np, "xarray": xr, "zarr": zarr}
    found = {name: str(module.__version__) for name, module in modules.items()}
    return {"locheads": locheads.__version__, "python": platform.python_version(), **found}


def command() -> str:
    """Returns the command line, where `locheads` was called by one."""
    name = Path(sys.argv[0]).name
    return (
        shlex.join([name, *sys.argv[1:]]) if name == "locheads" else "locheads.profiling.profile.profile(...)"
    )


def kept_heads(text: str) -> Kept:
    """Reads whose maps to keep, as in a store's attribute `maps`: `all`, `none`, or heads as in `L3H2,L4H1`.

    Raises:
        LocheadsError: The text is none of these.
    """
    if text == "all":
        return "all"
    if text == "none":
        return "none"
    try:
        return parse_heads(text)
    except LocheadsError:
        raise LocheadsError(
            f"maps '{text}': give all, none, or heads as in L3H2,L4H1 (layer, head, both from 0)"
        ) from None


def written(kept: Kept) -> str:
    """Returns the attribute that `kept_heads` reads."""
    if isinstance(kept, str):
        return kept
    return ",".join(f"L{layer}H{head}" for layer, head in sorted(set(kept)))


def _common_grid(lvlm: Lvlm, samples: Sequence[Sample]) -> Window:
    first = lvlm.window(samples[0].size)
    for sample in samples:
        window = lvlm.window(sample.size)
        if (window.rows, window.columns) != (first.rows, first.columns):
            raise LocheadsError(
                f"sample {sample.sample_id} has a grid of {window.rows} × {window.columns}, "
                f"{samples[0].sample_id} one of {first.rows} × {first.columns}: a store holds one grid; "
                "profile images of one size, or set the processor to a fixed one"
            )
    return first


def annotations_digest(samples: Sequence[Sample]) -> str:
    """Hashes image id, expression, size, box and mask of every sample, in order."""
    return _digest([(s.image_id, s.expression, s.size, s.box, s.segmentation) for s in samples])


def pictures_digest(samples: Sequence[Sample]) -> str:
    """Hashes the bytes of all pictures, in the order of their first samples; each is read once."""
    first = {(str(sample.image_path), sample.image_id): sample for sample in reversed(samples)}
    return _digest(hashlib.sha256(first[key].encoded_image).hexdigest() for key in reversed(first))


def _digest(things: Iterable[object]) -> str:
    return hashlib.sha256("\n".join(map(repr, things)).encode()).hexdigest()[:16]
