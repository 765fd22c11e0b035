"""The profile on disk: one zarr store, written part by part, opened lazily.

A store is an xarray dataset over `sample`, `layer`, `head`, `row` and `column`. It is created whole, with
everything still missing, and filled one part of samples at a time. A part counts only once its samples are
`done`, which is written last: a process that was killed loses the part at hand, and the next one writes that
part again, to the same bytes. A part is a chunk, so several processes may write at the same time.
"""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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

PART = 64
"""Samples in one part of a new store."""

Kept = Literal["all", "none"] | Sequence[tuple[int, int]]
"""Whose maps a store keeps: those of all heads, of none, or of some `(layer, head)`."""

IouOf = Literal["raw", "smoothed"]
"""What the IoU of one head is taken of: its map as it is (appendix A), or smoothed as for grounding."""

LAYOUT = "2"
"""The kind of store; the first had the IoU of smoothed maps without saying so."""

PER_HEAD = ("sample", "layer", "head")
CRITERIA = ("attention_sum", "spatial_entropy", "iou")


@dataclass(frozen=True)
class Part:
    """Consecutive samples of a store, from `start` on."""

    start: int
    samples: tuple[Sample, ...]


def claim(
    store: Path | str,
    lvlm: Lvlm,
    samples: Sequence[Sample],
    kept: Kept | None,
    iou_of: IouOf,
    part: int,
    made_by: str,
) -> None:
    """Creates the store for these samples, in the order given, or checks that it is theirs.

    A store of an earlier layout, whose IoUs have another meaning, is replaced, which is said on stdout.

    Args:
        store: Its folder.
        lvlm: The model that is profiled.
        samples: At least one, in the order of `by_image`.
        kept: Whose maps to keep; None: as the store has it, in a new store all.
        iou_of: What the IoU is taken of.
        part: Samples in one part of a new store.
        made_by: The command that a new store is to name.

    Raises:
        LocheadsError: The folder holds something else, or a profile made with other parameters; the images
            have different grids; there is no such head.
    """
    store = Path(store)
    if store.exists() and _check(store, _origin(lvlm, samples, kept, iou_of)):
        return
    if kept is not None and not isinstance(kept, str):
        check_heads(kept, lvlm.layers, lvlm.heads, lvlm.name)
    partial = store.with_name(f".{store.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    origin = _origin(lvlm, samples, "all" if kept is None else kept, iou_of)
    _create(partial, {**origin, "command": made_by}, lvlm, samples, part)
    shutil.rmtree(store, ignore_errors=True)
    partial.rename(store)


def unfinished(store: Path | str, samples: Sequence[Sample]) -> list[Part]:
    """The parts that are still to be written; `samples` in the order of the store."""
    done = zarr.open_array(store, path="done", mode="r")
    part, finished = done.chunks[0], np.asarray(done[:])
    starts = range(0, len(samples), part)
    return [Part(s, tuple(samples[s : s + part])) for s in starts if not finished[s : s + part].all()]


def keeps(store: Path | str) -> Kept:
    """Whose maps the store keeps."""
    return kept_heads(str(zarr.open_group(store, mode="r").attrs["maps"]))


def write(store: Path | str, start: int, found: Mapping[str, np.ndarray]) -> None:
    """Write one part, as `profile.judged` gives it with the maps that the store keeps."""
    here, kept = slice(start, start + len(found["iou"])), keeps(store)
    for name in CRITERIA:
        zarr.open_array(store, path=name, mode="r+")[here] = found[name]
    if kept == "all":
        zarr.open_array(store, path="maps", mode="r+")[here] = found["maps"]
    elif kept != "none":
        maps = zarr.open_array(store, path="maps", mode="r+")
        for place, (layer, head) in enumerate(kept):
            maps[here, layer, head] = found["maps"][:, place]
    zarr.open_array(store, path="done", mode="r+")[here] = True


def opened(store: Path | str, order: Sequence[int]) -> xr.Dataset:
    """The store, read when its values are asked for, its samples put back from `order` (see `by_image`)."""
    dataset = xr.open_zarr(store, consolidated=False).drop_vars("done")
    places = np.argsort(order)
    return dataset if (np.diff(places) == 1).all() else dataset.isel(sample=places)


def kept_heads(text: str) -> Kept:
    """Whose maps to keep, as in a store's attribute `maps`: `all`, `none`, or heads as in `L3H2,L4H1`.

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


def _written(kept: Kept) -> str:
    """The attribute that `kept_heads` reads."""
    return (
        kept if isinstance(kept, str) else ",".join(f"L{layer}H{head}" for layer, head in sorted(set(kept)))
    )


def _origin(lvlm: Lvlm, samples: Sequence[Sample], kept: Kept | None, iou_of: IouOf) -> dict[str, str]:
    """What a store is made from: all of it has to be the same when it is taken up again."""
    weights = sum(float(p.detach().double().abs().sum()) for p in lvlm.model.parameters())
    window = _common_grid(lvlm, samples)
    seen = _digest([lvlm.window(s.size) for s in samples])
    data = [(s.sample_id, s.image_id, s.expression, s.size, s.box, s.segmentation) for s in samples]
    origin = {
        "model": lvlm.name,
        "revision": str(getattr(lvlm.model.config, "_commit_hash", None) or ""),
        "weights": f"{weights:.9e}",
        "precision": str(lvlm.model.dtype).removeprefix("torch."),
        "prompt": str(lvlm.prompt),
        "query": lvlm.query,
        "iou_of": iou_of,
        "geometry": f"{lvlm.fit}, {window.rows} × {window.columns}, {seen}",
        "data": _digest(data),
    }
    return origin if kept is None else {**origin, "maps": _written(kept)}


def _digest(things: Sequence[object]) -> str:
    return hashlib.sha256("\n".join(map(repr, things)).encode()).hexdigest()


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


def _check(store: Path, origin: Mapping[str, str]) -> bool:
    """Returns whether the store has today's layout; raises where it is of something else."""
    if not (store / "zarr.json").is_file():
        raise LocheadsError(f"{store}: not a profile; remove it or name another --store")
    there = zarr.open_group(store, mode="r").attrs
    today = there.get("layout") == LAYOUT
    differing = [k for k, value in origin.items() if there.get(k) != value and (today or k in there)]
    if differing:
        raise LocheadsError(f"{store}: made with another {differing[0]}; remove it or name another store")
    for stale in store.rglob("*.partial"):  # left by a process that was killed while it wrote
        stale.unlink()
    if not today:
        print(f"{store}: an earlier version took the IoU of smoothed maps; computed again", flush=True)
    return today


def _create(store: Path, origin: Mapping[str, str], lvlm: Lvlm, samples: Sequence[Sample], part: int) -> None:
    """A store in which everything is still missing."""
    coords = {
        "sample": np.array([sample.sample_id for sample in samples], dtype=object),
        "layer": range(lvlm.layers),
        "head": range(lvlm.heads),
    }
    attributes = {"layout": LAYOUT, **origin, "versions": json.dumps(_versions())}
    xr.Dataset(coords=coords, attrs=attributes).to_zarr(store, mode="w", consolidated=False)
    group = zarr.open_group(store, mode="r+")
    shape = (len(samples), lvlm.layers, lvlm.heads)
    for name in CRITERIA:
        _array(group, name, shape, (part, *shape[1:]), "float64", np.nan)
    _array(group, "done", shape[:1], (part,), "bool", False)
    if origin["maps"] == "none":
        return
    window = lvlm.window(samples[0].size)
    cells = (window.rows, window.columns)
    chunk = (part, 1, lvlm.heads if origin["maps"] == "all" else 1, *cells)
    kind = "float32" if origin["precision"] in ("float32", "float64") else "float16"
    _array(group, "maps", (*shape, *cells), chunk, kind, np.nan)


def _array(
    group: zarr.Group, name: str, shape: tuple[int, ...], chunk: tuple[int, ...], kind: str, missing: object
) -> None:
    dimensions = (*PER_HEAD, "row", "column")[: len(shape)]
    group.create_array(
        name, shape=shape, chunks=chunk, dtype=kind, fill_value=missing, dimension_names=dimensions
    )


def _versions() -> dict[str, str]:
    modules = {"torch": torch, "transformers": transformers, "numpy": np, "xarray": xr, "zarr": zarr}
    versions = {name: str(module.__version__) for name, module in modules.items()}
    return {"locheads": locheads.__version__, "python": platform.python_version(), **versions}


def command() -> str:
    """The command line, where `locheads` was called by one."""
    name = Path(sys.argv[0]).name
    return (
        shlex.join([name, *sys.argv[1:]]) if name == "locheads" else "locheads.profiling.profile.profile(...)"
    )


def read_profile(store: Path | str) -> xr.Dataset:
    """A finished profile that `locheads profile` wrote, of whatever model.

    Raises:
        LocheadsError: There is none, or it is not finished.
    """
    try:
        done = np.asarray(zarr.open_array(store, path="done", mode="r")[:])
    except (FileNotFoundError, ValueError, TypeError):
        raise LocheadsError(f"{store}: not a profile; make one with `locheads profile`") from None
    if not done.all():
        raise LocheadsError(
            f"{store}: {int(done.sum())} of {done.size} samples done; call `locheads profile` again to go on"
        )
    return xr.open_zarr(store, consolidated=False).drop_vars("done")
