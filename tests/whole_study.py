"""Runs every notebook on a tiny model, by parameters alone, and looks at what was saved.

The models know nothing: what they find is of no interest, that the study reaches its end is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from locheads.data.scenes.dataset import write_dataset
from locheads.run import outputs, runner

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
RECORDED = {"16_causes", "17_emergence", "18_training_data"}
"""These show records of the specimen and of decoders like it, whatever the model: one study has them."""


def write_refer(folder: Path) -> Path:
    """Write small data sets in the `refer` layout."""
    return write_dataset(folder, seed=1, sizes=SIZES)


def run_to_its_end(
    folder: Path, model: Path, data: Path, prompt: str, left_out: set[str], recorded: bool
) -> None:
    """Run the study in a copy of the tree; assert that all notebooks but those left out saved results."""
    for part in ("locheads", "notebooks"):
        shutil.copytree(outputs.ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    given = SMALL | {"model": str(model), "data": str(data), "prompt": prompt}
    (folder / "preset.yaml").write_text(json.dumps(given))
    (folder / "data").symlink_to(outputs.ROOT / "data")  # the specimen's scenes, which some notebooks show
    names = {path.stem for path in runner.notebooks()} - (set() if recorded else RECORDED)
    command = [sys.executable, "-m", "locheads.cli", "run", *sorted(names)]
    done = subprocess.run(
        [*command, "--preset", "preset.yaml", "--world", "tiny"],
        capture_output=True,
        text=True,
        timeout=1800,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-1500:]
    assert f"{len(names)} notebooks in" in done.stdout
    assert {name for name in names if f"{name} is left out: " in done.stdout} == left_out
    results = (folder / "results/tiny").glob("[0-9]*.json")
    saved = {path.stem: json.loads(path.read_text()) for path in results}
    assert saved.keys() == names - left_out - RECORDED
    assert saved["01_head_profiling"]["samples"] == 16 and saved["03_grounding"]["held_out"] == 4
    assert not (folder / "results" / "specimen").exists()
