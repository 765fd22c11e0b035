"""A submission is verified as made; tampered with, what does not fit is named; shards make the whole."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from locheads.cli import app
from locheads.data import read_samples
from locheads.errors import LocheadsError
from locheads.evaluation.evaluate import evaluate
from locheads.evaluation.metrics import accuracy, ciou
from locheads.method.criteria import curvature_threshold
from locheads.method.selection import Selection, top_heads
from locheads.model.loading import load_lvlm
from locheads.model.segmenter import load_segmenter
from locheads.run import outputs, outsiders, submit
from locheads.submission.compare import compare
from locheads.submission.form import read_submission
from locheads.submission.make import Run
from locheads.submission.make import submit as make
from locheads.submission.merge import merge
from locheads.submission.verify import verify

COUNT = 18  # more than a batch
SPLITS = (("refcoco", "val"), ("refcoco+", "testA"))
Lines = list[dict[str, Any]]
READ = cache(read_samples)


@pytest.fixture(autouse=True)
def read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locheads.submission.verify.read_samples", READ)


@pytest.fixture(scope="module")
def run() -> Run:
    frequency = np.zeros((12, 16))
    frequency[3, 0], frequency[5, 0], frequency[5, 5], frequency[6, 1] = 0.8, 0.7, 0.6, 0.1
    passing = frequency > 0
    threshold = curvature_threshold(np.linspace(0, 1, 192).reshape(12, 16) ** 4)
    selection = Selection(threshold, passing, passing[None], frequency, top_heads(frequency))
    samples = {split: read_samples("specimen", *split, COUNT) for split in SPLITS}
    train = read_samples("specimen", "refcoco", "train", 3)
    drawn = {"name": "specimen", "seed": 0, "held_out": COUNT, "samples": 3}
    return Run(load_lvlm("specimen"), load_segmenter("specimen"), selection, train, samples, drawn)


@pytest.fixture(scope="module")
def whole(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("submissions") / "mine.jsonl"
    assert make(run, path) == 2 * COUNT
    return path


def changed(whole: Path, tmp_path: Path, change: Callable[[Lines], object], sealed: bool = True) -> Path:
    """A copy with another content, and with the right hash of its lines unless it is not sealed."""
    lines = [json.loads(line) for line in whole.read_text("utf-8").splitlines()]
    change(lines)
    texts = [json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines]
    if sealed:
        lines[-1]["sha256"] = hashlib.sha256("".join(texts[:-1]).encode()).hexdigest()
        texts[-1] = json.dumps(lines[-1], ensure_ascii=False, sort_keys=True) + "\n"
    path = tmp_path / "tampered.jsonl"
    path.write_text("".join(texts), encoding="utf-8")
    return path


@pytest.mark.slow
def test_scores_are_those_of_the_evaluation(run: Run, whole: Path) -> None:
    stated = read_submission(whole).stated
    for split, samples in run.splits.items():
        assert run.segmenter is not None
        outcomes = evaluate(run.lvlm, run.segmenter, samples, run.selection.heads)
        areas = outcomes[["intersection", "union"]].to_numpy().T
        assert stated[*split, "rec_acc50"] == pytest.approx(accuracy(outcomes.box_iou.to_numpy()), abs=1e-12)
        assert stated[*split, "res_ciou"] == pytest.approx(ciou(*areas), abs=1e-12)


def test_what_was_made_is_verified(whole: Path) -> None:
    found = verify(whole)
    assert (found.wrong, found.unchecked) == ((), ())
    assert len(found.scores) == 4 and set(found.scores.expressions) == {COUNT}


@pytest.mark.slow
def test_shards_merge_to_the_same_bytes(run: Run, whole: Path, tmp_path: Path) -> None:
    parts = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    counts = [make(run, path, (number, 2)) for number, path in enumerate(parts, 1)]
    assert counts == [32, 4]
    assert merge(parts[::-1], tmp_path / "merged.jsonl") == 2 * COUNT
    assert (tmp_path / "merged.jsonl").read_bytes() == whole.read_bytes()
    assert verify(parts[0]).wrong[0] == "shard 1 of 2: merge all of them first (`locheads merge-shards`)"
    with pytest.raises(LocheadsError, match="shards 1 of 2 are given; give each of them once"):
        merge(parts[:1], tmp_path / "merged.jsonl")
    other = changed(parts[1], tmp_path, lambda lines: lines[0].update(query="last"))
    with pytest.raises(
        LocheadsError, match=r"tampered.jsonl: another query than .*1.jsonl; not of the same run"
    ):
        merge([parts[0], other], tmp_path / "merged.jsonl")


def wider(row: dict[str, Any]) -> None:
    row["box"] = [0.0, 0.0, *row["box"][2:]]


def hit(lines: Lines) -> None:
    """Every box hits, and the scores agree with that; the boxes are left."""
    for row in lines[1:-1]:
        row["box_iou"] = 0.9
    for one in lines[-1]["scores"]:
        one["value"] = 1.0 if one["metric"] == "rec_acc50" else one["value"]


FIRST = "refcoco val, "
TAMPERED: dict[str, tuple[Callable[[Lines], object], str]] = {
    "box": (
        lambda lines: wider(lines[1]),
        r"refcoco val, \S+: its box has IoU 0.\d+ with the annotation, stated",
    ),
    "box outside": (
        lambda lines: lines[1].update(box=[0, 0, 9999, 10]),
        r"refcoco val, .*not inside its picture",
    ),
    "IoUs and score": (hit, r"refcoco val, \S+: its box has IoU 0.\d+ with the annotation, stated is 0.9000"),
    "score": (
        lambda lines: lines[-1]["scores"][0].update(value=0.99),
        "refcoco val rec_acc50: .* stated is 0.9900",
    ),
    "mask": (lambda lines: lines[1].update(mask=lines[2]["mask"]), "its mask has intersection and union"),
    "mask of another size": (lambda lines: lines[1].update(mask="52"), "refcoco val, .*add up to"),
    "no mask": (lambda lines: lines[1].update(mask=None), "refcoco val res_ciou: the expressions give nan"),
    "id": (
        lambda lines: lines[1].update(id="nobody"),
        "refcoco val, nobody: no such expression among the 18",
    ),
    "picture": (lambda lines: lines[1].update(image_id="7"), "its picture is .*, stated is 7"),
    "missing": (
        lambda lines: lines.pop(3),
        "refcoco val: 1 of 18 expressions are missing, the first is refcoco",
    ),
    "twice": (lambda lines: lines.insert(3, lines[2]), "refcoco val, .*: occurs 2 times"),
    "place": (lambda lines: lines[1].update(at=5), "is expression 0 of the draw, stated is 5"),
    "another split": (
        lambda lines: lines[1].update(split="nine"),
        "expressions of refcoco nine, which the first",
    ),
    "annotations": (
        lambda lines: lines[0]["data"]["splits"][0].update(annotations="x"),
        "val: annotations have",
    ),
    "pictures": (
        lambda lines: lines[0]["data"]["splits"][1].update(pictures="x"),
        r"refcoco\+ testA: pictures have",
    ),
    "training": (
        lambda lines: lines[0]["selection"].update(annotations="x"),
        "selected on refcoco train: annot",
    ),
    "heads": (lambda lines: lines[0]["selection"].update(heads=[[6, 1]]), "are not the most frequent ones"),
    "frequency": (lambda lines: lines[0]["selection"].update(frequencies=[[3, 0, 7.0]]), "fewer frequencies"),
    "seed": (lambda lines: lines[0]["data"].update(seed=1), "refcoco val: .* expressions are missing"),
}


@pytest.mark.parametrize("what", TAMPERED)
def test_what_was_changed_is_named(what: str, whole: Path, tmp_path: Path) -> None:
    change, said = TAMPERED[what]
    found = verify(changed(whole, tmp_path, change))
    assert any(re.search(said, one) for one in found.wrong), found.wrong
    assert found.scores.empty


def test_a_change_of_anything_else_breaks_the_seal(whole: Path, tmp_path: Path) -> None:
    path = changed(whole, tmp_path, lambda lines: lines[0].update(weights="0" * 16), sealed=False)
    (said,) = verify(path).wrong
    assert said.startswith("sha256: the lines have ") and said.endswith("a line was changed")
    with pytest.raises(LocheadsError, match="a line was changed after it was written"):
        compare(path, path)


def test_other_code_is_said_and_not_held_against_the_file(whole: Path, tmp_path: Path) -> None:
    found = verify(changed(whole, tmp_path, lambda lines: lines[0].update(code="other")))
    assert not found.wrong and "sources other, these are" in found.unchecked[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines.pop(), "its last line, with the scores, is missing"),
        (lambda lines: lines[0].pop("prompt"), "line 1: not of a submission .it has no prompt"),
        (lambda lines: lines[0].update(form="x"), "not a submission"),
        (
            lambda lines: lines[2].update(box=[1, 2]),
            "line 3: .*the box is .1, 2. and not a list of four numbers",
        ),
        (
            lambda lines: lines[0]["selection"].update(heads=[[10**9, 0]]),
            "no head L1000000000 H0 in 12 layers",
        ),
        (lambda lines: lines[0].update(shard=[3, 2]), "shard 3 of 2"),
    ],
)
def test_another_form_is_one_line(
    change: Callable[[Lines], object], said: str, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(LocheadsError, match=f"tampered.jsonl.*{said}"):
        read_submission(changed(whole, tmp_path, change, sealed=False))


def test_differences_are_paired_and_by_hand(whole: Path, tmp_path: Path) -> None:
    def lose_two(lines: Lines) -> None:
        hits = [row for row in lines[1:-1] if row["split"] == "val" and row["box_iou"] >= 0.5]
        for row in hits[:2]:
            row["box"], row["box_iou"] = [0.0, 0.0, 1.0, 1.0], 0.0
        lines[0]["query"] = "last"
        lines.pop(-2)

    found = compare(whole, changed(whole, tmp_path, lose_two))
    assert found.differing == ("query",) and found.alone == (1, 0)
    assert found.same_boxes == pytest.approx(33 / 35)
    table = found.table.set_index(["dataset", "metric"])
    assert table.value["refcoco", "rec_acc50"] == pytest.approx(2 / 18)
    assert table.value["refcoco+", "rec_acc50"] == table.value["refcoco", "res_ciou"] == 0
    assert 0 <= table.low["refcoco", "rec_acc50"] < 2 / 18 < table.high["refcoco", "rec_acc50"]
    assert table.expressions.to_list() == [18, 18, 17, 17]


def test_a_verified_file_is_shown_until_it_is_changed(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    assert "None yet" in outsiders.section()
    place = tmp_path / "submissions" / "jane.jsonl"
    place.parent.mkdir()
    place.write_bytes(whole.read_bytes())
    done = CliRunner().invoke(app, ["verify", str(place), "--record"])
    assert done.exit_code == 0 and "verified, all scores follow" in done.output
    value = 100 * read_submission(whole).stated["refcoco", "val", "rec_acc50"]
    assert "### jane: specimen" in outsiders.section()
    assert f"| refcoco | val | 18 | rec_acc50 | {value:.1f} |" in outsiders.section()
    place.write_bytes(whole.read_bytes() + b"\n")
    assert "Not shown: jane.jsonl is missing, or not the file that was verified" in outsiders.section()


def test_what_does_not_fit_is_printed(whole: Path, tmp_path: Path) -> None:
    path = changed(whole, tmp_path, lambda lines: wider(lines[1]))
    done = CliRunner().invoke(app, ["verify", str(path)])
    assert done.output.startswith("wrong: refcoco val, ") and isinstance(done.exception, LocheadsError)
    assert "not verified; mismatches: 1" in str(done.exception)


def test_a_folder_has_to_be_given(whole: Path, tmp_path: Path) -> None:
    path = changed(whole, tmp_path, lambda lines: lines[0]["data"].update(name="refer"))
    with pytest.raises(LocheadsError, match="made on data in a folder, 'refer'; give --data"):
        verify(path)
    assert not verify(path, "specimen").wrong


def test_a_world_without_notebook_03_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    with pytest.raises(LocheadsError, match="world 'mine': notebook 03 has not run in it"):
        submit.submit_world("mine", tmp_path / "a.jsonl", (1, 1))


@pytest.mark.parametrize("text", ["3/2", "0/1", "1", "a/b", "1/2/3"])
def test_a_shard_is_a_part_of_some(text: str) -> None:
    assert submit.parse_shard("2/8") == (2, 8)
    with pytest.raises(LocheadsError, match="give which part of how many, as in 2/8"):
        submit.parse_shard(text)
