"""Creates the store of a profile, or takes one up: checks that it is of the same things, and mends it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.model.lvlm import Lvlm
from locheads.profiling import checksums
from locheads.profiling.origin import check_same, made_with
from locheads.profiling.store import CRITERIA, LAYOUT, attributes, say, writing

PER_HEAD = ("sample", "layer", "head")


def claim(
    store: Path, lvlm: Lvlm, samples: Sequence[Sample], origin: Mapping[str, str], part: int, made_by: str
) -> None:
    """Creates the store for these samples, in the order given, or checks that it is theirs and mends it.

    Only files that belong to no part are mended here. A store of an earlier layout, or one whose damage hides
    what it was made from, is replaced, which is said on stdout. Only the holder of the store's lock may call
    this.

    Args:
        store: Its folder.
        lvlm: The model that is profiled.
        samples: At least one, in the order of `by_image`.
        origin: As `origin_of` gives it; without `maps`, a new store keeps all.
        part: Samples in one part of a new store.
        made_by: The command that a new store is to name.

    Raises:
        LocheadsError: The folder holds something else, or a profile made with other parameters; the disk is
            full.
    """
    new = store.with_name(f".{store.name}.partial.{os.getpid()}")
    about: dict[str, str] = {"layout": LAYOUT, "maps": "all"}
    with writing(store), ExitStack() as at_the_end:
        at_the_end.callback(shutil.rmtree, new, ignore_errors=True)  # where the disk is full
        for left in store.parent.glob(f".{store.name}.partial.*"):  # by killed processes: we hold the lock
            shutil.rmtree(left)
        if store.exists():
            _sweep(store)
            if not (bad := _bad_files(store, origin)):
                return
            there = {} if "zarr.json" in bad else attributes(store)
            about |= {name: there[name] for name in ("maps",) if name in there}
            _create(new, {**about, **made_with(made_by), **there, **origin}, lvlm, samples, part)
            if checksums.mend(store, new):
                return
            say(f"{store}: all of it is computed again")
        _create(new, {**about, **made_with(made_by), **origin}, lvlm, samples, part)
        shutil.rmtree(store, ignore_errors=True)
        new.rename(store)


def _bad_files(store: Path, origin: Mapping[str, str]) -> list[str]:
    """Names what is bad of the files of no part, also on stdout; raises where the store is another's."""
    there = attributes(store)
    if "model" not in there and not (store / checksums.FOLDER).is_dir():
        raise LocheadsError(f"{store}: not a profile; name another store")
    bad = checksums.bad_files(store, checksums.STORE)
    if there and there.get("layout") != LAYOUT:
        check_same(store, there, {"model": origin["model"]})
        say(f"{store}: made by an earlier version, without checksums and with IoUs of smoothed maps")
        return bad
    if there and "zarr.json" not in bad:
        check_same(store, there, origin)
    if bad:
        say(f"{store}: missing or damaged: {', '.join(bad)}")
    return bad


def _sweep(store: Path) -> None:
    """Removes the temporary files of processes that were killed while they wrote."""
    for pattern in ("*.partial", ".*.partial.*"):
        for path in store.rglob(pattern):
            path.unlink(missing_ok=True)


def _create(
    store: Path, attributes: Mapping[str, str], lvlm: Lvlm, samples: Sequence[Sample], part: int
) -> None:
    """Creates a store in which everything is still missing, and lists its files."""
    coords = {
        "sample": np.array([sample.sample_id for sample in samples], dtype=object),
        "layer": range(lvlm.layers),
        "head": range(lvlm.heads),
    }
    xr.Dataset(coords=coords, attrs=dict(attributes)).to_zarr(store, mode="w", consolidated=False)
    group = zarr.open_group(store, mode="r+")
    group.create_group(checksums.FOLDER)
    shape = (len(samples), lvlm.layers, lvlm.heads)
    for name in CRITERIA:
        _array(group, name, shape, (part, *shape[1:]), "float64", np.nan)
    if attributes["maps"] != "none":
        window = lvlm.window(samples[0].size)
        cells = (window.rows, window.columns)
        chunk = (part, 1, lvlm.heads if attributes["maps"] == "all" else 1, *cells)
        kind = "float32" if attributes["precision"] in ("float32", "float64") else "float16"
        _array(group, "maps", (*shape, *cells), chunk, kind, np.nan)
    checksums.write_list(store, checksums.STORE, (path for path in store.rglob("*") if path.is_file()))


def _array(
    group: zarr.Group, name: str, shape: tuple[int, ...], chunk: tuple[int, ...], kind: str, missing: object
) -> None:
    dimensions = (*PER_HEAD, "row", "column")[: len(shape)]
    group.create_array(
        name, shape=shape, chunks=chunk, dtype=kind, fill_value=missing, dimension_names=dimensions
    )
