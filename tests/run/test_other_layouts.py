"""All notebooks that measure run with a model in LLaVA's own layout, on copies of jxu124's data sets.

The whole study takes minutes: in a file of its own, another worker than that of test_other_models.py runs it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny_base
import tiny_models
from datasets import Dataset
from llava_layout import make, write
from whole_study import run_to_its_end, write_refer

from locheads.data.refcoco import IMAGES, SPLIT_BY, load_plain_pickle

pytestmark = pytest.mark.slow


def write_parquet(refer: Path) -> Path:
    """Write the data sets of `refer` as copies of jxu124's repositories, beside COCO's images."""
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


def test_the_whole_study_with_llava_on_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiny_base.TEXT, "num_hidden_layers", 8)
    tokenizer = tiny_models.make_tokenizer("<image>", "<im_start>", "<im_end>")
    model = write(tmp_path / "llava", make("mlp2x_gelu", tokenizer), "clip", "mlp2x_gelu")
    data = write_parquet(write_refer(tmp_path / "refer"))
    left_out = {"20_several_objects"}  # copies list no objects
    run_to_its_end(tmp_path, model, data, "plain", left_out, recorded=False)
