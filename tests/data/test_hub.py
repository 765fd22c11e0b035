"""The parquet sets of the hub, written here with the columns of their cards."""

from __future__ import annotations

import json
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures

from locheads.data import open_samples, read_samples
from locheads.errors import LocheadsError

COCO = "images/mscoco/images/train2014"
LMMS = Features(
    {
        "question_id": Value("string"),
        "image": Image(),
        "question": Value("string"),
        "answer": List(Value("string")),
        "segmentation": List(Value("float32")),
        "bbox": List(Value("float32")),
        "iscrowd": Value("int8"),
        "file_name": Value("string"),
    }
)
JXU = Features(
    {
        "sent_ids": List(Value("int64")),
        "file_name": Value("string"),
        "ann_id": Value("int64"),
        "ref_id": Value("int64"),
        "image_id": Value("int64"),
        "split": Value("string"),
        "sentences": [
            {
                "raw": Value("string"),
                "sent": Value("string"),
                "sent_id": Value("int64"),
                "tokens": List(Value("string")),
            }
        ],
        "category_id": Value("int64"),
        "raw_anns": Value("string"),
        "raw_image_info": Value("string"),
        "raw_sentences": Value("string"),
        "image_path": Value("string"),
        "bbox": List(Value("float64")),
        "captions": List(Value("string")),
        "global_image_id": Value("string"),
        "anns_id": Value("string"),
    }
)
CARD = """---
dataset_info:
  features:
  - name: question_id
    dtype: string
  - name: image
    dtype: image
  - name: question
    dtype: string
  - name: answer
    sequence: string
  - name: segmentation
    sequence: float32
  - name: bbox
    sequence: float32
  - name: iscrowd
    dtype: int8
  - name: file_name
    dtype: string
  splits:
  - name: val
    num_examples: 8811
  - name: testA
    num_examples: 1975
configs:
- config_name: default
  data_files:
  - split: val
    path: data/val-*
  - split: testA
    path: data/testA-*
---
"""
"""The card of lmms-lab's repository, which says more rows than these tests write."""
POLYGON = [1.0, 2.0, 5.0, 2.0, 5.0, 6.0, 1.0, 6.0]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def _jpeg(value: int) -> bytes:
    buffer = BytesIO()
    Pictures.fromarray(np.full((9, 12, 3), value, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


def _lmms_row(number: int, answers: list[str], **change: Any) -> dict[str, Any]:
    name = f"COCO_train2014_000000000077_{number}.jpg"
    plain = {"question_id": str(number), "image": {"bytes": _jpeg(number), "path": name}, "question": "What?"}
    box = {"segmentation": POLYGON, "bbox": [1.0, 2.0, 4.0, 4.0], "iscrowd": 0, "file_name": name}
    return {**plain, "answer": answers, **box, **change}


def _jxu_row(ref_id: int, sentences: dict[int, str], split: str, **change: Any) -> dict[str, Any]:
    image = {"id": 77, "file_name": "COCO_train2014_000000000077.jpg", "width": 12, "height": 9}
    annotation = {"id": 5, "image_id": 77, "bbox": [1.0, 2.0, 4.0, 4.0], "segmentation": [POLYGON, POLYGON]}
    listed = [{"raw": s, "sent": s, "sent_id": n, "tokens": s.split()} for n, s in sentences.items()]
    return {
        "sent_ids": list(sentences),
        "file_name": "COCO_train2014_000000000077_5.jpg",
        "ann_id": 5,
        "ref_id": ref_id,
        "image_id": 77,
        "split": split,
        "sentences": listed,
        "category_id": 1,
        "raw_anns": json.dumps(annotation),
        "raw_image_info": json.dumps(image),
        "raw_sentences": json.dumps(listed),
        "image_path": "coco/train2014/COCO_train2014_000000000077.jpg",
        "bbox": [1.0, 2.0, 5.0, 6.0],
        "captions": list(sentences.values()),
        "global_image_id": "coco.77",
        "anns_id": "5",
        **change,
    }


def _save(rows: list[dict[str, Any]], features: Features, folder: Path, split: str, shards: int = 1) -> None:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    whole = Dataset.from_list(rows, features)
    for index in range(shards):
        path = folder / f"data/{split}-{index:05d}-of-{shards:05d}.parquet"
        whole.shard(shards, index, contiguous=True).to_parquet(path)


def _coco(root: Path) -> Path:
    path = root / COCO / "COCO_train2014_000000000077.jpg"
    path.parent.mkdir(parents=True)
    path.write_bytes(_jpeg(200))
    return path


@pytest.fixture
def lmms(tmp_path: Path) -> Path:
    rows = [_lmms_row(number, [f"{number} left", f"{number} right"][: 1 + number % 2]) for number in range(6)]
    _save(rows, LMMS, tmp_path / "RefCOCO", "val", shards=2)
    _save([_lmms_row(9, ["a"])], LMMS, tmp_path / "RefCOCO", "testA")
    (tmp_path / "RefCOCO/README.md").write_text(CARD)
    return tmp_path


def test_lmms_one_sample_an_expression_with_the_image_of_its_row(lmms: Path) -> None:
    samples = read_samples(lmms, "refcoco", "val")
    assert [s.expression for s in samples[:3]] == ["0 left", "1 left", "1 right"] and len(samples) == 9
    assert samples[2].sample_id == "refcoco-lmms-val-1-1" and len({s.sample_id for s in samples}) == 9
    first = samples[2]
    assert first.image_id == "77" and first.size == (12, 9) and first.box == (1.0, 2.0, 5.0, 6.0)
    assert first.mask.sum() == 16 and first.mask[2:6, 1:5].all()
    assert first.image.size == (12, 9) and first.image.getpixel((0, 0)) == (1, 1, 1)
    assert first.encoded_image == _jpeg(1)
    assert first.image_path.name == "COCO_train2014_000000000077_1.jpg"


def test_a_sample_with_its_image_in_a_row_is_pickled(lmms: Path) -> None:
    sample = read_samples(lmms, "refcoco", "val")[-1]
    again = pickle.loads(pickle.dumps(sample))
    assert again == sample and again.encoded_image == sample.encoded_image == _jpeg(5)


def test_a_draw_decodes_only_what_is_drawn(lmms: Path) -> None:
    bad = [_lmms_row(n, ["x"], image={"bytes": b"none", "path": "a"}) for n in range(40)]
    _save([*bad, _lmms_row(40, ["good"])], LMMS, lmms / "RefCOCOg", "val")
    samples = open_samples(lmms, "refcocog", "val")
    assert len(samples) == 41 and samples[40].expression == "good"
    with pytest.raises(LocheadsError, match=r"does not decode \(sample refcocog-lmms-val-\d+-0\)"):
        read_samples(lmms, "refcocog", "val", limit=3)


def test_jxu_gives_the_samples_of_the_refer_layout(tmp_path: Path) -> None:
    image = _coco(tmp_path)
    rows = [_jxu_row(0, {4: "lady", 5: "left lady"}, "testA"), _jxu_row(1, {6: "dog"}, "testA")]
    _save(rows, JXU, tmp_path / "refcocoplus", "test")
    lady, left, dog = read_samples(tmp_path, "refcoco+", "testA")
    assert [s.sample_id for s in (lady, left, dog)] == [f"refcoco+-unc-{n}" for n in (4, 5, 6)]
    assert left.expression == "left lady" and left.box == (1.0, 2.0, 5.0, 6.0) and left.size == (12, 9)
    assert left.segmentation == [POLYGON, POLYGON] and left.image_path == image and left.image_id == "77"
    assert left.image.size == (12, 9)


def test_cocos_images_may_lie_elsewhere(tmp_path: Path) -> None:
    _save([_jxu_row(0, {4: "lady"}, "train")], JXU, tmp_path / "jxu124/refcocog", "train")
    (lady,) = read_samples(tmp_path, "refcocog", "train", images=tmp_path / "elsewhere")
    assert lady.image_path.parent == tmp_path / "elsewhere" and lady.sample_id == "refcocog-umd-4"
    with pytest.raises(LocheadsError, match="no such image"):
        _ = lady.image


def test_of_two_copies_jxus_counts_where_cocos_images_are(lmms: Path) -> None:
    _save([_jxu_row(0, {4: "jxu's"}, "val")], JXU, lmms / "jxu124/refcoco", "validation")
    _save([_jxu_row(0, {3: "jxu's"}, "train")], JXU, lmms / "jxu124/refcoco", "train")
    assert read_samples(lmms, "refcoco", "val")[0].expression == "0 left"
    assert read_samples(lmms, "refcoco", "train")[0].expression == "jxu's"
    _coco(lmms)
    assert read_samples(lmms, "refcoco", "val")[0].expression == "jxu's"
    assert read_samples(lmms, "refcoco", "testA")[0].expression == "a"


def test_malformed_rows_are_named(tmp_path: Path) -> None:
    _coco(tmp_path)
    _save([_jxu_row(41, {4: "x"}, "train", raw_anns="{")], JXU, tmp_path / "refcoco", "train")
    with pytest.raises(LocheadsError, match="refcoco: reference 41 is malformed"):
        read_samples(tmp_path, "refcoco", "train")
    _save([_lmms_row(0, ["x"], bbox=[1.0])], LMMS, tmp_path / "RefCOCOg", "test")
    with pytest.raises(LocheadsError, match=r"RefCOCOg/data/test, row 0: malformed"):
        read_samples(tmp_path, "refcocog", "test")
    (tmp_path / "RefCOCOg/data/val-00000-of-00001.parquet").write_bytes(b"no parquet")
    with pytest.raises(LocheadsError, match="RefCOCOg: the split val cannot be read"):
        read_samples(tmp_path, "refcocog", "val")


def test_by_name_only_the_split_is_asked_of_the_hub(lmms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load, asked = datasets.load_dataset, []

    def from_the_copy(place: str, **arguments: Any) -> Dataset:
        asked.append((place, arguments["data_files"]))
        return load(str(lmms / place.split("/")[1]), **arguments)

    monkeypatch.setattr(datasets, "load_dataset", from_the_copy)
    assert len(read_samples("lmms-lab", "refcoco", "val")) == 9
    assert asked == [("lmms-lab/RefCOCO", {"val": "data/val-*.parquet"})]
    with pytest.raises(LocheadsError, match="lmms-lab/RefCOCO: no split 'train'; there are val, testA"):
        read_samples("lmms-lab", "refcoco", "train")


def test_jxu_by_name_needs_to_know_where_cocos_images_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _save([_jxu_row(0, {4: "lady"}, "train")], JXU, tmp_path / "refcoco", "train")
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda _, **more: load(str(tmp_path / "refcoco"), **more))
    with pytest.raises(LocheadsError, match="jxu124/refcoco: its rows hold no images; give .* as `images`"):
        read_samples("jxu124", "refcoco", "train")
    images = _coco(tmp_path).parent
    assert read_samples("jxu124", "refcoco", "train", images=images)[0].image.size == (12, 9)
