"""Reads the parameters that notebooks declare and those that a user gives, and checks that they match.

papermill only warns about an unknown parameter. Here an unknown parameter, or a value of another
type than the notebook's literal, is an error before anything runs.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from locheads.errors import LocheadsError
from locheads.run.plain_yaml import load_yaml, read_word

Declared = Mapping[str, Mapping[str, Any]]
"""Notebook → its parameters and their defaults."""
FORM = "write `name: value`, one per line"


def declared(notebook: Path | str) -> dict[str, Any]:
    """Reads the parameters of a notebook and their defaults from the cell tagged `parameters`.

    Raises:
        LocheadsError: The notebook is unreadable, has not exactly one such cell, or the cell
            holds anything but `name = literal` lines.
    """
    notebook = Path(notebook)
    try:
        text = notebook.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise LocheadsError(f"{notebook}: not a readable notebook; restore it") from error
    return declared_in(text, notebook.name)


def declared_in(text: str, notebook: str) -> dict[str, Any]:
    """Reads the parameters from the JSON of a notebook; errors are those of `declared`."""
    try:  # plain JSON: nbformat takes longer to import than all the rest of a notebook's reading
        tagged = [one for one in json.loads(text)["cells"] if "parameters" in one["metadata"].get("tags", [])]
        cells = ["".join(one["source"]) for one in tagged]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LocheadsError(f"{notebook}: not a readable notebook; restore it") from error
    if len(cells) != 1:
        raise LocheadsError(f"{notebook}: {len(cells)} cells are tagged `parameters`; tag exactly one")
    try:
        return dict(_assigned(statement) for statement in ast.parse(cells[0]).body)
    except (SyntaxError, ValueError) as error:
        raise LocheadsError(f"{notebook}: the parameters cell may hold only `name = literal`") from error


def check_parameters(parameters: Mapping[str, Any], takers: Declared) -> None:
    """Refuses parameters that no notebook declares, or whose type differs from the notebook's literal.

    An int is accepted for a float; a default of None, or an empty list, accepts any value, or list.

    Args:
        parameters: Names and values.
        takers: For each notebook, its parameters and their defaults.

    Raises:
        LocheadsError: At the first parameter that does not fit.
    """
    for name, value in parameters.items():
        if not any(name in defaults for defaults in takers.values()):
            raise LocheadsError(_unknown(name, takers))
        for notebook, defaults in takers.items():
            if name in defaults and not _fits(value, defaults[name]):
                wanted, given = type(defaults[name]).__name__, type(value).__name__
                raise LocheadsError(
                    f"{notebook}: '{name}' takes {wanted}, as in {defaults[name]!r}, "
                    f"not {given} {value!r}{_HINTS.get(wanted, '')}"
                )


_DIGITS = "write decimal digits, without leading zeros"
_HINTS = {
    "int": f"; {_DIGITS}",
    "float": f"; {_DIGITS}",
    "bool": "; write true or false",
    "list": "; all members have to fit",
    "str": "; in a file, quote it",
}

TEXTS = ("revision", "prompt", "question", "convention", "query")
"""Parameters that are texts, though their default may be None."""
NAMES = ("model", "segmenter", "data", "dataset", "expressions", "reasoning")
"""Parameters that are texts and cannot be empty."""
LEAST: dict[str, float] = {"k": 1, "samples": 0, "held_out": 0, "batch": 1, "seed": 0}
"""Least value of the numbers that have one; 0 samples means all."""
DTYPES = ("float32", "bfloat16", "float16")
DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")


def check_ranges(parameters: Mapping[str, Any]) -> None:
    """Refuses values out of the range that their parameter declares; None is left to its notebook.

    Raises:
        LocheadsError: At the first such value.
    """
    for name, least in LEAST.items():
        if (value := parameters.get(name)) is not None and not isinstance(value, int | float):
            raise LocheadsError(f"'{name}' is {value!r}, no number; {_DIGITS}")
        if value is not None and not value >= least:
            raise LocheadsError(f"'{name}' is {value}; give {least} or more")
    for name, value in parameters.items():
        if name in TEXTS and value is not None and not isinstance(value, str):
            raise LocheadsError(f"'{name}' is {value!r}, no text; in a file, quote it")
        if isinstance(value, str) and name in (*TEXTS, *NAMES) and not value.strip():
            raise LocheadsError(f"'{name}' is empty; give a text, or leave it out")
    device, dtype = parameters.get("device"), parameters.get("dtype")
    if isinstance(device, str) and not DEVICE.fullmatch(device):
        raise LocheadsError(f"'device' is '{device}'; give auto, cpu, mps, cuda or as in cuda:0")
    if isinstance(dtype, str) and dtype not in (*DTYPES, "auto"):
        raise LocheadsError(f"'dtype' is '{dtype}'; give one of {', '.join(DTYPES)}")


def parse_assignments(assignments: Sequence[str], takers: Declared) -> dict[str, Any]:
    """Parses the parameters of a command line, each of the form `name=value`.

    A value for a text parameter is taken verbatim; for those of `TEXTS`, `None` and `null` give None.
    Otherwise a list is read as JSON or as a Python literal, and a word as in a file (see `plain_yaml`).

    Raises:
        LocheadsError: There is no `=`, or no name before it.
    """
    parsed: dict[str, Any] = {}
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not (sign and name):
            raise LocheadsError(f"parameter '{assignment}' is not of the form name=value")
        if name in parsed:
            raise LocheadsError(f"parameter '{name}' is given twice; give it once")
        defaults = [taker[name] for taker in takers.values() if name in taker]
        verbatim = any(isinstance(default, str) for default in defaults)
        verbatim |= name in TEXTS and text not in ("None", "null")
        parsed[name] = text if verbatim else _literal(text)
    return parsed


def read_preset(name: Path | str, folder: Path | str) -> dict[str, Any]:
    """Reads the parameters of a preset: a YAML file, or the name of one in `folder`.

    Raises:
        LocheadsError: There is no such file, or it is not a flat mapping of names to values.
    """
    folder = Path(folder)
    path = next(
        (path for path in (Path(name), folder / name, folder / f"{name}.yaml") if path.is_file()), None
    )
    if path is None:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none"
        raise LocheadsError(f"no preset '{name}': neither a file nor one of {folder} ({known})")
    loaded = load_yaml(path, FORM)
    if not isinstance(loaded, dict):
        raise LocheadsError(f"{path}: not a preset; {FORM}")
    check_plain(path, loaded)
    return loaded


def check_plain(path: Path, parameters: Mapping[str, Any]) -> None:
    """Refuses a value of a file that is neither None, a text, a number, nor a list of these."""
    for name, value in parameters.items():
        items = value if isinstance(value, list) else [value]
        if not all(item is None or isinstance(item, str | int | float) for item in items):
            raise LocheadsError(
                f"{path}: '{name}' is no text, number or list of them; quote it if it is text"
            )


def _literal(text: str) -> Any:
    """Reads a list or quoted text as JSON or Python, anything else as a bare word."""
    if not text.lstrip().startswith(("[", "{", "(", '"', "'")):
        return read_word(text)
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _assigned(statement: ast.stmt) -> tuple[str, Any]:
    match statement:
        case ast.Assign(targets=[ast.Name(id=name)], value=value):
            return name, ast.literal_eval(value)
    raise ValueError("not an assignment of a literal to a name")


def _fits(value: Any, default: Any) -> bool:
    if default is None:
        return True
    if isinstance(value, list) and isinstance(default, list) and default:
        return all(any(_fits(item, one) for one in default) for item in value)
    return type(value) is type(default) or (type(default) is float and type(value) is int)


def _unknown(name: str, takers: Declared) -> str:
    known = sorted({parameter for defaults in takers.values() for parameter in defaults})
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known) or 'none'}"
    return f"no parameter '{name}' in {', '.join(takers)}: {hint}"
