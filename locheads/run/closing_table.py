"""The closing table of a run: each notebook's time and headline numbers, beside the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from locheads.paper.coverage import HEADLINES, MODEL
from locheads.run.outputs import SPECIMEN
from locheads.run.runner import Finished


def report(finished: Sequence[Finished], world: str, own: bool | None = None) -> str:
    """Returns the table: notebook, seconds, headline numbers here and in the paper.

    Args:
        finished: What ran, in order. A headline that a notebook did not save is left out.
        world: Name of the world, for the heading.
        own: Whether model or data are the user's. Default: in every world but the specimen's.
    """
    titles = ("notebook", "seconds", "number", "here", "paper", "")
    rows = [titles, *(row for one in finished for row in _rows(one))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    total = sum(one.seconds for one in finished)
    lines += ["", *(f"{one.notebook} is left out: {one.left_out}" for one in finished if one.left_out)]
    return "\n".join([_heading(world, own), "", *lines, f"{len(finished)} notebooks in {total:.0f} seconds"])


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _heading(world: str, own: bool | None) -> str:
    own = world != SPECIMEN if own is None else own
    models = "your model and data" if own else "a small model on generated scenes"
    return (
        f"'here' is the world '{world}' ({models}), 'paper' is {MODEL} on the real data sets:\n"
        "different models and data, side by side to compare the pattern, not the values."
    )


def _rows(one: Finished) -> Iterator[tuple[str, ...]]:
    """Yields one row per headline; notebook and seconds stand in the first only."""
    first = (one.notebook, f"{one.seconds:.1f}")
    for headline in HEADLINES:
        if headline.notebook == one.notebook and headline.key in one.results:
            yield (*first, headline.key, shown(one.results[headline.key]), headline.paper, headline.source)
            first = ("", "")
    if first[0]:
        yield (*first, "", "", "", "")


def shown(value: Any) -> str:
    """Returns a result as text: floats to three digits, records with layer and head as `L14 H24 45%`.

    None, which is saved where nothing is defined, is said in words.
    """
    if value is None:
        return "not defined"
    if isinstance(value, list):
        return ", ".join(map(_shown_head, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _shown_head(record: dict[str, Any]) -> str:
    """Returns a record as text; a frequency that is no number is left out."""
    if not {"layer", "head"} <= record.keys():
        return " ".join(map(str, record.values()))
    frequency = f" {record['frequency']:.0%}" if isinstance(record.get("frequency"), int | float) else ""
    return f"L{record['layer']} H{record['head']}{frequency}"
