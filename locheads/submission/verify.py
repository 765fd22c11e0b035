"""Verifies a submission: recomputes every score from its boxes and the annotations, and names what differs.

That the boxes come from the model cannot be seen from the file; who doubts it runs a shard anew and compares
the two files, see docs/reproduce.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from locheads.data import few, read_samples
from locheads.data.hub import REPOSITORIES
from locheads.data.masks import decode_mask
from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.evaluation.evaluate import areas_of
from locheads.evaluation.metrics import box_iou
from locheads.method.selection import top_heads
from locheads.profiling.origin import annotations_digest, pictures_digest
from locheads.submission.form import Row, Submission, read_submission, scored
from locheads.submission.make import Split, code_digest

NAMED = ("specimen", few.NAME, *REPOSITORIES)
"""Names of data that mean the same everywhere; folders have to be given."""
ROUNDING = 1e-9
"""Allowed difference of an IoU or score that is computed again."""


@dataclass(frozen=True)
class Verdict:
    """Says what was found.

    Attributes:
        wrong: What does not fit, one line each; empty for a submission that is verified.
        unchecked: What could not be checked here.
        scores: Recomputed from boxes and annotations, as by `form.scored`; empty if anything is wrong.
    """

    wrong: tuple[str, ...]
    unchecked: tuple[str, ...]
    scores: pd.DataFrame


def verify(path: Path | str, data: Path | str | None = None) -> Verdict:
    """Checks a file against itself and against the annotations of its expressions.

    Args:
        path: The file.
        data: Folder or name of the data sets, as in `read_samples`; None: as the file says, which has to be a
            name and not a folder.

    Raises:
        LocheadsError: The file is not of the form, or the annotations cannot be read.
    """
    sent = read_submission(path)
    wrong, unchecked = [*_seal(sent), *_heads(sent)], list(_code(sent))
    drawn = sent.header["data"]
    source = data if data is not None else drawn.get("name")
    if data is None and source not in NAMED:
        raise LocheadsError(f"{path}: made on data in a folder, '{source}'; give --data, your copy of it")
    train = read_samples(source, "refcoco", "train", drawn["samples"] or None, drawn["seed"])
    made_from = {"heads selected on refcoco train": (sent.header["selection"], train)}
    true: dict[tuple[Split, str], Sample] = {}
    for split, stated in sent.splits.items():
        samples = read_samples(source, *split, drawn["held_out"] or None, drawn["seed"])
        made_from[" ".join(split)] = stated, samples
        true |= {(split, sample.sample_id): sample for sample in samples}
        wrong += _rows_of(split, sent.rows, samples)
    for what, (stated, samples) in made_from.items():
        for one in _digests(what, stated, samples):
            (unchecked if one.startswith("pictures") else wrong).append(one)
    wrong += [
        one
        for row in sent.rows
        if (found := true.get((_split_of(row), row["id"])))
        for one in _row(row, found)
    ]
    scores = scored(sent.rows)
    wrong += _scores(sent, scores)
    return Verdict(tuple(wrong), tuple(unchecked), pd.DataFrame() if wrong else scores)


def _split_of(row: Row) -> Split:
    return row["dataset"], row["split"]


def _seal(sent: Submission) -> Iterator[str]:
    if sent.digest != sent.sealed:
        yield f"sha256: the lines have {sent.digest[:16]}…, stated is {sent.sealed[:16]}…; a line was changed"
    part, parts = sent.header["shard"]
    if parts > 1:
        yield f"shard {part} of {parts}: merge all of them first (`locheads merge-shards`)"
    if strange := {_split_of(row) for row in sent.rows} - set(sent.splits):
        yield f"expressions of {' '.join(sorted(strange)[0])}, which the first line does not name"


def _heads(sent: Submission) -> Iterator[str]:
    """Yields whether the heads are the most frequent ones."""
    selection = sent.header["selection"]
    heads = [tuple(one) for one in selection["heads"]]
    frequency = np.zeros((sent.header["layers"], sent.header["heads"]))
    for layer, head, value in selection["frequencies"]:
        frequency[layer, head] = value
    if not heads or np.count_nonzero(frequency > 0) < len(heads) or not (frequency <= 1).all():
        yield "heads: fewer frequencies than heads, or one above 1"
    elif heads != [tuple(head) for head in top_heads(frequency, len(heads))]:
        yield f"heads {heads} are not the most frequent ones of the frequencies"


def _code(sent: Submission) -> Iterator[str]:
    if sent.header["code"] != (own := code_digest()):
        version = sent.header["versions"].get("locheads", "?")
        yield f"code: made by locheads {version} with sources {sent.header['code']}, these are {own}"


def _digests(what: str, stated: dict, samples: Sequence[Sample]) -> Iterator[str]:
    """Yields which hashes of the data differ; `pictures …` where there are none to compare."""
    if (found := annotations_digest(samples)) != stated.get("annotations"):
        yield (
            f"{what}: annotations have hash {found}, stated is {stated.get('annotations')}; "
            "another copy, or other expressions were drawn"
        )
    try:
        found = pictures_digest(samples)
    except LocheadsError as error:
        yield f"pictures of {what} cannot be compared ({error})"
        return
    if found != stated.get("pictures"):
        yield f"{what}: pictures have hash {found}, stated is {stated.get('pictures')}"


def _rows_of(split: Split, rows: Sequence[Row], samples: Sequence[Sample]) -> Iterator[str]:
    """Yields which expressions of a split are missing, unknown, double, or at another place."""
    mine, name = [row for row in rows if _split_of(row) == split], " ".join(split)
    wanted, counts = [sample.sample_id for sample in samples], Counter(row["id"] for row in mine)
    missing = [one for one in wanted if one not in counts]
    if missing:
        yield f"{name}: {len(missing)} of {len(wanted)} expressions are missing, the first is {missing[0]}"
    places = {sample_id: at for at, sample_id in enumerate(wanted)}
    for sample_id, count in counts.items():
        if sample_id not in places:
            yield f"{name}, {sample_id}: no such expression among the {len(wanted)} that were drawn"
        elif count > 1:
            yield f"{name}, {sample_id}: occurs {count} times"
    for row in mine:
        if (at := places.get(row["id"], row["at"])) != row["at"]:
            yield f"{name}, {row['id']}: is expression {at} of the draw, stated is {row['at']}"


def _row(row: Row, sample: Sample) -> Iterator[str]:
    """Yields what of an expression does not follow from its box, its mask and the annotation."""
    who = f"{row['dataset']} {row['split']}, {row['id']}"
    if row["image_id"] != sample.image_id:
        yield f"{who}: its picture is {sample.image_id}, stated is {row['image_id']}"
    box = np.array(row["box"])
    if (box[:2] < 0).any() or (box[2:] > sample.size).any() or (box[:2] >= box[2:]).any():
        yield f"{who}: box {row['box']} is not inside its picture of {sample.size} pixels"
    iou = float(box_iou(np.array([sample.box], float), box[None])[0])
    if abs(iou - row["box_iou"]) > ROUNDING:
        yield f"{who}: its box has IoU {iou:.4f} with the annotation, stated is {row['box_iou']:.4f}"
    if row["mask"] is None:
        return
    try:
        mask = decode_mask({"size": list(sample.size[::-1]), "counts": row["mask"]}, sample.size)
        found = areas_of(sample, mask[None])[0].tolist()
    except (ValueError, LocheadsError) as error:
        yield f"{who}: {error}"
        return
    if found != [row["intersection"], row["union"]]:
        stated = f"{row['intersection']} and {row['union']}"
        yield f"{who}: its mask has intersection and union {found[0]} and {found[1]}, stated are {stated}"


def _scores(sent: Submission, scores: pd.DataFrame) -> Iterator[str]:
    """Yields which of the stated scores do not follow from the rows."""
    found = {(row.dataset, row.split, row.metric): row.value for row in scores.itertuples()}
    for key in sorted(found.keys() | sent.stated.keys()):
        here, there = found.get(key, np.nan), sent.stated.get(key, np.nan)
        if not abs(here - there) <= ROUNDING:
            yield f"{' '.join(key)}: the expressions give {here:.4f}, stated is {there:.4f}"
