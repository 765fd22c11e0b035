"""`locheads explore`: from the specimen's profiles to a page."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from locheads import cli
from locheads.run import outputs


def called(monkeypatch: pytest.MonkeyPatch, root: Path, *arguments: str) -> None:
    monkeypatch.setattr(outputs, "ROOT", root)
    monkeypatch.setattr(sys, "argv", ["locheads", "explore", *arguments])
    cli.main()


@pytest.mark.slow
def test_it_writes_a_page_of_the_world_s_profiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "site" / "explorer.html"
    few = ("--samples", "6", "--held-out", "5", "--pictures", "2")
    with pytest.raises(SystemExit) as end:
        called(monkeypatch, tmp_path, str(page), *few)
    assert not end.value.code
    found = re.search(r'id="data">(.*?)</script>', page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert (data["model"], data["chosen_in"], data["samples"]) == ("specimen", 6, 5)
    assert len({one["image"] for one in data["expressions"]}) == 2
    assert {path.name for path in (tmp_path / "runs" / "specimen").iterdir()} == {
        "profile-refcoco-train-6-0",
        "profile-refcoco-val-5-0",
    }
    said = capsys.readouterr().out
    assert said.startswith(
        f"{len(data['expressions'])} expressions, {data['layers'] * data['heads']} heads, "
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["a.txt"], "a.txt: a page is an .html file"),
        (["a.html", "--world", "a/b"], "not a plain name"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    complaint: str,
) -> None:
    with pytest.raises(SystemExit) as end:
        called(monkeypatch, tmp_path, *arguments)
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert re.fullmatch(f"locheads: .*{re.escape(complaint)}.*\n", err)
    assert not list(tmp_path.iterdir())
