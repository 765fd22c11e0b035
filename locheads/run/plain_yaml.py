"""Reads values that a user writes, on the command line and in YAML files, by one rule.

A bare word is a number only in decimal digits without leading zeros (`3`, `-0.5`, `1e-3`); `true`, `false`,
`null`, `True`, `False`, `None` and `~` are what they say; every other word is text as it is written. What is
quoted is text. By itself, YAML 1.1 would read `010` as 8, `1:30` as 90, `1_000` as 1000, `0x10` as 16, `no`
as false and `2025-01-31` as a date.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import yaml

from locheads.errors import LocheadsError
from locheads.files import read_regular

_NUMBER = re.compile(
    r"[-+]?(?:(?:0|[1-9]\d*)(?P<part>\.\d*)?|(?P<bare>\.\d+))(?P<power>[eE][-+]?\d+)?", re.ASCII
)
_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None, "~": None}
MOST = 2**63
"""Whole numbers are smaller, as those of NumPy."""
_TEXT = "tag:yaml.org,2002:str"


def read_word(text: str) -> Any:
    """Returns the value of a bare word: a finite number, a truth value, None, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if not (found := _NUMBER.fullmatch(text)):
        return text
    try:
        value = float(text) if any(found.groups()) else int(text)
    except ValueError:  # more digits than Python converts
        return text
    return value if abs(value) < (MOST if isinstance(value, int) else math.inf) else text


def load_yaml(path: Path | str, form: str) -> Any:
    """Reads a YAML file of mappings, lists and single values.

    Args:
        path: The file, in UTF-8.
        form: What to write in it, for messages.

    Raises:
        LocheadsError: The file cannot be read, is not YAML, gives a key twice, or holds a tag or an alias.
    """
    try:
        text = read_regular(path).decode("utf-8")
        return _value(yaml.compose(text, Loader=yaml.BaseLoader), set())
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise LocheadsError(f"{path}{line}: not YAML ({error.problem}); {form}") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise LocheadsError(f"{path}: not YAML; {form}") from error
    except OSError as error:
        raise LocheadsError(f"{path}: cannot be read ({error.strerror}); {form}") from error
    except ValueError as error:
        raise LocheadsError(f"{path}, {error}") from error


def _value(node: Any, above: set[int]) -> Any:
    """Returns the value of a node; `above` collects what was read, as an alias is a node read twice."""
    if node is None:
        return None
    where = f"line {node.start_mark.line + 1}"
    if id(node) in above:
        raise ValueError(f"{where}: a value stands for another one (`*name`); write the value itself")
    above.add(id(node))
    if node.tag not in (_TEXT, "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
        raise ValueError(f"{where}: {node.tag!a:.60} is the tag of a type; leave it out")
    if isinstance(node, yaml.ScalarNode):
        return (read_word(node.value) if node.value else None) if node.style is None else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_value(one, above) for one in node.value]
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise ValueError(f"{where}: a name is no single word; write `name: value`")
        if key.value in found:
            raise ValueError(f"line {key.start_mark.line + 1}: '{key.value}' is given twice; give it once")
        found[key.value] = _value(value, above)
    return found
