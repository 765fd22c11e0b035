from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from locheads.data.strict_json import json_lines, load_json, parse_json
from locheads.errors import LocheadsError


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": NaN}', "NaN is not a number of JSON"),
        ("[-Infinity]", "-Infinity is not"),
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' occurs twice"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("9" * 5000, "digits"),
        ("", "Expecting value"),
        ("{} {}", "Extra data"),
    ],
)
def test_what_programs_read_differently_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_json(text)
    assert "\n" not in str(caught.value)


def test_the_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"text": "NaN\\" NaN",\n\n "box": [1,\n NaN]}')
    with pytest.raises(LocheadsError, match=r"a\.json, line 4: not boxes \(NaN is not a number"):
        load_json(path, "boxes")
    path.write_text('{"a":\n\n }')
    with pytest.raises(LocheadsError, match=r"a\.json: not boxes \(.*line 3 column 2"):
        load_json(path, "boxes")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}', encoding="utf-8-sig")
    assert load_json(path, "JSON") == {"a": 1} and list(json_lines(path)) == [(1, {"a": 1})]
    path.write_text('{"a": 1}', encoding="utf-16")
    with pytest.raises(LocheadsError, match=r"a\.json: not JSON in UTF-8"):
        load_json(path, "JSON")


def test_lines_end_at_a_line_feed_only(tmp_path: Path) -> None:
    texts = ["a\u0085b", "a\u2028b", "a\u2029b", "a\x1cb", "plain"]
    path = tmp_path / "l.jsonl"
    lines = [json.dumps({"a": text}, ensure_ascii=False) for text in texts]
    path.write_bytes("\r\n".join([*lines, "", " "]).encode())
    assert list(json_lines(path)) == [(number, {"a": text}) for number, text in enumerate(texts, 1)]


@pytest.mark.parametrize("line", ["[1]", "3", "null", '"a"', '[["a", 1]]'])
def test_a_line_is_an_object(tmp_path: Path, line: str) -> None:
    (tmp_path / "l.jsonl").write_text('{"a": 1}\n' + line)
    with pytest.raises(LocheadsError, match=r"l\.jsonl, line 2: not a sample"):
        list(json_lines(tmp_path / "l.jsonl"))


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "l.jsonl")
    with pytest.raises(LocheadsError, match="named pipe"):
        list(json_lines(tmp_path / "l.jsonl"))
