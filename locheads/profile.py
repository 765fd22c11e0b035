"""Head profiling: criteria and overlap of every head on every sample, in one labelled, resumable store.

The store is a folder of parts, one for each run of samples, next to a `profile.json` that says what
they were made from. A part is written under another name and then renamed, so a run that was
stopped, however, goes on where it was and ends as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from locheads.capture import capture
from locheads.criteria import attention_sum, spatial_entropy
from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.grounding import iou_per_head
from locheads.lvlm import Lvlm
from locheads.progress import progress
from locheads.samples import Sample

PART = 64
"""Samples in one part of the store."""
BATCH = 16


def profile(lvlm: Lvlm, samples: Sequence[Sample], store: Path) -> xr.Dataset:
    """Capture every head's map on every sample and judge it by the paper's criteria.

    Args:
        lvlm: The frozen model.
        samples: With masks, for the overlap.
        store: Folder of the store; what it holds already is not computed again.

    Returns:
        `maps (sample, layer, head, row, column)`, `attention_sum`, `spatial_entropy` and `iou` (each
        `sample, layer, head`), `sample` labelled by sample ids.

    Raises:
        LocheadsError: The store was made from other samples or another model, or a sample has no mask.
    """
    _claim(store, lvlm, samples)
    parts = [samples[start : start + PART] for start in range(0, len(samples), PART)]
    with progress(len(samples), f"heads of {lvlm.name}") as bar:
        for number, part in enumerate(parts):
            folder = store / f"part-{number:05d}.zarr"
            if not folder.exists():
                _write(_judged(lvlm, part), folder)
            bar.update(len(part))
    found = [
        xr.open_zarr(store / f"part-{number:05d}.zarr", consolidated=False).load()
        for number in range(len(parts))
    ]
    return xr.concat(found, dim="sample").assign_attrs(model=lvlm.name)


def maps_of(lvlm: Lvlm, samples: Sequence[Sample], batch: int = BATCH) -> Iterator[np.ndarray]:
    """Maps of all heads, one sample after another: `layer × head × row × column`, single precision."""
    for start in range(0, len(samples), batch):
        some = samples[start : start + batch]
        yield from capture(lvlm, [s.image for s in some], [s.expression for s in some]).float().cpu().numpy()


def true_mask(sample: Sample) -> Bool[np.ndarray, "height width"]:
    """The mask of the object that a sample names.

    Raises:
        LocheadsError: The sample has none.
    """
    mask = sample.mask
    if mask is None:
        raise LocheadsError(f"sample {sample.sample_id} has no mask; overlap needs a data set with masks")
    return mask


def coverage_of(lvlm: Lvlm, sample: Sample) -> Float[np.ndarray, "row column"]:
    """Share of each patch that the true object covers; raises as `true_mask`."""
    return lvlm.window(sample.size).mask_to_grid(true_mask(sample))


def _judged(lvlm: Lvlm, samples: Sequence[Sample]) -> xr.Dataset:
    maps = np.stack(list(maps_of(lvlm, samples)))
    coverage = np.stack([coverage_of(lvlm, sample) for sample in samples])
    per_head = ("sample", "layer", "head")
    return xr.Dataset(
        {
            "maps": ((*per_head, "row", "column"), maps),
            "attention_sum": (per_head, attention_sum(maps)),
            "spatial_entropy": (per_head, spatial_entropy(maps)),
            "iou": (per_head, iou_per_head(maps, coverage)),
        },
        coords={"sample": [sample.sample_id for sample in samples]},
    )


def _write(part: xr.Dataset, folder: Path) -> None:
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    part.to_zarr(partial, mode="w", consolidated=False)
    partial.rename(folder)


def _claim(store: Path, lvlm: Lvlm, samples: Sequence[Sample]) -> None:
    """Write down what the store is made from, or check that it is the same."""
    listed = "\n".join(f"{s.sample_id}\t{s.image_path.name}\t{s.expression}" for s in samples)
    weights = sum(float(p.detach().double().abs().sum()) for p in lvlm.model.parameters())
    origin = {
        "model": lvlm.name,
        "weights": f"{weights:.9e}",
        "prompt": lvlm.prompt,
        "samples": hashlib.sha256(listed.encode()).hexdigest(),
    }
    path = store / "profile.json"
    if path.exists():
        differing = [key for key, value in json.loads(path.read_text()).items() if origin.get(key) != value]
        if differing:
            raise LocheadsError(
                f"{store}: this profile was made with another {differing[0]}; remove it or name another"
            )
        return
    with replacing(path) as partial:
        partial.write_text(json.dumps(origin, indent=2) + "\n")
