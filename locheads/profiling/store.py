"""Reads and writes the profile on disk: one zarr store, written part by part, opened lazily.

A store is an xarray dataset over `sample`, `layer`, `head`, `row` and `column`. It is created whole, with
everything still missing, and filled one part of samples at a time. A part counts only once its files are
listed with their checksums (see `checksums`), which is done last: a process that was killed loses the part at
hand, and the next one writes that part again, to the same bytes. A part is a chunk, so the processes of a
cluster may write at the same time; apart from them, only the holder of the store's lock writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.files import explained
from locheads.profiling import checksums
from locheads.profiling.origin import Kept, check_same, kept_heads

PART = 64
"""Samples in one part of a new store."""

LAYOUT = "2"
"""The kind of store; the first had no checksums, and the IoU of smoothed maps without saying so."""

CRITERIA = ("attention_sum", "spatial_entropy", "iou")


@dataclass(frozen=True)
class Part:
    """Consecutive samples of a store: part `number`, from sample `start` on."""

    number: int
    start: int
    samples: tuple[Sample, ...]


def is_finished(store: Path, origin: Mapping[str, str]) -> bool:
    """Returns whether a store is whole: every part is there, and every file as it was written.

    Raises:
        LocheadsError: It was made with other parameters.
    """
    if checksums.bad_files(store, checksums.STORE):
        return False
    check_same(store, attributes(store), origin)
    names = _lists(store)
    return all(checksums.is_listed(store, name) for name in names) and not any(
        checksums.bad_files(store, name) for name in names
    )


def unfinished(store: Path, samples: Sequence[Sample]) -> list[Part]:
    """Returns the parts that are still to be written, and names on stdout what is missing or damaged.

    Args:
        store: Its folder, sound but for its parts.
        samples: Its samples, in its order.
    """
    starts, parts = starts_of(store), []
    for number, (start, name) in enumerate(zip(starts, _lists(store), strict=True)):
        if not (bad := checksums.bad_files(store, name)):
            continue
        if checksums.is_listed(store, name) or _files(store, number):
            say(f"{store}: missing or damaged: {', '.join(bad)}; samples from {start} on are computed again")
        parts.append(Part(number, start, tuple(samples[start : start + starts.step])))
    return parts


def keeps(store: Path) -> Kept:
    """Returns whose maps the store keeps."""
    return kept_heads(str(attributes(store)["maps"]))


def write(store: Path, part: Part, found: Mapping[str, np.ndarray]) -> None:
    """Writes one part, as `profile.judged` gives it with the maps that the store keeps, and its list last."""
    here, kept = slice(part.start, part.start + len(part.samples)), keeps(store)
    with writing(store):
        for path in _files(store, part.number):  # unfinished or damaged
            path.unlink()
        for name in CRITERIA:
            zarr.open_array(store, path=name, mode="r+")[here] = found[name]
        if kept == "all":
            zarr.open_array(store, path="maps", mode="r+")[here] = found["maps"]
        elif kept != "none":
            maps = zarr.open_array(store, path="maps", mode="r+")
            for place, (layer, head) in enumerate(kept):
                maps[here, layer, head] = found["maps"][:, place]
        checksums.write_list(store, checksums.of_part(part.number), _files(store, part.number))


@contextmanager
def writing(store: Path) -> Iterator[None]:
    """Turns a full disk or a read-only folder into one line that names the store."""
    try:
        yield
    except OSError as error:
        raise (explained(error, store, "finished samples are kept") or error) from error


def opened(store: Path, order: Sequence[int]) -> xr.Dataset:
    """Opens a store lazily, its samples put back from `order` (see `by_image`)."""
    dataset = xr.open_zarr(store, consolidated=False)
    places = np.argsort(order)
    return dataset if (np.diff(places) == 1).all() else dataset.isel(sample=places)


def read_profile(store: Path | str) -> xr.Dataset:
    """Opens a finished profile that `locheads profile` wrote, of whatever model, after checking every file.

    Raises:
        LocheadsError: There is none, it is not finished, or a file is missing or damaged.
    """
    store = Path(store)
    there = attributes(store)
    if "model" not in there and not (store / checksums.FOLDER).is_dir():
        raise LocheadsError(f"{store}: not a profile; make one with `locheads profile`")
    if there and there.get("layout") != LAYOUT:
        raise LocheadsError(f"{store}: made by an earlier version; make it again with `locheads profile`")
    bad = checksums.bad_files(store, checksums.STORE)
    if not bad:
        starts, names = starts_of(store), _lists(store)
        counts = [min(starts.step, starts.stop - start) for start in starts]
        listed = [checksums.is_listed(store, name) for name in names]
        done = sum(count for count, there in zip(counts, listed, strict=True) if there)
        if done < starts.stop:
            raise LocheadsError(
                f"{store}: {done} of {starts.stop} samples done; call `locheads profile` again to go on"
            )
        bad = [path for name in names for path in checksums.bad_files(store, name)]
    if bad:
        raise LocheadsError(
            f"{store / bad[0]}: missing or damaged; call `locheads profile` again to mend the store"
        )
    return xr.open_zarr(store, consolidated=False)


def say(what: str) -> None:
    """Prints a line at once, on stdout: in a notebook, stderr would look like a failure."""
    print(what, flush=True)


def attributes(store: Path) -> dict[str, Any]:
    """Reads a store's attributes; none where there is no store or they cannot be read."""
    try:
        found = json.loads((store / "zarr.json").read_text("utf-8"))["attributes"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def starts_of(store: Path) -> range:
    """Returns the first samples of all parts; `stop` is the number of samples, `step` that of a part."""
    iou = zarr.open_array(store, path="iou", mode="r")
    return range(0, iou.shape[0], iou.chunks[0])


def _lists(store: Path) -> list[str]:
    """Returns the names of the lists of all parts."""
    return [checksums.of_part(number) for number in range(len(starts_of(store)))]


def _files(store: Path, number: int) -> list[Path]:
    """Finds the chunks of a part."""
    folders = (store / name / "c" / str(number) for name in (*CRITERIA, "maps"))
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]
