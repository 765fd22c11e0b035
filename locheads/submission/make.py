"""Makes a submission: every held-out expression of a run, grounded by the heads that it selected."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from locheads import place
from locheads.data.samples import Sample, by_image, encode_mask
from locheads.evaluation.evaluate import areas_of
from locheads.evaluation.metrics import box_iou
from locheads.method.grounding import ground
from locheads.method.selection import Head, Selection
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import Segmenter
from locheads.model.shipped import weights_digest
from locheads.profiling.origin import annotations_digest, pictures_digest, versions
from locheads.profiling.profile import BATCH, maps_of
from locheads.progress import progress
from locheads.submission.form import Row, write_submission

Split = tuple[str, str]
"""A data set and one of its splits."""
Shard = tuple[int, int]
"""Which part, counted from 1, of how many."""
WHOLE: Shard = (1, 1)


@dataclass(frozen=True)
class Run:
    """Describes a run.

    Attributes:
        lvlm: The frozen model.
        segmenter: Turns boxes into masks; None leaves masks out.
        selection: The heads and their frequencies.
        train: The expressions that they were selected on.
        splits: The expressions to ground.
        drawn: How both were drawn: name of the data, `seed`, and `held_out` and `samples`, 0 for all.
    """

    lvlm: Lvlm
    segmenter: Segmenter | None
    selection: Selection
    train: Sequence[Sample]
    splits: Mapping[Split, Sequence[Sample]]
    drawn: Mapping[str, Any]


def submit(run: Run, path: Path | str, shard: Shard = WHOLE) -> int:
    """Grounds the expressions of a shard and writes them; returns their number.

    A shard holds whole batches of the whole run, so that every map is computed in the same company, and the
    shards of one machine merge to the bytes that it gives without shards.

    Raises:
        LocheadsError: A picture cannot be read, or the file cannot be written.
    """
    batches = [(split, batch) for split in run.splits for batch in _batches(run.splits[split], shard)]
    rows: dict[tuple[Split, int], Row] = {}
    with progress(sum(len(batch) for _, batch in batches), "grounding") as bar:
        for split, batch in batches:
            for row in _grounded(run, split, batch):
                rows[split, row["at"]] = row
            bar.update(len(batch))
    order = [(split, at) for split, samples in run.splits.items() for at in range(len(samples))]
    write_submission(path, header_of(run, shard), [rows[key] for key in order if key in rows])
    return len(rows)


def header_of(run: Run, shard: Shard) -> dict[str, Any]:
    """Returns the first line: everything that the boxes depend on, with hashes."""
    lvlm, model = run.lvlm, run.lvlm.model
    segmenter = run.segmenter and {
        "name": Path(run.segmenter.name).name,
        "weights": weights_digest(run.segmenter.predictor.model),
    }
    return {
        "model": lvlm.name,
        "revision": str(getattr(model.config, "_commit_hash", None) or ""),
        "weights": weights_digest(model),
        "precision": str(model.dtype).removeprefix("torch."),
        "layers": lvlm.layers,
        "heads": lvlm.heads,
        "prompt": str(lvlm.prompt),
        "query": lvlm.query,
        "fit": lvlm.fit,
        "image_size": lvlm.image_size,
        "segmenter": segmenter,
        "selection": _selection(run.selection, run.train),
        "data": {**run.drawn, "splits": [_split(*split, some) for split, some in run.splits.items()]},
        "code": code_digest(),
        "versions": versions(),
        "machine": [machine_of(model.device)],
        "shard": list(shard),
    }


def code_digest() -> str:
    """Hashes the sources of this package, by name."""
    found = hashlib.sha256()
    for path in sorted(place.PACKAGE.rglob("*.py")):
        found.update(f"{path.relative_to(place.PACKAGE).as_posix()}\n".encode() + path.read_bytes())
    return found.hexdigest()[:16]


def machine_of(device: torch.device) -> str:
    """Names what computed: the GPU or the processor, and the system."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return f"{name}, {platform.system()}"


def _selection(selection: Selection, train: Sequence[Sample]) -> dict[str, Any]:
    often = [Head(*map(int, at)) for at in np.argwhere(selection.frequency > 0)]
    return {
        "expressions": len(train),
        "annotations": annotations_digest(train),
        "pictures": pictures_digest(train),
        "threshold": selection.threshold.value,
        "heads": [list(map(int, head)) for head in selection.heads],
        "frequencies": [[*head, float(selection.frequency[head])] for head in often],
    }


def _split(dataset: str, split: str, samples: Sequence[Sample]) -> dict[str, Any]:
    digests = {"annotations": annotations_digest(samples), "pictures": pictures_digest(samples)}
    return {"dataset": dataset, "split": split, "expressions": len(samples), **digests}


def _batches(samples: Sequence[Sample], shard: Shard) -> list[list[int]]:
    """Returns the positions of each batch of a shard, in the order in which `evaluate` takes them."""
    order, (part, parts) = by_image(samples, BATCH), shard
    return [order[start : start + BATCH] for start in range(0, len(order), BATCH)][part - 1 :: parts]


def _grounded(run: Run, split: Split, batch: Sequence[int]) -> Iterator[Row]:
    samples, heads = [run.splits[split][at] for at in batch], run.selection.heads
    for at, sample, maps in zip(batch, samples, maps_of(run.lvlm, samples, heads=heads), strict=True):
        box = ground(maps, run.lvlm.window(sample.size)).box
        iou = box_iou(np.array([sample.box], float), box[None])[0]
        row = {"dataset": split[0], "split": split[1], "at": at, "id": sample.sample_id}
        row |= {"image_id": sample.image_id, "box": box.tolist(), "box_iou": float(iou)}
        yield row | _mask(run.segmenter, sample, box)


def _mask(segmenter: Segmenter | None, sample: Sample, box: np.ndarray) -> Row:
    if segmenter is None or sample.segmentation is None:
        return {"mask": None, "intersection": None, "union": None}
    masks = segmenter.masks(sample.image, box[None])
    intersection, union = map(int, areas_of(sample, masks)[0])
    return {"mask": encode_mask(masks[0])["counts"], "intersection": intersection, "union": union}
