from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tqdm import tqdm

from locheads.data import read_samples
from locheads.data.reasonseg import draw_target
from locheads.data.refcoco import load_plain_pickle
from locheads.data.samples import Sample, decode_mask
from locheads.data.scenes import dataset
from locheads.data.scenes.dataset import MARKER, SIZES, ensure_dataset, write_dataset
from locheads.data.scenes.expressions import _WAYS
from locheads.data.scenes.outlines import coco_polygons, labelme_polygons
from locheads.data.scenes.scenes import ROUND, SHAPES, draw_scene
from locheads.errors import LocheadsError

SMALL = {
    "refcoco": {"train": 6, "val": 3, "testA": 3, "testB": 2},
    "refcoco+": {"train": 2, "val": 3, "testA": 2, "testB": 2},
    "refcocog": {"train": 2, "val": 3, "test": 2},
    "reasonseg": {"train": 2, "val": 3, "test": 2},
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data") / "specimen", 3, SMALL)


def _tree(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def _all(root: Path) -> dict[tuple[str, str], list[Sample]]:
    return {
        (name, split): read_samples(root, name, split) for name, splits in SMALL.items() for split in splits
    }


def test_the_readers_read_every_split(root: Path) -> None:
    for (name, split), samples in _all(root).items():
        assert len({sample.image_id for sample in samples}) == SMALL[name][split]
        most = 2 if name == "reasonseg" else 4
        per_image = [sum(s.image_id == image for s in samples) for image in {s.image_id for s in samples}]
        assert min(per_image) >= 1 and max(per_image) <= most
        for sample in samples:
            assert sample.image.size == sample.size == (256, 256)


def test_samples_are_the_scenes_they_were_drawn_from(root: Path) -> None:
    """Mask, box and picture of the files are those of the scene of the same seed, split and index."""
    for sample in read_samples(root, "refcoco", "val"):
        scene = draw_scene(np.random.default_rng([3, 1, int(sample.image_id) - 200_000]))
        assert sample.mask is not None and sample.box is not None
        ious = (scene.masks & sample.mask).sum((1, 2)) / (scene.masks | sample.mask).sum((1, 2))
        best = int(ious.argmax())
        assert ious[best] > 0.98 and sample.box == tuple(map(float, scene.boxes[best]))
        assert sample.expression in {f"{expression.text}." for _, expression in _WAYS["refcoco"](scene, best)}
        difference = np.abs(np.asarray(sample.image, float) - scene.image)
        assert difference.mean() < 4


def test_splits_share_no_image(root: Path) -> None:
    digests: dict[str, set[str]] = {}
    for (name, split), samples in _all(root).items():
        key = f"reasonseg {split}" if name == "reasonseg" else split
        pictures = {hashlib.sha256(sample.image_path.read_bytes()).hexdigest() for sample in samples}
        digests[key] = digests.get(key, set()) | pictures
    assert len(set().union(*digests.values())) == sum(map(len, digests.values()))


def test_test_a_is_round_and_test_b_is_not(root: Path) -> None:
    for name in ("refcoco", "refcoco+"):
        content = json.loads((root / name / "instances.json").read_text())
        shape_of = {category["id"]: category["name"] for category in content["categories"]}
        references = load_plain_pickle(root / name / "refs(unc).p")
        for split, is_round in (("testA", True), ("testB", False)):
            images = {ref["image_id"] for ref in references if ref["split"] == split}
            shapes = {shape_of[a["category_id"]] for a in content["annotations"] if a["image_id"] in images}
            assert shapes and {shape in ROUND for shape in shapes} == {is_round}


def test_layout_of_refer(root: Path) -> None:
    content = json.loads((root / "refcocog/instances.json").read_text())
    annotations = {entry["id"]: entry for entry in content["annotations"]}
    images = {entry["id"]: entry for entry in content["images"]}
    references = load_plain_pickle(root / "refcocog/refs(umd).p")
    assert len(annotations) == len(content["annotations"])
    assert [ref["ref_id"] for ref in references] == list(range(len(references)))
    sentences = [sentence for ref in references for sentence in ref["sentences"]]
    assert [sentence["sent_id"] for sentence in sentences] == list(range(len(sentences)))
    for ref in references:
        annotation = annotations[ref["ann_id"]]
        assert annotation["image_id"] == ref["image_id"] in images
        assert annotation["category_id"] == ref["category_id"]
        assert ref["sent_ids"] == [sentence["sent_id"] for sentence in ref["sentences"]]
        assert ref["file_name"] == f"COCO_train2014_{ref['image_id']:012d}_{ref['ann_id']}.jpg"
    for image in images.values():
        assert image["file_name"] == f"COCO_train2014_{image['id']:012d}.jpg"
        assert (root / "images/mscoco/images/train2014" / image["file_name"]).is_file()


def test_both_kinds_of_segmentation_occur(root: Path) -> None:
    content = json.loads((root / "refcoco/instances.json").read_text())
    shape_of = {category["id"]: category["name"] for category in content["categories"]}
    kinds = {(shape_of[a["category_id"]] == "ring", type(a["segmentation"])) for a in content["annotations"]}
    assert kinds == {(True, dict), (False, list)}


def test_polygons_give_the_masks_back() -> None:
    seen = set()
    for index in range(25):
        scene = draw_scene(np.random.default_rng(index))
        for thing, mask in zip(scene.things, scene.masks, strict=True):
            shapes = [{"label": "target", "points": points} for points in labelme_polygons(mask)]
            drawn, _ = draw_target(shapes, (256, 256))
            assert (drawn & mask).sum() > 0.95 * (drawn | mask).sum(), thing
            if thing.shape != "ring":
                drawn = decode_mask(coco_polygons(mask), (256, 256))
                assert (drawn & mask).sum() > 0.95 * (drawn | mask).sum(), thing
            seen.add(thing.shape)
    assert seen == set(SHAPES)


def test_outlines_of_parts_holes_and_single_pixels() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2:9, 0:9] = True
    mask[4:6, 3:5] = False
    mask[12:20, 20:30] = True
    mask[15, 5] = True
    polygons = labelme_polygons(mask)
    drawn, _ = draw_target([{"label": "target", "points": points} for points in polygons], (30, 20))
    assert len(polygons) == 3 and np.array_equal(drawn, mask)
    filled = mask.copy()
    filled[4:6, 3:5] = True
    assert (decode_mask(coco_polygons(mask), (30, 20)) ^ filled).sum() <= 8


def test_the_same_seed_gives_the_same_bytes(root: Path, tmp_path: Path) -> None:
    """In another process with another hash seed, and with the sizes in another order."""
    backwards = {name: dict(reversed(splits.items())) for name, splits in reversed(SMALL.items())}
    code = "import sys, json; from locheads.data.scenes.dataset import write_dataset as w; "
    code += "w(sys.argv[1], 3, json.loads(sys.argv[2]))"
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    command = [sys.executable, "-c", code, str(tmp_path / "again"), json.dumps(backwards)]
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[3])
    assert _tree(tmp_path / "again") == _tree(root)


def test_more_images_leave_the_first_ones_alone(root: Path, tmp_path: Path) -> None:
    larger = {**SMALL, "refcoco": {**SMALL["refcoco"], "val": 5}}
    other = write_dataset(tmp_path / "larger", 3, larger)
    before, after = (
        [(s.image_id, s.expression, s.box) for s in read_samples(folder, "refcoco", "val")]
        for folder in (root, other)
    )
    assert after[: len(before)] == before and len(after) > len(before)


def test_another_seed_gives_other_images(root: Path, tmp_path: Path) -> None:
    other = write_dataset(tmp_path / "other", 4, SMALL)
    pictures = [{d for p, d in _tree(folder).items() if p.endswith(".jpg")} for folder in (root, other)]
    assert not pictures[0] & pictures[1]


def test_ensure_writes_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = {"refcoco": {"val": 1}, "refcoco+": {}, "refcocog": {}, "reasonseg": {}}
    root = ensure_dataset(tmp_path / "deep/specimen", 0, tiny)
    stamp = (root / MARKER).stat().st_ino
    assert ensure_dataset(root, 0, tiny) == root and (root / MARKER).stat().st_ino == stamp
    two = {**tiny, "refcoco": {"val": 2}}
    ensure_dataset(root, 0, two)
    assert len({s.image_id for s in read_samples(root, "refcoco", "val")}) == 2
    monkeypatch.setattr(dataset, "_recipe", lambda seed, sizes: "a newer recipe")
    ensure_dataset(root, 0, two)
    assert (root / MARKER).read_text() == "a newer recipe"
    assert [path.name for path in root.parent.iterdir()] == ["specimen"]


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(LocheadsError, match="holds something that is not the specimen"):
        ensure_dataset(tmp_path, 0, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_full_disk_leaves_the_old_data(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    tiny = {"refcoco": {"val": 1}, "refcoco+": {}, "refcocog": {}, "reasonseg": {}}
    folder = write_dataset(tmp_path / "specimen", 0, tiny)
    before = _tree(folder)
    monkeypatch.setattr(dataset, "_write_reasonseg", full)
    with pytest.raises(LocheadsError, match=r"specimen: cannot be written \(No space left on device\)"):
        write_dataset(folder, 1, tiny)
    assert _tree(folder) == before and [path.name for path in tmp_path.iterdir()] == ["specimen"]


def test_the_default_sizes_allow_a_thousand_expressions() -> None:
    assert SIZES["refcoco"]["train"] >= 600


def test_the_bar_counts_the_pictures_that_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bars = []

    def kept(total: int, what: str) -> tqdm:
        bars.append(tqdm(total=total, desc=what, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr(dataset, "progress", kept)
    sizes = {
        "refcoco": {"train": 3, "val": 2}, "refcoco+": {"train": 1}, "refcocog": {"test": 2},
        "reasonseg": {"train": 2}, "png": {"val": 1},
    }  # fmt: skip
    write_dataset(tmp_path / "few", sizes=sizes)
    assert [(bar.n, bar.total) for bar in bars] == [(10, 10)]
