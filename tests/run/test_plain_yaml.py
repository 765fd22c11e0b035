"""One rule for what users write: on the command line, in presets and in sweeps."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as some

from locheads.errors import LocheadsError
from locheads.run.parameters import check_parameters, check_ranges, parse_assignments, read_preset
from locheads.run.plain_yaml import load_yaml, read_word

WORDS: list[tuple[str, Any]] = [
    ("3", 3),
    ("-3", -3),
    ("+3", 3),
    ("0", 0),
    ("0.50", 0.5),
    (".5", 0.5),
    ("5.", 5.0),
    ("1e-3", 0.001),
    ("1E3", 1000.0),
    ("true", True),
    ("False", False),
    ("null", None),
    ("~", None),
    # Numbers, dates and truth values of YAML 1.1 or Python, but not as everybody reads them: text.
    ("010", "010"),
    ("-010", "-010"),
    ("00", "00"),
    ("0x10", "0x10"),
    ("0o10", "0o10"),
    ("0b11", "0b11"),
    ("1_000", "1_000"),
    ("1:30", "1:30"),
    ("1:30.5", "1:30.5"),
    ("2025-01-31", "2025-01-31"),
    ("yes", "yes"),
    ("No", "No"),
    ("on", "on"),
    ("OFF", "OFF"),
    ("y", "y"),
    ("TRUE", "TRUE"),
    (".inf", ".inf"),
    (".nan", ".nan"),
    ("NaN", "NaN"),
    ("Infinity", "Infinity"),
    ("1e999", "1e999"),
    ("83e2010", "83e2010"),
    ("9223372036854775807", 2**63 - 1),
    ("9223372036854775808", "9223372036854775808"),
    ("9" * 400, "9" * 400),
    ("9" * 5000, "9" * 5000),
    ("٣", "٣"),
    ("=", "="),
    ("<<", "<<"),
]


@pytest.mark.parametrize(("word", "value"), WORDS, ids=[word[:12] for word, _ in WORDS])
def test_a_word_means_the_same_everywhere(tmp_path: Path, word: str, value: Any) -> None:
    """In a preset, in a list of it, as in a sweep's grid, and on the command line."""
    (tmp_path / "words.yaml").write_text(
        f"a: {word}\nb: [{word}]\nc: '{word}'\n{word[:99]}: 1\n", encoding="utf-8"
    )
    found = read_preset("words", tmp_path)
    assert found == {"a": value, "b": [value], "c": word, word[:99]: 1}
    assert type(found["a"]) is type(value) is type(found["b"][0])
    on_the_line = parse_assignments([f"a={word}"], {"01": {"a": 1}})["a"]
    assert on_the_line == value and type(on_the_line) is type(value)
    assert parse_assignments([f"a={word}"], {"01": {"a": "text"}})["a"] == word


def test_yaml_1_1_would_read_them_otherwise() -> None:
    read = [yaml.safe_load(word) for word in ("010", "1:30", "1_000", "0x10", "no", "2025-01-31")]
    assert read == [8, 90, 1000, 16, False, date(2025, 1, 31)]


@given(
    some.one_of(some.integers(-(2**63) + 1, 2**63 - 1), some.floats(allow_nan=False, allow_infinity=False))
)
def test_numbers_as_python_writes_them_are_read_back(value: float) -> None:
    assert read_word(repr(value)) == value


@pytest.mark.parametrize("word", ["010", "1:30", "1_000", "yes", "2025-01-31", "0x10", "1e999"])
@pytest.mark.parametrize("default", [1, 1.0, True, [1], [0.5]])
def test_what_is_no_number_is_refused_where_one_is_declared(word: str, default: Any) -> None:
    value = [read_word(word)] if isinstance(default, list) else read_word(word)
    with pytest.raises(LocheadsError, match=f"01: 'a' takes {type(default).__name__}, .*{word}.*; "):
        check_parameters({"a": value}, {"01": {"a": default}})
    with pytest.raises(LocheadsError, match=f"'seed' is '{word}', no number; write decimal digits"):
        check_ranges({"seed": read_word(word)})


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("k: 3\nk: 4\n", "line 2: 'k' is given twice"),
        ("base: {k: 3, k: 4}\n", "line 1: 'k' is given twice"),
        ("a: &a [1]\nb: *a\n", "line 1: a value stands for another one"),
        ("a: &a [*a]\n", "line 1: a value stands for another one"),
        ("a: 1\nb: !!binary aGk=\n", "line 2: 'tag:yaml.org,2002:binary' is the tag of a type"),
        ("a: !!int '010'\n", "is the tag of a type"),
        ("a: !!set {b, c}\n", "is the tag of a type"),
        ("a: !!python/name:os.system\n", "is the tag of a type"),
        ("[a, b]: 1\n", "line 1: a name is no single word"),
        ("a: 1\n---\nb: 2\n", "line 2: not YAML"),
        ("a: 1\n\tb: 2\n", "line 2: not YAML"),
        ("[" * 100_000, "not YAML"),
        ("a: \0", "not YAML"),
    ],
)
def test_files_that_could_mean_something_else_are_refused(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(LocheadsError) as refused:
        load_yaml(tmp_path / "bad.yaml", "write it so")
    assert str(refused.value).startswith(str(tmp_path / "bad.yaml")) and complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bytes_and_places_that_hold_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes("a: ü".encode("latin-1"))
    for name, complaint in (("latin.yaml", "not YAML"), ("", "a folder"), ("none.yaml", "No such file")):
        with pytest.raises(LocheadsError, match=complaint):
            load_yaml(tmp_path / name, "write it so")


def test_empty_values_and_texts(tmp_path: Path) -> None:
    path = tmp_path / "few.yaml"
    path.write_text("\ufeffa:\nb: ''\nc: \"\"\nd: []\ne: |\n  010\n", encoding="utf-8")
    assert load_yaml(path, "") == {"a": None, "b": "", "c": "", "d": [], "e": "010\n"}
    path.write_text("")
    assert load_yaml(path, "") is None
