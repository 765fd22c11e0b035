"""Every notebook runs with other models than the specimen, on data in either layout, by parameters alone.

The models are tiny and know nothing: what they find is of no interest, that the study reaches its end is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_base
import tiny_models
import tiny_qwen
from datasets import Dataset
from llava_layout import make, write

from locheads.data.refcoco import IMAGES, SPLIT_BY, load_plain_pickle
from locheads.data.scenes.dataset import write_dataset
from locheads.run import outputs, runner

pytestmark = pytest.mark.slow

SPLITS = {"train": 16, "val": 14, "testA": 5, "testB": 5}
SIZES = dict.fromkeys(("refcoco", "refcoco+"), SPLITS) | {
    "refcocog": {"train": 5, "val": 8, "test": 5},
    "reasonseg": {"train": 3, "val": 1, "test": 1},
    "png": {"val": 2},
}
SMALL = {
    "samples": 16,
    "held_out": 4,
    "most": 3,
    "sizes": [4, 8],
    "draws": 3,
    "steps": 5,
    "random_draws": 1,
    "captured": 4,
}


@pytest.fixture(scope="module")
def refer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data sets in the `refer` layout."""
    return write_dataset(tmp_path_factory.mktemp("data") / "refer", seed=1, sizes=SIZES)


@pytest.fixture(scope="module")
def parquet(refer: Path) -> Path:
    """The same as copies of jxu124's repositories, beside COCO's images."""
    root = refer.with_name("parquet")
    for part in (IMAGES, "ReasonSeg", "panoptic_narrative_grounding"):
        shutil.copytree(refer / part, root / part)
    for name, split_by in SPLIT_BY.items():
        instances = json.loads((refer / name / "instances.json").read_text())
        annotations = {one["id"]: one for one in instances["annotations"]}
        images = {one["id"]: one for one in instances["images"]}
        references = load_plain_pickle(refer / name / f"refs({split_by}).p")
        folder = root / "jxu124" / name.replace("+", "plus") / "data"
        folder.mkdir(parents=True)
        for split in sorted({ref["split"] for ref in references}):
            rows = [
                _row(ref, annotations[ref["ann_id"]], images[ref["image_id"]])
                for ref in references
                if ref["split"] == split
            ]
            published = {"val": "validation", "testA": "test"}.get(split, split)
            Dataset.from_list(rows).to_parquet(folder / f"{published}-00000-of-00001.parquet")
    return root


def _row(ref: dict, annotation: dict, image: dict) -> dict:
    return {
        "ref_id": ref["ref_id"],
        "ann_id": ref["ann_id"],
        "image_id": ref["image_id"],
        "split": ref["split"],
        "sent_ids": [sentence["sent_id"] for sentence in ref["sentences"]],
        "sentences": [
            {"raw": s["sent"], "sent": s["sent"], "sent_id": s["sent_id"], "tokens": s["sent"].split()}
            for s in ref["sentences"]
        ],
        "raw_anns": json.dumps(annotation),
        "raw_image_info": json.dumps(image),
        "image_path": f"coco/train2014/{image['file_name']}",
    }


def qwen(folder: Path) -> Path:
    """A Qwen2.5-VL of eight layers."""
    return tiny_models.save("qwen2_5_vl", folder / "qwen")


def llava(folder: Path) -> Path:
    """A LLaVA of eight layers in the layout of LLaVA's own repository."""
    tokenizer = tiny_models.make_tokenizer("<image>", "<im_start>", "<im_end>")
    return write(folder / "llava", make("mlp2x_gelu", tokenizer), "clip", "mlp2x_gelu")


RECORDED = {"16_causes", "17_emergence", "18_training_data"}
"""These show records of the specimen and of decoders like it; they save nothing of other models."""


@pytest.mark.parametrize(
    ("model", "data", "changes", "left_out"),
    [
        (qwen, "refer", {"prompt": "chat"}, set()),
        (llava, "parquet", {"prompt": "plain"}, {"20_several_objects"}),  # copies list no objects
    ],
    ids=["Qwen2.5-VL, refer layout", "LLaVA's own layout, parquet"],
)
def test_the_whole_study(
    model: Callable[[Path], Path],
    data: str,
    changes: dict[str, object],
    left_out: set[str],
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(tiny_base.TEXT, "num_hidden_layers", 8)
    monkeypatch.setattr(tiny_qwen, "SLIDING", {})
    for part in ("locheads", "notebooks"):
        shutil.copytree(outputs.ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    given = SMALL | {"model": str(model(tmp_path)), "data": str(request.getfixturevalue(data))} | changes
    (tmp_path / "preset.yaml").write_text(json.dumps(given))
    names = {path.stem for path in runner.notebooks()}
    command = [sys.executable, "-m", "locheads.cli", "run", "--preset", "preset.yaml", "--world", "tiny"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=1800,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-1500:]
    assert f"{len(names)} notebooks in" in done.stdout
    assert {name for name in names if f"{name} is left out: " in done.stdout} == left_out
    results = (tmp_path / "results/tiny").glob("[0-9]*.json")
    saved = {path.stem: json.loads(path.read_text()) for path in results}
    assert saved.keys() == names - left_out - RECORDED
    assert saved["01_head_profiling"]["samples"] == 16 and saved["03_grounding"]["held_out"] == 4
    assert not (tmp_path / "results" / "specimen").exists()
