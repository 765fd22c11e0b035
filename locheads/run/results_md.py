"""RESULTS.md: every number of the paper that this companion holds, beside what the committed results give."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from locheads import paper
from locheads.errors import LocheadsError
from locheads.paper.coverage import COVERAGE, SAID, Counterpart, key_of
from locheads.paper.published import ALIASES, NOT_LOADABLE
from locheads.paper.tables import Reported
from locheads.run import closing_table, outputs, outsiders
from locheads.run.outputs import SPECIMEN, Results
from locheads.run.parameters import declared, read_preset
from locheads.run.recorded import committed, differences, read
from locheads.run.runner import find_notebook

DATASETS = {"refcoco": "RefCOCO", "refcoco+": "RefCOCO+", "refcocog": "RefCOCOg", "reasonseg": "", "png": ""}
CLOSING = """## What has no number

Table 7 prints its own 67.1 for DeepSeek-VL-7B on RefCOCO+ testA, where Table 2 has 66.1; its other rows of
the paper's method are Table 2's. Figures 8 and 15 to 17 show examples: `locheads run 03` draws them for any
model and data. Figure 18 shows drawings and portraits: `locheads ground PICTURE EXPRESSION --model …` on
pictures of that kind. Figure 19 gives the mask to an image editor, which is not part of this package;
`locheads.model.segmenter` makes the mask.
"""
HEADING = """# Results

Written by `locheads results` from `locheads.paper.tables` and `results/`; edit neither numbers nor text here.

Rows of the paper first, then, in bold, what was computed here, with its world. **The specimen is a small
model on generated scenes: its numbers are never the paper's**, and stand here to compare patterns. In
brackets: 95 % bootstrap intervals, over pictures (of ρ: over heads). A row that was not computed here says
what it takes.
"""


def worlds() -> list[str]:
    """Returns the specimen and the worlds of the presets that have results."""
    presets = sorted(path.stem for path in (outputs.ROOT / "notebooks" / "params").glob("*.yaml"))
    return [world for world in (SPECIMEN, *presets) if (outputs.ROOT / "results" / world).is_dir()]


def report(of: Sequence[str]) -> str:
    """Returns the whole file, with the numbers of these worlds."""
    tables = {table: list(some) for table, some in groupby(_sorted(), key=lambda entry: entry.table)}
    parts = [HEADING]
    for one in COVERAGE:
        if one.place in tables:
            parts.append("\n".join(_table(one, tables[one.place], of)) + "\n")
    parts.append("\n".join(_said(of)) + "\n")
    parts.append(outsiders.section())
    parts.append(CLOSING)
    return "\n".join(parts)


def _sorted() -> list[Reported]:
    """Returns all reported numbers in the order of `COVERAGE`, within a table as printed."""
    order = [one.place for one in COVERAGE]
    return sorted(paper.everything(), key=lambda entry: order.index(entry.table))


def _table(one: Counterpart, entries: Sequence[Reported], of: Sequence[str]) -> Iterator[str]:
    columns = list(dict.fromkeys(map(_column, entries)))
    rows: dict[tuple[str, str], dict[str, Reported]] = {}
    for entry in entries:
        rows.setdefault((entry.model, entry.task), {})[_column(entry)] = entry
    several = len({task for _, task in rows}) > 1
    yield f"## {one.place}: {one.title}\n"
    yield _line(["", *columns, "how it is redone"])
    yield _line(["---"] * (len(columns) + 2))
    for (model, task), cells in rows.items():
        name = f"{model}, {task.upper()}" if several else model
        values = [_printed(cells[column].value) if column in cells else "" for column in columns]
        yield _line([name, *values, _how(one, next(iter(cells.values())))])
    tasks = {task: cells for (_, task), cells in rows.items()}
    for world in of:
        for task, cells in tasks.items():
            name = f"**{world}, {task.upper()}**" if several else f"**{world}**"
            yield _line([name, *_ours(one, cells, columns, world)])


def _printed(value: float) -> str:
    """Returns a value as the paper prints it: with one decimal, or more where it has more."""
    return max(f"{value:.1f}", f"{value:g}", key=len)


def _column(entry: Reported) -> str:
    if entry.task == "spearman":
        return "ρ"
    return entry.setting or f"{DATASETS[entry.dataset]} {entry.split}".strip() or "all"


def _how(one: Counterpart, entry: Reported) -> str:
    """Returns what it takes to redo a row of the paper."""
    if entry.kind in ("trained", "training-free"):
        return "a baseline that the paper quotes; not redone"
    if entry.kind == "summary":
        return "the printed mean of the models"
    name, number = entry.model.lower(), one.notebook[:2]
    if name in NOT_LOADABLE:
        return f"needs the real model, which {NOT_LOADABLE[name]}"
    if (outputs.ROOT / "notebooks" / "params" / f"{name}.yaml").is_file():
        return f"needs the real model: `locheads run {number} --preset {name}`"
    known = f"-p model={name}" if name in ALIASES else "-p model=…"
    return f"needs the real model: `locheads run {number} {known} --world {name}`"


def _ours(
    one: Counterpart, cells: Mapping[str, Reported], columns: Iterable[str], world: str
) -> Iterator[str]:
    """Yields the cells of a world, then the command that makes them."""
    found = saved(world, one.notebook)
    if other := changed(world, one.notebook):
        yield from ("–" for _ in columns)
        yield f"not shown: made with {other}; redo it with {_command(one, world)}"
        return
    for column in columns:
        key = key_of(cells[column]) if column in cells else ""
        yield _value(found, key, cells[column].task) if key in found else "–"
    if not found:
        yield f"not run yet: {_command(one, world)}"
        return
    count = found.get(one.samples)
    yield f"{_command(one, world)}, {count} samples" if count else _command(one, world)


def saved(world: str, notebook: str) -> Results:
    """Returns the named numbers of a notebook; none where it has not run in this world."""
    try:
        return outputs.load_results(world, notebook)
    except LocheadsError:
        if outputs.results_path(world, notebook).exists():
            raise
        return {}


def changed(world: str, notebook: str) -> str:
    """Returns how the recorded parameters differ from those of notebook and preset; empty if not."""
    recorded, standing = read(world).get(notebook, {}), declared(find_notebook(notebook))
    folder = outputs.ROOT / "notebooks" / "params"
    preset = {} if world == SPECIMEN else read_preset(world, folder)
    wanted = [{**defaults, **preset} for defaults in (standing, committed(notebook)) if defaults]
    found = [differences(recorded, one) for one in wanted]
    return found[0] if all(found) else ""


def _value(found: Results, key: str, task: str) -> str:
    """Returns a number in the paper's unit, with its interval where one was saved."""
    stem = key.removesuffix("_rho") + "_ci" if task == "spearman" else key
    shown = [found[name] for name in (key, f"{stem}_low", f"{stem}_high") if found.get(name) is not None]
    if not shown:
        return "–"
    if not all(isinstance(one, int | float) for one in shown):
        raise LocheadsError(f"result '{key}' is {shown[0]!r}, no number; run its notebook again")
    text = [f"{one:.3f}" if task == "spearman" else f"{100 * one:.1f}" for one in shown]
    return f"**{text[0]}**" + (f" [{text[1]}, {text[2]}]" if len(text) == 3 else "")


def _command(one: Counterpart, world: str) -> str:
    return f"`locheads run {one.notebook[:2]}{'' if world == SPECIMEN else f' --preset {world}'}`"


def _said(of: Sequence[str]) -> Iterator[str]:
    """Yields the lines of what the paper says in its text and figures, without a table."""
    yield "## Reported in the text and in figures\n"
    yield _line(["", "paper", "of", *(f"**{world}**" for world in of), "how it is redone"])
    yield _line(["---"] * (4 + len(of)))
    for one in SAID:
        here = [
            _shown(None if changed(world, one.notebook) else saved(world, one.notebook).get(one.key))
            for world in of
        ]
        redone = f"`locheads run {one.notebook[:2]}`"
        how = f"{redone}; needs the real model for the paper's: `--preset llava-1.5-7b`"
        yield _line([one.title, one.value, one.model, *here, how])


def _shown(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, list):
        value = [{name: one[name] for name in one if name != "frequency"} for one in value]
    return closing_table.shown(value)


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"
