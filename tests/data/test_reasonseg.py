from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from locheads.data import read_reasonseg, read_samples
from locheads.data.reasonseg import draw_target
from locheads.errors import LocheadsError, LocheadsWarning


def _shape(label: str, x0: float, y0: float, x1: float, y1: float) -> dict[str, Any]:
    return {"label": label, "shape_type": "polygon", "points": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}


TARGET = _shape("target", 2, 1, 8, 6)


def _write(
    folder: Path, name: str, shapes: list[dict[str, Any]], encoding: str = "utf-8", **more: Any
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((10, 14, 3), np.uint8)).save(folder / f"{name}.jpg")
    content = {"text": ["what to wear", "finger’s friend"], "is_sentence": False, "shapes": shapes, **more}
    (folder / f"{name}.json").write_text(json.dumps(content, ensure_ascii=False), encoding=encoding)


def test_one_sample_a_query(tmp_path: Path) -> None:
    _write(tmp_path / "ReasonSeg/val", "b", [TARGET], is_sentence=True)
    _write(tmp_path / "ReasonSeg/val", "a", [TARGET])
    samples = read_samples(tmp_path, "reasonseg", "val")
    assert [s.sample_id for s in samples] == [f"reasonseg-val-{name}-{n}" for name in "ab" for n in (0, 1)]
    assert [s.is_sentence for s in samples] == [False, False, True, True]
    first = samples[0]
    assert (first.expression, samples[1].expression) == ("what to wear", "finger’s friend")
    assert first.size == (14, 10) == first.image.size and first.image_id == "val/a"
    # the outline is part of the target: pixels 2..8 and 1..6
    assert first.box == (2.0, 1.0, 9.0, 7.0)
    assert first.mask is not None and first.mask.sum() == 42 and first.mask[1:7, 2:9].all()
    assert first.ignored_mask is None


def test_smaller_polygons_overrule_larger_ones_in_any_order() -> None:
    hole, kernel = _shape("ignore", 3, 2, 6, 5), _shape("Target", 4, 3, 4, 3)
    for shapes in ([TARGET, hole, kernel], [kernel, hole, TARGET]):
        target, ignored = draw_target(shapes, (14, 10))
        assert target.sum() == 42 - 16 + 1 and target[3, 4]
        assert ignored.sum() == 15 and ignored[2, 3] and not (target & ignored).any()


def test_parts_are_united_flags_dropped_and_fractions_cut() -> None:
    shapes = [TARGET, _shape("target", 10.9, 1.9, 12.2, 2.7), _shape("flag", 0, 0, 13, 9)]
    target, ignored = draw_target(shapes, (14, 10))
    assert target.sum() == 42 + 6 and target[1:3, 10:13].all() and not ignored.any()


def test_ignored_region_reaches_the_sample(tmp_path: Path) -> None:
    _write(tmp_path / "val", "a", [TARGET, _shape("ignore", 10, 0, 11, 1)])
    sample = next(iter(read_reasonseg(tmp_path, "val")))
    assert sample.ignored_mask is not None
    assert np.argwhere(sample.ignored_mask).tolist() == [[0, 10], [0, 11], [1, 10], [1, 11]]


def test_code_page_1252_is_read_too(tmp_path: Path) -> None:
    _write(tmp_path / "val", "a", [TARGET], encoding="cp1252")
    assert [s.expression for s in read_reasonseg(tmp_path, "val")][1] == "finger’s friend"


def test_wrong_split_lists_those_there_are(tmp_path: Path) -> None:
    _write(tmp_path / "val", "a", [TARGET])
    _write(tmp_path / "train", "a", [TARGET])
    (tmp_path / "explanatory").mkdir()
    (tmp_path / "readme.txt").touch()
    with pytest.raises(LocheadsError, match="no split 'test' of ReasonSeg; there are train, val"):
        next(read_reasonseg(tmp_path, "test"))
    with pytest.raises(LocheadsError, match="there are none"):
        next(read_reasonseg(tmp_path / "nowhere", "test"))


@pytest.mark.parametrize("shapes", [[], [_shape("ignore", 0, 0, 5, 5)], [_shape("target", 50, 50, 60, 60)]])
def test_no_target_is_an_empty_mask(tmp_path: Path, shapes: list[dict[str, Any]]) -> None:
    _write(tmp_path / "val", "a", shapes)
    with pytest.raises(LocheadsError, match=r"a\.json: the mask is empty"):
        next(iter(read_reasonseg(tmp_path, "val")))


@pytest.mark.parametrize(
    "content", ["{", "[1]", "{}", '{"text": ["x"], "is_sentence": true, "shapes": [{}]}']
)
def test_damaged_annotation_is_named(tmp_path: Path, content: str) -> None:
    _write(tmp_path / "val", "a", [TARGET])
    (tmp_path / "val/a.json").write_text(content)
    with pytest.raises(LocheadsError, match=r"a\.json: not a ReasonSeg annotation"):
        next(iter(read_reasonseg(tmp_path, "val")))


def test_missing_and_undecodable_image_are_named(tmp_path: Path) -> None:
    _write(tmp_path / "val", "a", [TARGET])
    (tmp_path / "val/a.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    with pytest.raises(LocheadsError, match=r"a\.jpg: the image does not decode \(annotation a\.json\)"):
        next(iter(read_reasonseg(tmp_path, "val")))
    (tmp_path / "val/a.jpg").unlink()
    with pytest.raises(LocheadsError, match=r"a\.jpg: no such image"):
        next(iter(read_reasonseg(tmp_path, "val")))


def test_blank_query_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "ReasonSeg/val", "a", [TARGET], text=["fine", " "])
    with pytest.raises(LocheadsError, match=r"a\.jpg, sample reasonseg-val-a-1: the expression is empty"):
        read_samples(tmp_path, "reasonseg", "val")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"text": "umbrella"}, "text is 'umbrella' and not a list"),
        ({"text": None}, "text is None and not a list"),
        ({"text": []}, "text holds no query"),
        ({"text": [3]}, "a query is 3 and not a text"),
        ({"is_sentence": "false"}, "is_sentence is 'false' and not true or false"),
        ({"is_sentence": None}, "is_sentence is None"),
        ({"shapes": [{**TARGET, "shape_type": "circle"}]}, "a shape of type 'circle'; draw it as a polygon"),
        ({"shapes": [{**TARGET, "shape_type": "rectangle"}]}, "a shape of type 'rectangle'"),
        ({"shapes": [{**TARGET, "label": "dog"}]}, "the label 'dog'; there are target, ignore and flag"),
        (
            {"shapes": [{**TARGET, "points": [[1e12, 1], [2, 2]]}]},
            "a coordinate is .* must be finite and within",
        ),
        ({"shapes": [{**TARGET, "points": ["12", "34", "56"]}]}, "a point is '12' and not x and y"),
    ],
)
def test_what_would_be_misread_is_refused(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    shapes = more.pop("shapes", [TARGET])
    _write(tmp_path / "ReasonSeg/val", "a", shapes, **more)
    with pytest.raises(LocheadsError, match=rf"a\.json: not a ReasonSeg annotation \({message}"):
        read_samples(tmp_path, "reasonseg", "val")
    _write(tmp_path / "ReasonSeg/val", "b", [TARGET])
    with pytest.warns(LocheadsWarning, match=message):
        kept = read_samples(tmp_path, "reasonseg", "val", on_error="skip")
    assert [s.sample_id for s in kept] == ["reasonseg-val-b-0", "reasonseg-val-b-1"]


def test_a_flag_may_be_of_any_type(tmp_path: Path) -> None:
    flag = {"label": "flag", "shape_type": "circle", "points": [[1, 1], [2, 2]]}
    _write(tmp_path / "val", "a", [TARGET, flag])
    assert next(iter(read_reasonseg(tmp_path, "val"))).mask.sum() == 42


def test_polygons_count_in_the_picture_as_its_exif_data_turn_it(tmp_path: Path) -> None:
    _write(tmp_path / "val", "a", [TARGET])
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (10, 14)).save(tmp_path / "val/a.jpg", exif=exif)  # shown as 14 × 10
    sample = next(iter(read_reasonseg(tmp_path, "val")))
    assert sample.size == sample.image.size == (14, 10)
    assert sample.mask.shape == (10, 14) and sample.mask.sum() == 42 and sample.box == (2.0, 1.0, 9.0, 7.0)


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    _write(tmp_path / "val", "a", [TARGET], encoding="utf-8-sig")
    assert next(iter(read_reasonseg(tmp_path, "val"))).expression == "what to wear"
