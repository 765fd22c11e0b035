from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from locheads.data import Annotated, annotated_of, objects_of, read_samples
from locheads.data.refcoco import load_plain_pickle, read_objects, read_refcoco
from locheads.errors import LocheadsError, LocheadsWarning

IMAGES = "images/mscoco/images/train2014"


def _sentences(*pairs: tuple[int, str]) -> list[dict[str, Any]]:
    return [{"sent_id": n, "sent": text, "raw": text.upper(), "tokens": text.split()} for n, text in pairs]


def _reference(ref_id: int, ann_id: int, split: str, *pairs: tuple[int, str]) -> dict[str, Any]:
    return {
        "ref_id": ref_id,
        "ann_id": ann_id,
        "image_id": 77,
        "category_id": 1,
        "file_name": f"COCO_train2014_000000000077_{ann_id}.jpg",
        "split": split,
        "sent_ids": [n for n, _ in pairs],
        "sentences": _sentences(*pairs),
    }


REFERENCES = [
    _reference(0, 5, "train", (0, "the lady in blue"), (1, "left lady")),
    _reference(1, 6, "val", (2, "the dog")),
    _reference(2, 5, "testA", (3, "lady")),
]


def _annotation(number: int, **change: Any) -> dict[str, Any]:
    polygon = [1.0, 2.0, 5.0, 2.0, 5.0, 6.0, 1.0, 6.0]
    plain = {"id": number, "image_id": 77, "category_id": 1, "bbox": [1.0, 2.0, 4.0, 4.0], "area": 16.0}
    return {**plain, "segmentation": [polygon], "iscrowd": 0, **change}


def _write(root: Path, dataset: str, split_by: str, references: Any, **of_six: Any) -> Path:
    folder = root / dataset
    folder.mkdir(parents=True, exist_ok=True)
    image = {"id": 77, "file_name": "COCO_train2014_000000000077.jpg", "width": 12, "height": 9}
    rle = {"size": [9, 12], "counts": [9, 3, 96]}
    six = _annotation(6, **{"segmentation": rle, "bbox": [1, 0, 1, 3], **of_six})
    content = {"images": [image], "annotations": [_annotation(5), six], "categories": []}
    (folder / "instances.json").write_text(json.dumps(content))
    (folder / f"refs({split_by}).p").write_bytes(pickle.dumps(references, protocol=2))
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((9, 12, 3), np.uint8)).save(root / IMAGES / image["file_name"])
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return _write(tmp_path, "refcoco", "unc", REFERENCES)


def test_one_sample_a_sentence(root: Path) -> None:
    first, second = read_refcoco(root, "refcoco", "train")
    assert (first.expression, second.expression) == ("the lady in blue", "left lady")
    assert first.sample_id == "refcoco-unc-0" and second.sample_id == "refcoco-unc-1"
    assert first.image_id == second.image_id == "77" and first.size == (12, 9)
    assert first.box == (1.0, 2.0, 5.0, 6.0)
    assert first.mask is not None and first.mask.sum() == 16 and first.mask[2:6, 1:5].all()
    assert first.image.size == (12, 9)


def test_rle_annotation(root: Path) -> None:
    (dog,) = read_refcoco(root, "refcoco", "val")
    assert dog.mask is not None and np.argwhere(dog.mask).tolist() == [[0, 1], [1, 1], [2, 1]]


def test_the_papers_split_is_the_default_and_google_is_a_choice(tmp_path: Path) -> None:
    _write(tmp_path, "refcocog", "umd", [_reference(0, 5, "test", (8, "umd's"))])
    _write(tmp_path, "refcocog", "google", [_reference(0, 5, "val", (9, "google's"))])
    assert [s.expression for s in read_refcoco(tmp_path, "refcocog", "test")] == ["umd's"]
    (google,) = read_samples(tmp_path, "refcocog(google)", "val")
    assert (google.sample_id, google.expression) == ("refcocog-google-9", "google's")


def test_wrong_split_lists_those_there_are(root: Path) -> None:
    with pytest.raises(LocheadsError, match=r"refs\(unc\)\.p: no split 'test'; there are testA, train, val"):
        next(iter(read_refcoco(root, "refcoco", "test")))


@pytest.mark.parametrize("name", ["refs(unc).p", "instances.json", "images"])
def test_missing_file_is_named(root: Path, name: str) -> None:
    path = root / "refcoco" / name
    if name == "images":
        path = root / IMAGES / "COCO_train2014_000000000077.jpg"
    path.unlink()
    with pytest.raises(LocheadsError) as caught:
        _ = read_refcoco(root, "refcoco", "val")[0].image
    assert str(path) in str(caught.value)


def test_missing_references_tell_what_there_is(root: Path) -> None:
    with pytest.raises(LocheadsError, match=r"refs\(google\)\.p: .*instances\.json, refs\(unc\)\.p"):
        next(iter(read_refcoco(root, "refcoco", "val", "google")))


def test_unknown_data_set(root: Path) -> None:
    with pytest.raises(LocheadsError, match="'refclef'; there are refcoco, refcoco"):
        next(iter(read_refcoco(root, "refclef", "val")))
    with pytest.raises(LocheadsError, match="'refclef'; there are refcoco, refcoco"):
        read_samples(root, "refclef", "val")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bbox": [1, 0, 100, 3]}, "outside the image"),
        ({"bbox": [1, 0, 0, 3]}, "is empty"),
        ({"segmentation": {"size": [9, 12], "counts": [108]}}, "mask is empty"),
        ({"segmentation": []}, "malformed"),
    ],
)
def test_bad_annotation_names_image_and_sample(tmp_path: Path, change: dict, message: str) -> None:
    root = _write(tmp_path, "refcoco", "unc", REFERENCES, **change)
    with pytest.raises(LocheadsError, match=rf"0077\.jpg, sample refcoco-unc-2: .*{message}"):
        read_samples(root, "refcoco", "val")


def test_reference_without_annotation_is_named(tmp_path: Path) -> None:
    root = _write(tmp_path, "refcoco", "unc", [_reference(41, 999, "val", (0, "nobody"))])
    with pytest.raises(LocheadsError, match=r"refs\(unc\)\.p: reference 41 .*999"):
        list(read_refcoco(root, "refcoco", "val"))


def test_all_objects_of_an_image_but_crowds(tmp_path: Path) -> None:
    root = _write(tmp_path, "refcoco", "unc", REFERENCES)
    assert objects_of(root, "refcoco") == {"77": [(1, 2, 5, 6), (1, 0, 2, 3)]}
    _write(tmp_path, "refcoco", "unc", REFERENCES, iscrowd=1)
    assert objects_of(root, "refcoco") == {"77": [(1, 2, 5, 6)]}
    _write(tmp_path, "refcoco", "unc", REFERENCES, bbox=[1, 0, 1])
    with pytest.raises(LocheadsError, match="annotation 6 is malformed"):
        read_objects(root, "refcoco")


def test_objects_carry_their_categories_and_crowds_count_as_there(tmp_path: Path) -> None:
    root = _write(tmp_path, "refcoco", "unc", REFERENCES, iscrowd=1, category_id=3)
    file = root / "refcoco" / "instances.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "categories": [{"id": 3, "name": "dog"}]}))
    unknown = Annotated((1.0, 2.0, 5.0, 6.0), "", False)
    dogs = Annotated((1.0, 0.0, 2.0, 3.0), "dog", True)
    assert annotated_of(root, "refcoco") == {"77": [unknown, dogs]}
    file.write_text(json.dumps({**content, "categories": [{"id": 3, "name": 4}]}))
    assert len(read_refcoco(root, "refcoco", "val")) == 1  # samples need no categories
    with pytest.raises(LocheadsError, match="its categories are malformed"):
        annotated_of(root, "refcoco")


def test_no_objects_where_they_are_not_listed(tmp_path: Path) -> None:
    assert objects_of(tmp_path, "refcoco") == objects_of(tmp_path, "png") == {}
    assert annotated_of(tmp_path, "refcoco") == annotated_of(tmp_path, "png") == {}


def test_damaged_instances(root: Path) -> None:
    (root / "refcoco/instances.json").write_text('{"images": [')
    with pytest.raises(LocheadsError, match=r"instances\.json: not COCO"):
        next(iter(read_refcoco(root, "refcoco", "val")))


class _Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_would_run_something_is_refused(tmp_path: Path, protocol: int) -> None:
    trace = tmp_path / "trace"
    root = _write(tmp_path, "refcoco", "unc", REFERENCES)
    path = root / "refcoco/refs(unc).p"
    path.write_bytes(pickle.dumps([{"split": _Evil(f"touch {trace}")}], protocol=protocol))
    with pytest.raises(LocheadsError, match=r"refs\(unc\)\.p: .*system"):
        list(read_refcoco(root, "refcoco", "val"))
    assert not trace.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "bytearray", "object"])
def test_builtins_are_refused_too(tmp_path: Path, name: str) -> None:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(f"cbuiltins\n{name}\n.".encode())
    with pytest.raises(LocheadsError, match=name):
        load_plain_pickle(path)


def test_plain_containers_are_admitted(tmp_path: Path) -> None:
    plain = [{"a": (1, 2.5, None, True), "b": {1, 2}, "c": frozenset("x"), "d": ["é", 2**70]}]
    path = tmp_path / "plain.p"
    for protocol in range(6):
        path.write_bytes(pickle.dumps(plain, protocol=protocol))
        assert load_plain_pickle(path) == plain


def test_a_pickle_of_python_2_is_read_as_latin_1(tmp_path: Path) -> None:
    # {'sent': 'caf\xe9', u'raw': u'\xe9', 'n': 3L} as cPickle of Python 2 writes it, protocol 2
    content = (
        b"\x80\x02}q\x01(U\x04sentq\x02U\x04caf\xe9q\x03X\x03\x00\x00\x00rawq\x04X\x02\x00\x00\x00\xc3\xa9"
    )
    path = tmp_path / "python2.p"
    path.write_bytes(content + b"q\x05U\x01nq\x06\x8a\x01\x03u.")
    assert load_plain_pickle(path) == {"sent": "café", "raw": "é", "n": 3}


@pytest.mark.parametrize("content", [b"", b"\x80\x02]q\x01(", b"no pickle", b"\x80\xff."])
def test_damaged_pickle_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(content)
    with pytest.raises(LocheadsError, match=r"refs\(unc\)\.p: not a pickle of plain data"):
        load_plain_pickle(path)


@pytest.mark.parametrize("content", [{"a": 1}, [1], [{"ref_id": 3}]])
def test_a_pickle_of_something_else_is_named(tmp_path: Path, content: Any) -> None:
    root = _write(tmp_path, "refcoco", "unc", content)
    with pytest.raises(LocheadsError, match=r"refs\(unc\)\.p: not a list of references"):
        next(iter(read_refcoco(root, "refcoco", "val")))


def test_limit_draws_a_seeded_subset_in_order(tmp_path: Path) -> None:
    root = _write(
        tmp_path, "refcoco", "unc", [_reference(n, 5, "val", (n, f"number {n}")) for n in range(30)]
    )
    everything = [sample.sample_id for sample in read_samples(root, "refcoco", "val")]
    draws = [
        [sample.sample_id for sample in read_samples(root, "refcoco", "val", limit=7, seed=seed)]
        for seed in (0, 0, 1)
    ]
    assert draws[0] == draws[1] != draws[2]
    for draw in draws:
        assert len(set(draw)) == 7 and draw == sorted(draw, key=everything.index)
    assert [s.sample_id for s in read_samples(root, "refcoco", "val", limit=99)] == everything
    with pytest.raises(LocheadsError, match="limit = 0"):
        read_samples(root, "refcoco", "val", limit=0)
    with pytest.raises(LocheadsError, match="seed = -1: give 0 or more"):
        read_samples(root, "refcoco", "val", limit=7, seed=-1)


@pytest.mark.parametrize("bytes_", ["café".encode(), "café".encode("cp1252")])
@pytest.mark.parametrize("form", ["short", "text"])
def test_bytes_of_python_2_are_utf_8_or_code_page_1252(tmp_path: Path, bytes_: bytes, form: str) -> None:
    path = tmp_path / "python2.p"
    escaped = "".join(f"\\x{byte:02x}" for byte in bytes_).encode()
    path.write_bytes(
        b"\x80\x02U" + bytes([len(bytes_)]) + bytes_ + b"q\x01."
        if form == "short"
        else b"S'" + escaped + b"'\np1\n."
    )
    assert load_plain_pickle(path) == "café"


def test_quotes_of_code_page_1252_and_bytes_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "python2.p"
    path.write_bytes(b"\x80\x02U\x05it\x92s\x81.")
    assert load_plain_pickle(path) == "it’s\x81"


def test_text_of_python_3_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "python3.p"
    path.write_bytes(pickle.dumps(["Ã©", "â€™"], protocol=2))
    assert load_plain_pickle(path) == ["Ã©", "â€™"]


@pytest.mark.parametrize("put", [b"r\xff\xff\xff\x7f", b"p2147483647\n"])
def test_a_memo_that_would_take_all_memory_is_refused(tmp_path: Path, put: bytes) -> None:
    path = tmp_path / "refs(unc).p"
    path.write_bytes(b"\x80\x02]" + put + b".")
    with pytest.raises(LocheadsError, match="a memo index of 2147483647 in"):
        load_plain_pickle(path)


def test_every_opcode_is_walked_over(tmp_path: Path) -> None:
    """Arguments that look like a memo's opcode are none."""
    plain = [
        b"r\xff\xff\xff\xff",
        "p9999999\n",
        2**200,
        1.5,
        {"r": frozenset([1])},
        "r" * 300,
        (1, 2),
        70_000,
        -1,
    ]
    for protocol in range(3, 6):
        (tmp_path / "plain.p").write_bytes(pickle.dumps(plain, protocol=protocol))
        assert load_plain_pickle(tmp_path / "plain.p") == plain


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sentences": []}, "it has no sentences"),
        ({"sentences": "the dog"}, "sentences is 'the dog' and not a list"),
        ({"sentences": [{"sent_id": 2, "sent": None}]}, "the sentence is None and not a text"),
        ({"sentences": [{"sent_id": 2, "sent": 5}]}, "the sentence is 5 and not a text"),
        ({"sentences": [{"sent_id": [2], "sent": "x"}]}, r"sent_id is \[2\]"),
        ({"image_id": 78}, "78 is missing"),
    ],
)
def test_a_malformed_reference_is_named_or_left_out(tmp_path: Path, change: dict, message: str) -> None:
    bad = {**_reference(41, 6, "val"), **change}
    root = _write(tmp_path, "refcoco", "unc", [bad, _reference(42, 5, "val", (9, "good"))])
    with pytest.raises(LocheadsError, match=rf"refs\(unc\)\.p: reference 41 is malformed \(.*{message}"):
        read_samples(root, "refcoco", "val")
    with pytest.warns(LocheadsWarning, match=message):
        (kept,) = read_samples(root, "refcoco", "val", on_error="skip")
    assert kept.expression == "good"


@pytest.mark.parametrize(
    ("of_six", "message"),
    [
        ({"segmentation": [[1, 1, 8, 1, 1e9, 8]]}, "must be finite and within"),
        ({"bbox": [1, 0, 1e308, 3]}, "must be finite and within"),
        ({"bbox": "1032"}, "the box is '1032' and not a list of four numbers"),
        ({"segmentation": {"size": [9, 12], "counts": [9, 3]}}, "add up to 12, not to 9 × 12 = 108"),
        ({"segmentation": [[8, 5, 11, 5, 11, 8]]}, "only 0% of the mask lies inside the box"),
        ({"image_id": 5}, "its object is of image 5"),
    ],
)
def test_an_annotation_that_would_be_misread_is_refused(tmp_path: Path, of_six: dict, message: str) -> None:
    root = _write(tmp_path, "refcoco", "unc", REFERENCES, **of_six)
    with pytest.raises(LocheadsError, match=message):
        read_samples(root, "refcoco", "val")


@pytest.mark.parametrize("text", ["NaN", "Infinity"])
def test_not_a_number_in_the_annotations_is_refused_with_its_line(root: Path, text: str) -> None:
    path = root / "refcoco/instances.json"
    path.write_text(path.read_text().replace("[1.0, 2.0, 5.0", f"[\n{text}, 2.0, 5.0", 1))
    with pytest.raises(LocheadsError, match=rf"instances\.json, line 2: not COCO annotations \({text}"):
        read_samples(root, "refcoco", "val", on_error="skip")


@pytest.mark.parametrize(
    "name", ["../a.jpg", "/etc/passwd", "x/../../a.jpg", "..\\a.jpg", "C:\\a.jpg", "", 5, "a\0"]
)
def test_a_file_name_that_leads_out_of_the_folder_is_refused(root: Path, name: Any) -> None:
    path = root / "refcoco/instances.json"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = name
    path.write_text(json.dumps(content))
    with pytest.raises(LocheadsError, match="reference 1 is malformed .*file name"):
        read_samples(root, "refcoco", "val")


def test_two_entries_of_one_id_are_refused_where_they_differ(root: Path) -> None:
    path = root / "refcoco/instances.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "annotations": [*content["annotations"], _annotation(5)]}))
    assert len(read_samples(root, "refcoco", "train")) == 2
    path.write_text(json.dumps({**content, "annotations": [*content["annotations"], _annotation(5, area=1)]}))
    with pytest.raises(LocheadsError, match=r"instances\.json: .*two entries whose id is 5"):
        read_samples(root, "refcoco", "train")


def test_a_sentence_id_twice_is_refused(tmp_path: Path) -> None:
    root = _write(tmp_path, "refcoco", "unc", [_reference(1, 5, "val", (2, "a"), (2, "b"))])
    with pytest.raises(LocheadsError, match=r"sample refcoco-unc-2: this id occurs twice"):
        read_samples(root, "refcoco", "val")
