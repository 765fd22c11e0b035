"""Lists of samples: what is written is read back, own data is read, and a check finds what differs."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from locheads.cli import app
from locheads.data import read_samples
from locheads.data.cropping import cut
from locheads.data.manifest import check_images, check_samples, read_manifest, write_manifest
from locheads.data.samples import Sample, encode_mask
from locheads.errors import LocheadsError, LocheadsWarning


def _picture(path: Path, value: int = 7, kind: str = "png") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 10, 3), value, np.uint8)).save(path, kind)
    return path


def _sample(number: int, path: Path) -> Sample:
    square = [[2, 3, 6, 3, 6, 5, 2, 5]]
    return Sample(
        f"set-{number}", path, path.stem, f"number {number}", (10, 8), (2.0, 3.0, 6.0, 5.25), square
    )


def _write(path: Path, *lines: dict) -> Path:
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    return path


def _command(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["manifest", *map(str, arguments)])
    if result.exception:
        raise result.exception
    return result.output


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    paths = [_picture(tmp_path / f"data/images/{number}.png", number) for number in (1, 2, 2)]
    return [_sample(number, path) for number, path in enumerate(paths)]


def test_what_is_written_is_read_back(tmp_path: Path, samples: list[Sample]) -> None:
    rle = encode_mask(np.pad(np.eye(2, dtype=bool), ((3, 3), (3, 5))))
    samples[1] = replace(samples[1], segmentation=rle, ignored=rle, is_sentence=False)
    samples[2] = replace(samples[2], phrase="the é", is_plural=True, is_thing=False)
    path = tmp_path / "data/lists/val.jsonl"
    write_manifest(samples, path, "refcoco", "val")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["image"] for line in lines] == [f"../images/{n}.png" for n in (1, 2, 2)]
    back = read_samples(path, "refcoco", "val")
    assert [replace(s, image_path=s.image_path.resolve()) for s in back] == samples
    assert str(tmp_path) not in path.read_text()


def test_images_inside_other_files_are_written_beside_it(tmp_path: Path, samples: list[Sample]) -> None:
    content = samples[0].image_path.read_bytes()
    stored = replace(samples[0], image_path=Path("owner/set/3.png"), stored=lambda: content)
    path = tmp_path / "val.jsonl"
    write_manifest([stored], path, "refcoco", "val")
    (back,) = read_samples(path, "refcoco", "val")
    assert back.image_path == tmp_path / "val.images/3.png" and back.encoded_image == content
    assert back.image.getpixel((0, 0)) == (1, 1, 1)
    assert "1 images, all as listed" in _command("--check", path)


def test_own_data_need_only_image_and_expression(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    mask = np.zeros((8, 10), np.uint8)
    mask[2:4, 5:9] = 255
    Image.fromarray(mask).save(tmp_path / "m.png")
    path = _write(
        tmp_path / "own.jsonl",
        {"image": "a.png", "expression": "the dog"},
        {"image": "a.png", "expression": "the cat", "mask": "m.png"},
        {"image": "a.png", "expression": "the cow", "box": [1, 2, 3, 4]},
    )
    dog, cat, cow = read_samples(path, "mine", "val")
    assert dog.size == (10, 8) and dog.box is None and dog.mask is None and dog.sample_id == "own-1"
    assert np.array_equal(cat.mask, mask > 0) and cat.box == (5.0, 2.0, 9.0, 4.0)
    assert cow.box == (1.0, 2.0, 3.0, 4.0) and cow.mask is None
    drawn = {s.sample_id for s in read_samples(path, "mine", "val", limit=2, seed=3)}
    assert len(drawn) == 2 and drawn < {"own-1", "own-2", "own-3"}


def test_lines_of_other_sets_are_passed_over(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    both = [{"image": "a.png", "expression": split, "dataset": "d", "split": split} for split in ("a", "b")]
    path = _write(tmp_path / "both.jsonl", *both)
    assert [s.expression for s in read_samples(path, "d", "b")] == ["b"]
    with pytest.raises(LocheadsError, match=r"both\.jsonl: no sample of d c; there are d a, d b"):
        read_samples(path, "d", "c")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"expression": "x"}, "line 1: not a sample .*'image'"),
        ({"image": "a.png"}, "line 1: not a sample .*'expression'"),
        ({"image": "a.png", "expression": " "}, r"a\.png, sample l-1: the expression is empty"),
        ({"image": "a.png", "expression": "x", "box": [0, 0, 99, 9]}, "sample l-1: .*outside the image"),
        ({"image": "a.png", "expression": "x", "box": [0, 0, 9]}, "line 1: not a sample"),
        ({"image": "a.png", "expression": "x", "mask": "no.png"}, r"no\.png: the mask cannot be read"),
        ({"image": "no.png", "expression": "x"}, r"no\.png: no such image \(l\.jsonl, line 1\)"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, line: dict, message: str) -> None:
    _picture(tmp_path / "a.png")
    with pytest.raises(LocheadsError, match=message):
        read_samples(_write(tmp_path / "l.jsonl", line), "mine", "val")


def test_a_list_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocheadsError, match=r"no\.jsonl: cannot be read"):
        read_samples(tmp_path / "no.jsonl", "mine", "val")
    (tmp_path / "bad.jsonl").write_text('{"image": "a.png", "expression": "x"}\n{"image"')
    with pytest.raises(LocheadsError, match=r"bad\.jsonl, line 2: not a sample"):
        read_samples(tmp_path / "bad.jsonl", "mine", "val")


def test_bad_samples_are_left_out_when_asked(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    good = {"image": "a.png", "expression": "x", "size": [10, 8]}
    path = _write(
        tmp_path / "l.jsonl",
        good,
        {**good, "image": "cut.png"},
        {**good, "box": [0, 0, 99, 9]},
        {**good, "image": "no.png"},
        {**good, "size": [8, 10]},
        good,
    )
    with pytest.warns(LocheadsWarning, match="4 of 6 samples are left out") as caught:
        kept = read_samples(path, "mine", "val", on_error="skip")
    assert [s.sample_id for s in kept] == ["l-1", "l-6"] and len(caught) == 1
    for told in ("cut.png", "sample l-3", "no.png", "sample l-5"):
        assert told in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_samples(_write(tmp_path / "g.jsonl", good), "m", "v", on_error="skip")) == 1
    with pytest.raises(LocheadsError, match="1 of 1 samples"):
        read_samples(_write(tmp_path / "b.jsonl", {**good, "image": "no.png"}), "m", "v", on_error="skip")
    with pytest.raises(LocheadsError, match="on_error = 'ignore'"):
        read_samples(path, "mine", "val", on_error="ignore")


# The command


@pytest.fixture
def listed(tmp_path: Path, samples: list[Sample]) -> Path:
    write_manifest(samples, tmp_path / "data/all.jsonl", "refcoco", "val")
    return tmp_path / "data/all.jsonl"


def test_the_command_lists_the_draw_and_checks_it(tmp_path: Path, listed: Path) -> None:
    two = tmp_path / "data/two.jsonl"
    draw = (listed, "refcoco", "val", "--limit", 2, "--seed", 5)
    assert "2 samples of refcoco val" in _command(*draw, "--output", two)
    ids = [json.loads(line)["id"] for line in two.read_text().splitlines()]
    assert ids == [s.sample_id for s in read_samples(listed, "refcoco", "val", limit=2, seed=5)]
    assert "2 samples, all as in" in _command(*draw, "--check", two)
    assert "2 images, all as listed" in _command("--check", listed)
    with pytest.raises(LocheadsError, match="line 1: id of set-|2 samples, but 3 in the data"):
        _command(listed, "refcoco", "val", "--check", two)


def test_the_check_names_the_image_that_differs(tmp_path: Path, listed: Path) -> None:
    copy = tmp_path / "data/copy.jsonl"
    copy.write_text(listed.read_text())
    _picture(tmp_path / "data/images/2.png", 99)
    with pytest.raises(LocheadsError, match=r"2\.png: not the image of the list \(.*all\.jsonl, line 2\)"):
        _command("--check", listed)
    with pytest.raises(LocheadsError, match=r"2\.png: not the image of the list \(.*copy\.jsonl, line 2\)"):
        _command(listed, "refcoco", "val", "--check", copy)
    (tmp_path / "data/images/1.png").unlink()
    with pytest.raises(LocheadsError, match=r"1\.png: no such image"):
        _command("--check", listed)


def test_the_check_names_what_else_differs(tmp_path: Path, listed: Path) -> None:
    first, *others = [json.loads(line) for line in listed.read_text().splitlines()]
    other = _write(tmp_path / "data/other.jsonl", {**first, "expression": "another"}, *others)
    with pytest.raises(LocheadsError, match=r"line 1: expression of set-0 is 'another', but 'number 0'"):
        _command(listed, "refcoco", "val", "--check", other)
    del first["sha256"]
    with pytest.raises(LocheadsError, match="line 1: no sha256"):
        _command("--check", _write(tmp_path / "data/other.jsonl", first))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["specimen", "refcoco"],
        ["specimen", "refcoco", "val"],
        ["a.jsonl", "d", "s", "--output", "x.json"],
    ],
)
def test_the_command_says_what_it_needs(arguments: list[str]) -> None:
    with pytest.raises(LocheadsError, match="give|a list of samples is a .jsonl file"):
        _command(*arguments)


def test_a_path_may_be_a_text(tmp_path: Path) -> None:
    samples = read_samples("specimen", "refcoco", "val", limit=2)
    write_manifest(samples, str(tmp_path / "a.jsonl"), "refcoco", "val")
    assert check_images(str(tmp_path / "a.jsonl")) == len({one.image_id for one in samples})
    assert check_samples(str(tmp_path / "a.jsonl"), samples) == 2
    again = read_manifest(str(tmp_path / "a.jsonl"), "refcoco", "val")
    assert [one.sample_id for one in again] == [one.sample_id for one in samples]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expression": None}, "the expression is None and not a text"),
        ({"expression": 3}, "the expression is 3 and not a text"),
        ({"expression": ["the dog"]}, "the expression is .*the dog.* and not a text"),
        ({"expression": "\ud800"}, "half a surrogate pair"),
        ({"box": "1234"}, "the box is '1234' and not a list of four numbers"),
        ({"box": ["1", "2", "3", "4"]}, "a coordinate of the box is '1' and not a number"),
        ({"box": [0, 0, 10**400, 3]}, "must be finite and within"),
        ({"mask": 5}, "the mask is 5, neither polygons nor RLE"),
        ({"mask": [[1, 1, 8, 1, 1e9, 8]]}, "must be finite and within"),
        ({"mask": {"size": [8, 10], "counts": [0, 10]}}, "add up to 10, not to 8 × 10 = 80"),
        ({"mask": [[6, 5, 9, 5, 9, 7]], "box": [0, 0, 4, 4]}, "only 0% of the mask lies inside the box"),
        ({"is_sentence": "false"}, "is_sentence is 'false'"),
        ({"size": [10.5, 8]}, "a side of the image is 10.5"),
        ({"size": [10**9, 10**9]}, "too large"),
        ({"id": None}, "id is None and not a text or a whole number"),
        ({"image": 5}, "image is 5 and not a text"),
    ],
)
def test_what_would_be_misread_is_refused_or_left_out(tmp_path: Path, change: dict, message: str) -> None:
    _picture(tmp_path / "a.png")
    good = {"image": "a.png", "expression": "x"}
    path = _write(tmp_path / "l.jsonl", {**good, **change}, good)
    with pytest.raises(LocheadsError, match=message) as caught:
        read_samples(path, "mine", "val")
    assert "\n" not in str(caught.value)
    with pytest.warns(LocheadsWarning, match="1 of 2 samples are left out"):
        assert len(read_samples(path, "mine", "val", on_error="skip")) == 1


def test_separators_of_unicode_are_written_and_read_back(tmp_path: Path, samples: list[Sample]) -> None:
    samples[0] = replace(samples[0], expression="next\u0085line\u2028and\u2029more")
    write_manifest(samples, tmp_path / "l.jsonl", "d", "s")
    assert [s.expression for s in read_samples(tmp_path / "l.jsonl", "d", "s")] == [
        s.expression for s in samples
    ]


def test_one_id_twice_is_refused(tmp_path: Path) -> None:
    _picture(tmp_path / "a.png")
    good = {"image": "a.png", "expression": "x", "id": "one"}
    with pytest.raises(LocheadsError, match=r"a\.png, sample one: this id occurs twice"):
        read_samples(_write(tmp_path / "l.jsonl", good, good), "mine", "val")
    path = _write(tmp_path / "l.jsonl", {**good, "id": 7}, {**good, "id": "7"})
    with pytest.raises(LocheadsError, match="sample 7: this id occurs twice"):
        read_samples(path, "mine", "val")


def test_one_image_id_of_two_pictures_is_refused(tmp_path: Path) -> None:
    first, second = ({"image": f"{n}.png", "expression": "x", "image_id": "p"} for n in (1, 2))
    _picture(tmp_path / "1.png", 1)
    _picture(tmp_path / "2.png", 2)
    path = _write(tmp_path / "l.jsonl", first, second)
    with pytest.raises(
        LocheadsError, match=r"2\.png, sample l-2: its image_id p .* another picture, .*1\.png"
    ):
        read_samples(path, "mine", "val")
    with pytest.warns(LocheadsWarning, match="image_id p"):
        assert [s.sample_id for s in read_samples(path, "mine", "val", on_error="skip")] == ["l-1"]
    _picture(tmp_path / "2.png", 1)  # a copy of the same bytes
    assert len(read_samples(path, "mine", "val")) == 2


def test_two_cuts_of_one_picture_are_written_as_two_files(tmp_path: Path, samples: list[Sample]) -> None:
    whole = replace(samples[0], box=None, segmentation=None)
    cuts = [cut(whole, (0, 0, 4, 4)), cut(whole, (0, 0, 6, 8))]
    write_manifest(cuts, tmp_path / "l.jsonl", "d", "s")
    assert [s.image.size for s in read_samples(tmp_path / "l.jsonl", "d", "s")] == [(4, 4), (6, 8)]
