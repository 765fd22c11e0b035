"""Shows submissions of others that were verified: `submissions/NAME.jsonl` beside `NAME.verified.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from locheads.errors import LocheadsError
from locheads.files import read_regular, replacing
from locheads.model.shipped import sha256
from locheads.run import outputs
from locheads.submission.form import read_sealed

SUFFIX = ".verified.json"
HEADING = """## Sent in by others

Runs on machines of others, apart from what was computed here. `locheads verify` recomputed these scores from
the boxes that were sent and the annotations; the boxes themselves are the senders'.
"""
NONE = "None yet: [docs/reproduce.md](docs/reproduce.md) says how to make a file and where to send it.\n"


def record(path: Path | str, scores: pd.DataFrame) -> Path:
    """Writes what `locheads results` shows of a verified submission, beside it; returns the path.

    Args:
        path: The submission.
        scores: From `submission.verify.verify`.
    """
    path, header = Path(path), read_sealed(path).header
    kept: dict[str, Any] = {
        name: header[name] for name in ("model", "precision", "prompt", "query", "fit") if name in header
    }
    kept |= {"locheads": header["versions"]["locheads"], "sha256": sha256(path), "file": path.name}
    place = path.with_name(path.stem + SUFFIX)
    with replacing(place) as partial:
        text = json.dumps(kept | {"scores": scores.to_dict("records")}, indent=2, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")
    return place


def section() -> str:
    """Returns the section of RESULTS.md."""
    folder = outputs.ROOT / "submissions"
    tables = ["\n".join(_table(place)) + "\n" for place in sorted(folder.glob(f"*{SUFFIX}"))]
    return "\n".join([HEADING, *(tables or [NONE])])


def _table(place: Path) -> Iterator[str]:
    """Yields the lines of one submission, or why it is not shown."""
    kept = _read(place)
    file = place.with_name(kept["file"])
    yield f"### {place.name.removesuffix(SUFFIX)}: {kept['model']}\n"
    if not file.is_file() or sha256(file) != kept["sha256"]:
        yield f"Not shown: {file.name} is missing, or not the file that was verified."
        return
    yield f"[{file.name}](submissions/{file.name}), locheads {kept['locheads']}, query {kept.get('query')}.\n"
    yield "| data set | split | expressions | metric | [%] | 95 % |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for one in kept["scores"]:
        value, low, high = (f"{100 * one[name]:.1f}" for name in ("value", "low", "high"))
        cells = [
            one["dataset"],
            one["split"],
            f"{one['expressions']:,}",
            one["metric"],
            value,
            f"{low} to {high}",
        ]
        yield "| " + " | ".join(cells) + " |"


def _read(place: Path) -> dict[str, Any]:
    try:
        kept = json.loads(read_regular(place))
        if not {"file", "model", "locheads", "sha256", "scores"} <= kept.keys():
            raise ValueError("a field is missing")
    except (ValueError, AttributeError) as error:
        raise LocheadsError(
            f"{place}: not a record; write it again with `locheads verify --record`"
        ) from error
    return dict(kept)
