"""The recipe from nothing to the shipped weights: `locheads train specimen`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import locheads._torchvision  # noqa: F401

import torch
from transformers import CLIPVisionModel, LlavaForConditionalGeneration

from locheads.errors import LocheadsError
from locheads.specimen.answers import train_answers
from locheads.specimen.questions import train_questions
from locheads.specimen.segmenter import SEGMENTER, SegmenterConfig, save_segmenter, train_segmenter
from locheads.specimen.tags import VISION, train_tags
from locheads.specimen.training import ScenePool, make_pool
from locheads.specimen.vocabulary import make_processor
from locheads.specimen.weights import WEIGHTS, seal

WORK = Path(__file__).parents[2] / "data" / "training"
"""Scenes, features and checkpoints of the training; not committed."""
LVLM = WEIGHTS / "lvlm"
"""The shipped model, in the layout of the hub."""
SCENES = 28_000
STEPS = {"tags": 1_400, "questions": 3_600, "answers": 2_600, "segmenter": 1_800}
"""Parts in order, and their optimiser steps."""


def train_part(part: str) -> None:
    """Train one part, or resume it; parts build on those before them.

    Args:
        part: A key of `STEPS`.

    Raises:
        LocheadsError: The part before it has not been trained.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    makers: dict[str, Callable[[str], None]] = {
        "tags": _tags,
        "questions": _questions,
        "answers": _answers,
        "segmenter": _segmenter,
    }
    makers[part](device)


def _pool() -> ScenePool:
    return make_pool(WORK, SCENES, VISION.image_size, seed=0)


def _tags(device: str) -> None:
    tower, _ = train_tags(_pool(), STEPS["tags"], WORK, device=device)
    torch.save(tower.state_dict(), WORK / "tags.pt")


def _questions(device: str) -> None:
    tower = _tower("tags")
    train_questions(_pool(), tower, STEPS["questions"], WORK, device=device)
    torch.save(tower.state_dict(), WORK / "questions.pt")


def _answers(device: str) -> None:
    model, curve = train_answers(_pool(), _tower("questions"), STEPS["answers"], WORK, device=device)
    save_lvlm(model, curve)


def _segmenter(device: str) -> None:
    sam, curve = train_segmenter(STEPS["segmenter"], WORK / "segmenter.ckpt", device=device)
    save_segmenter(sam, SegmenterConfig(), SEGMENTER)
    _write_curve(SEGMENTER, curve)


def _tower(part: str) -> CLIPVisionModel:
    """The vision tower as a part left it."""
    path = WORK / f"{part}.pt"
    if not path.exists():
        raise LocheadsError(f"{path}: not there; run `locheads train specimen --part {part}` first")
    tower = CLIPVisionModel(VISION)
    tower.load_state_dict(torch.load(path, weights_only=True))
    return tower


def save_lvlm(
    model: LlavaForConditionalGeneration, curve: list[dict[str, float]], folder: Path = LVLM
) -> None:
    """Write model, tokenizer and processor in the hub's layout, the training curve and the hash."""
    model.cpu().eval().save_pretrained(folder)
    make_processor(VISION.image_size, VISION.patch_size).save_pretrained(folder)
    _write_curve(folder, curve)
    seal(folder)


def _write_curve(folder: Path, curve: list[dict[str, float]]) -> None:
    (folder / "training_curve.json").write_text(json.dumps(curve) + "\n", encoding="utf-8")
