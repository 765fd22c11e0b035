"""Defines the file of a submission: JSON lines of what was run, of every expression, and of the scores.

::

    {"form": …, "model": …, "weights": …, "selection": {"heads": …, "frequencies": …}, "data": …, …}
    {"dataset": "refcoco", "split": "val", "at": 0, "id": …, "image_id": …, "box": […], "box_iou": …, …}
    …
    {"scores": [{"dataset": …, "split": …, "metric": …, "value": …, "expressions": …}], "sha256": …}

`at` is the position of the expression in the drawn split, `box` half-open xyxy in pixels, `mask` COCO's
compressed counts. `sha256` is that of all lines above the last. Keys are sorted and nothing depends on time,
so that the same run gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from locheads.data import values
from locheads.data.strict_json import json_lines
from locheads.errors import LocheadsError
from locheads.evaluation.scores import scores
from locheads.files import read_regular, replacing

FORM = "locheads submission 1"
HEADER = ("model", "weights", "prompt", "query", "fit", "code", "versions", "machine")
"""Fields of the first line that have to be there, beside those that are read below."""
MOST = 10_000
"""The largest number of layers, and of heads per layer, that is taken."""
Row = dict[str, Any]


@dataclass(frozen=True)
class Submission:
    """Holds a file of a submission.

    Attributes:
        path: The file.
        header: What was run.
        rows: One expression each, in the order of the file.
        stated: The scores that the last line states, by data set, split and metric.
        sealed: The SHA-256 that the last line states of the lines above it.
        digest: The SHA-256 that they have.
    """

    path: Path
    header: dict[str, Any]
    rows: tuple[Row, ...]
    stated: dict[tuple[str, str, str], float]
    sealed: str
    digest: str

    @property
    def splits(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Returns what the header says of each data set and split."""
        return {(one["dataset"], one["split"]): one for one in self.header["data"]["splits"]}


def write_submission(path: Path | str, header: Mapping[str, Any], rows: Iterable[Row]) -> None:
    """Writes a submission; the scores are computed from the rows.

    Raises:
        LocheadsError: The file cannot be written.
    """
    kept = list(rows)
    columns = ["dataset", "split", "metric", "value", "expressions"]
    stated = scored(kept)[columns].to_dict("records") if kept else []
    body = "".join(line + "\n" for line in map(_line, [{"form": FORM, **header}, *kept]))
    closing = {"scores": stated, "sha256": hashlib.sha256(body.encode()).hexdigest()}
    with replacing(path) as partial:
        partial.write_text(f"{body}{_line(closing)}\n", encoding="utf-8", newline="\n")


def read_submission(path: Path | str) -> Submission:
    """Reads a submission and checks its form, not what it says (see `verify`).

    Raises:
        LocheadsError: The file is not of this form; the message names the line.
    """
    path = Path(path)
    lines = list(json_lines(path))
    if not lines or lines[0][1].get("form") != FORM:
        raise LocheadsError(f"{path}: not a submission ('{FORM}'); write one with `locheads submit`")
    if len(lines) < 2 or "sha256" not in lines[-1][1]:
        raise LocheadsError(f"{path}: its last line, with the scores, is missing; the file is cut off")
    number = 1
    try:
        header = _header(lines[0][1])
        rows = []
        for number, line in lines[1:-1]:  # noqa: B007
            rows.append(_row(line))
        number, closing = lines[-1]
        stated = {
            (one["dataset"], one["split"], one["metric"]): values.number(one["value"], "a score")
            for one in values.items(closing["scores"], "scores")
        }
    except values.MALFORMED as error:
        raise LocheadsError(
            f"{path}, line {number}: not of a submission ({values.reason(error)}); fetch the file again"
        ) from error
    body = read_regular(path).rstrip(b"\n").rpartition(b"\n")[0] + b"\n"
    digest = hashlib.sha256(body).hexdigest()
    return Submission(path, header, tuple(rows), stated, str(closing["sha256"]), digest)


def read_sealed(path: Path | str) -> Submission:
    """Reads a submission that was not changed after it was written, see `read_submission`.

    Raises:
        LocheadsError: Its lines have another SHA-256 than the last one states.
    """
    sent = read_submission(path)
    if sent.digest != sent.sealed:
        raise LocheadsError(f"{path}: a line was changed after it was written; see `locheads verify {path}`")
    return sent


def outcomes_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Returns rows as `evaluation.scores` takes them."""
    table = pd.DataFrame(list(rows)).rename(columns={"id": "sample_id"})
    areas = ["intersection", "union"]
    return table.assign(**{name: table[name].astype(float) for name in areas})


def scored(rows: Sequence[Row]) -> pd.DataFrame:
    """Computes Acc@0.5 of the boxes and cIoU of the masks of each data set and split, with intervals.

    Returns:
        Rows as from `evaluation.scores.scores` by `dataset` and `split`, with the number of `expressions`.
    """
    table = outcomes_of(rows)
    found = scores(table, by=("dataset", "split"))
    counts = table.groupby(["dataset", "split"]).size()
    return found.assign(
        expressions=[int(counts[key]) for key in zip(found.dataset, found.split, strict=True)]
    )


def _line(thing: Mapping[str, Any]) -> str:
    return json.dumps(thing, ensure_ascii=False, sort_keys=True, allow_nan=False)


def _header(line: dict[str, Any]) -> dict[str, Any]:
    header = {name: value for name, value in line.items() if name != "form"}
    if lacking := [name for name in HEADER if name not in header]:
        raise ValueError(f"it has no {lacking[0]}")
    part, parts = (values.whole(one, "a shard", 1) for one in header["shard"])
    if part > parts:
        raise ValueError(f"shard {part} of {parts}")
    selection, data = (values.fields(header[name], name) for name in ("selection", "data"))
    _check_heads(header, [*selection["heads"], *(one[:2] for one in selection["frequencies"])])
    for *_, frequency in selection["frequencies"]:
        values.number(frequency, "a frequency")
    for name in ("seed", "held_out", "samples"):
        values.whole(data[name], name)
    for one in values.items(data["splits"], "splits"):
        values.name(one["dataset"], "dataset"), values.name(one["split"], "split")
    return header


def _check_heads(header: Mapping[str, Any], heads: Iterable[Any]) -> None:
    layers, width = (values.whole(header[name], name, 1) for name in ("layers", "heads"))
    for layer, head in heads:
        layer, head = values.whole(layer, "a layer"), values.whole(head, "a head")
        if not (layer < layers <= MOST and head < width <= MOST):
            raise ValueError(f"there is no head L{layer} H{head} in {layers} layers of {width} heads")


def _row(line: dict[str, Any]) -> Row:
    names = {"dataset": values.name, "split": values.name, "id": values.identifier}
    row: Row = {name: check(line[name], name) for name, check in names.items()}
    row |= {"image_id": values.identifier(line["image_id"], "image_id"), "at": values.whole(line["at"], "at")}
    row |= {"box": list(values.box(line["box"])), "box_iou": values.number(line["box_iou"], "box_iou")}
    mask = line["mask"]
    row["mask"] = None if mask is None else values.text(mask, "the mask")
    for name in ("intersection", "union"):
        row[name] = None if mask is None else values.whole(line[name], name)
    return row
