"""Reads the parameters that notebooks declare and those that a user gives, and checks that they match.

papermill only warns about an unknown parameter. Here an unknown parameter, or a value of another
type than the notebook's literal, is an error before anything runs.
"""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from locheads.errors import LocheadsError

Declared = Mapping[str, Mapping[str, Any]]
"""Notebook → its parameters and their defaults."""


def declared(notebook: Path) -> dict[str, Any]:
    """Reads the parameters of a notebook and their defaults from the cell tagged `parameters`.

    Raises:
        LocheadsError: The notebook is unreadable, has not exactly one such cell, or the cell
            holds anything but `name = literal` lines.
    """
    import nbformat

    try:
        document = nbformat.read(notebook, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError) as error:
        raise LocheadsError(f"{notebook}: not a readable notebook; restore it") from error
    cells = [cell.source for cell in document.cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise LocheadsError(f"{notebook.name}: {len(cells)} cells are tagged `parameters`; tag exactly one")
    try:
        return dict(_assigned(statement) for statement in ast.parse(cells[0]).body)
    except (SyntaxError, ValueError) as error:
        raise LocheadsError(f"{notebook.name}: the parameters cell may hold only `name = literal`") from error


def check_parameters(parameters: Mapping[str, Any], takers: Declared) -> None:
    """Refuses parameters that no notebook declares, or whose type differs from the notebook's literal.

    An int is accepted for a float; a default of None accepts any value.

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
                    f"{notebook}: '{name}' takes {wanted}, as in {defaults[name]!r}, not {given} {value!r}"
                )


def parse_assignments(assignments: Sequence[str], takers: Declared) -> dict[str, Any]:
    """Parses the parameters of a command line, each of the form `name=value`.

    A value for a text parameter is taken verbatim. Otherwise it is read as JSON (`0.5`, `true`,
    `null`, `[1, 2]`) or as a Python literal (`True`, `None`), and as text when it is neither.

    Raises:
        LocheadsError: There is no `=`, or no name before it.
    """
    parsed = {}
    for assignment in assignments:
        name, sign, text = assignment.partition("=")
        if not (sign and name):
            raise LocheadsError(f"parameter '{assignment}' is not of the form name=value")
        defaults = [taker[name] for taker in takers.values() if name in taker]
        parsed[name] = text if any(isinstance(default, str) for default in defaults) else _literal(text)
    return parsed


def read_preset(name: str, folder: Path) -> dict[str, Any]:
    """Reads the parameters of a preset: a YAML file, or the name of one in `folder`.

    Raises:
        LocheadsError: There is no such file, or it is not a flat mapping of names to values.
    """
    import yaml

    path = next(
        (path for path in (Path(name), folder / name, folder / f"{name}.yaml") if path.is_file()), None
    )
    if path is None:
        known = ", ".join(sorted(path.stem for path in folder.glob("*.yaml"))) or "none"
        raise LocheadsError(f"no preset '{name}': neither a file nor one of {folder} ({known})")
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise LocheadsError(f"{path}: not YAML; write `name: value`, one per line") from error
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise LocheadsError(f"{path}: not a preset; write `name: value`, one per line")
    return loaded


def _literal(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError):
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
    return type(value) is type(default) or (type(default) is float and type(value) is int)


def _unknown(name: str, takers: Declared) -> str:
    known = sorted({parameter for defaults in takers.values() for parameter in defaults})
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean '{close[0]}'?" if close else f"there are {', '.join(known) or 'none'}"
    return f"no parameter '{name}' in {', '.join(takers)}: {hint}"
