from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from locheads.data import read_samples
from locheads.data.narratives import segment_ids
from locheads.errors import LocheadsError

MAN, DOG, OTHER_DOG, SKY = 70_000, 300, 5, 16_777_215
NARRATIVE = {
    "image_id": "77",
    "caption": "In this picture a man walks two dogs. Sky is above.",
    "segments": [
        {"utterance": "in this picture", "segment_ids": [], "plural": False, "noun": False},
        {"utterance": "a man", "segment_ids": [str(MAN)], "plural": False, "noun": True},
        {"utterance": "walks", "segment_ids": [], "plural": False, "noun": False},
        {"utterance": "two dogs", "segment_ids": [str(DOG), OTHER_DOG], "plural": True, "noun": True},
        {"utterance": ".", "segment_ids": [], "plural": False, "noun": False},
        {"utterance": "Sky", "segment_ids": [str(SKY)], "plural": False, "noun": True},
        {"utterance": "is above.", "segment_ids": [], "plural": False, "noun": False},
    ],
}


def _write(base: Path, narratives: Any, masks: str, pictures: str) -> Path:
    """Narratives, COCO's panoptic json, its masks (a colour a segment) and the image, in published form."""
    ids = np.full((6, 8), SKY)
    ids[1:4, 0:2], ids[4, 3], ids[5, 7] = MAN, DOG, OTHER_DOG
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], -1).astype(np.uint8)
    segments = [{"id": one, "category_id": 1 if one != SKY else 187} for one in (MAN, DOG, OTHER_DOG, SKY)]
    panoptic = {
        "images": [{"id": 77, "file_name": "000000000077.jpg", "width": 8, "height": 6}],
        "annotations": [{"image_id": 77, "file_name": "000000000077.png", "segments_info": segments}],
        "categories": [{"id": 1, "isthing": 1}, {"id": 187, "isthing": 0}],
    }
    for folder in ("annotations", masks, pictures):
        (base / folder).mkdir(parents=True, exist_ok=True)
    (base / "annotations/png_coco_val2017.json").write_text(json.dumps(narratives))
    (base / "annotations/panoptic_val2017.json").write_text(json.dumps(panoptic))
    Image.fromarray(colours).save(base / masks / "000000000077.png")
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(base / pictures / "000000000077.jpg")
    return base


@pytest.fixture
def root(tmp_path: Path) -> Path:
    base = tmp_path / "panoptic_narrative_grounding"
    _write(base, [NARRATIVE], "annotations/panoptic_segmentation/val2017", "images/val2017")
    segment_ids.cache_clear()
    return tmp_path


def test_one_sample_a_phrase_in_its_caption(root: Path) -> None:
    man, dogs, sky = read_samples(root, "png", "val")
    assert [s.sample_id for s in (man, dogs, sky)] == ["png-val-0-1", "png-val-0-3", "png-val-0-5"]
    assert man.expression == "In this picture a man"
    assert dogs.expression == "In this picture a man walks two dogs"
    assert sky.expression == "In this picture a man walks two dogs. Sky"
    assert [s.phrase for s in (man, dogs, sky)] == ["a man", "two dogs", "Sky"]
    assert [s.is_plural for s in (man, dogs, sky)] == [False, True, False]
    assert [s.is_thing for s in (man, dogs, sky)] == [True, True, False]
    assert man.size == man.image.size == (8, 6) and man.image_id == "77"


def test_the_mask_is_the_union_of_the_segments(root: Path) -> None:
    man, dogs, sky = read_samples(root, "png", "val")
    assert man.mask.sum() == 6 and man.mask[1:4, 0:2].all() and man.box == (0.0, 1.0, 2.0, 4.0)
    assert np.argwhere(dogs.mask).tolist() == [[4, 3], [5, 7]] and dogs.box == (3.0, 4.0, 8.0, 6.0)
    assert sky.mask.sum() == 48 - 8


def test_cocos_own_folders_are_read_too(tmp_path: Path, root: Path) -> None:
    _write(tmp_path / "other/coco", [NARRATIVE], "annotations/panoptic_val2017", "val2017")
    here, there = (read_samples(one, "png", "val") for one in (root, tmp_path / "other"))
    assert [(s.sample_id, s.box) for s in here] == [(s.sample_id, s.box) for s in there]
    assert there[0].image_path == tmp_path / "other/coco/val2017/000000000077.jpg"


def test_a_caption_without_the_utterance_is_made_of_utterances(root: Path) -> None:
    base = root / "panoptic_narrative_grounding"
    (base / "annotations/png_coco_val2017.json").write_text(json.dumps([{**NARRATIVE, "caption": "A dog."}]))
    assert read_samples(root, "png", "val")[0].expression == "in this picture a man"


@pytest.mark.parametrize("name", ["png_coco_val2017.json", "panoptic_val2017.json"])
@pytest.mark.parametrize("content", [None, "{", '[{"caption": 1}]'])
def test_missing_and_damaged_files_are_named(root: Path, name: str, content: str | None) -> None:
    path = root / "panoptic_narrative_grounding/annotations" / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(LocheadsError, match=name):
        read_samples(root, "png", "val")


def test_wrong_split_lists_those_there_are(root: Path) -> None:
    with pytest.raises(LocheadsError, match="no split 'test' of PNG; there are train, val"):
        read_samples(root, "png", "test")


def test_unknown_segment_missing_masks_and_empty_mask_name_the_sample(root: Path) -> None:
    base = root / "panoptic_narrative_grounding/annotations"
    stray = {**NARRATIVE["segments"][1], "segment_ids": ["4"]}
    narratives = base / "png_coco_val2017.json"
    narratives.write_text(json.dumps([{**NARRATIVE, "segments": [stray]}]))
    with pytest.raises(LocheadsError, match=r"panoptic_val2017\.json, sample png-val-0-0: .*4"):
        read_samples(root, "png", "val")
    narratives.write_text(json.dumps([NARRATIVE]))
    masks = base / "panoptic_segmentation/val2017/000000000077.png"
    Image.fromarray(np.full((6, 8, 3), 255, np.uint8)).save(masks)
    with pytest.raises(LocheadsError, match=r"0077\.jpg, sample png-val-0-1: the mask is empty"):
        read_samples(root, "png", "val")
    segment_ids.cache_clear()
    masks.unlink()
    with pytest.raises(LocheadsError, match=r"0077\.png: the mask cannot be read"):
        read_samples(root, "png", "val")


def test_a_draw_reads_only_the_masks_it_needs(root: Path) -> None:
    base = root / "panoptic_narrative_grounding"
    (base / "annotations/png_coco_val2017.json").write_text(json.dumps([NARRATIVE] * 50))
    segment_ids.cache_clear()
    (base / "annotations/panoptic_segmentation/val2017/000000000077.png").rename(base / "away.png")
    from locheads.data import open_samples

    assert len(open_samples(root, "png", "val")) == 150
    assert segment_ids.cache_info().misses == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"segment_ids": str(MAN)}, "segment_ids is '70000' and not a list"),
        ({"segment_ids": [None]}, "a segment id is None"),
        ({"segment_ids": [1.5]}, "a segment id is 1.5"),
        ({"plural": "false"}, "plural is 'false' and not true or false"),
        ({"utterance": None}, "an utterance is None and not a text"),
    ],
)
def test_a_narrative_that_would_be_misread_is_refused(root: Path, change: dict, message: str) -> None:
    path = root / "panoptic_narrative_grounding/annotations/png_coco_val2017.json"
    path.write_text(json.dumps([{**NARRATIVE, "segments": [{**NARRATIVE["segments"][1], **change}]}]))
    with pytest.raises(LocheadsError, match=rf"png_coco_val2017\.json: not PNG's narratives \({message}"):
        read_samples(root, "png", "val")


@pytest.mark.parametrize("place", ["images", "annotations"])
def test_a_file_name_that_leads_out_of_the_folder_is_refused(root: Path, place: str) -> None:
    path = root / "panoptic_narrative_grounding/annotations/panoptic_val2017.json"
    content = json.loads(path.read_text())
    content[place][0]["file_name"] = "../000000000077.png"
    path.write_text(json.dumps(content))
    with pytest.raises(LocheadsError, match="sample png-val-0-1: .*leads out of"):
        read_samples(root, "png", "val")


@pytest.mark.parametrize("mode", ["L", "P", "RGBA"])
def test_masks_that_are_not_rgb_are_refused(root: Path, mode: str) -> None:
    masks = root / "panoptic_narrative_grounding/annotations/panoptic_segmentation/val2017/000000000077.png"
    Image.open(masks).convert(mode).save(masks)
    with pytest.raises(LocheadsError, match=rf"0077\.png: masks of Pillow's mode '{mode}'"):
        read_samples(root, "png", "val")
