"""The recipe from nothing to the shipped weights: `locheads train specimen`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel, LlavaForConditionalGeneration

from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.model.loading import load_lvlm
from locheads.model.shipped import SPECIMENS, seal
from locheads.model.small_sam import SEGMENTER, SegmenterConfig, save_segmenter
from locheads.specimen.answers import (
    deepened,
    make_model,
    train_answers,
    train_decoder,
    train_together,
)
from locheads.specimen.card import answers_table, curve_table, held_out_answers, ious_table, write_card
from locheads.specimen.questions import train_questions
from locheads.specimen.segmenter import held_out_ious, train_segmenter
from locheads.specimen.sink import dig, register, widened
from locheads.specimen.tags import train_tags
from locheads.specimen.tower import COARSE, VISION, enlarged
from locheads.specimen.training import ScenePool, make_pool
from locheads.specimen.turns import CROWDED, DEEPER, FIRST, LONGER, NARROW, RESTING, WHOLE, Course
from locheads.specimen.vocabulary import make_processor, make_tokenizer

WORK = Path(__file__).parents[2] / "data" / "training"
"""Scenes, features and checkpoints of the training; not committed."""
SCENES = 28_000
LATER_SCENES, WITH_FEATURES = 6_000, 1_500
"""Scenes for the parts under a sink, and how many of them have stored features of the frozen tower."""
THIRD_SCENES = 12_000
"""Scenes of the third specimen's part without a sink."""
NARROW_SHAPE = {"width": 96, "heads": 6}
"""The decoder of the second and of the third specimen at the start."""
WHOLE_BATCH = 5
"""Pictures in a batch of whole pictures."""
STEPS = {
    "tags": 1_400,
    "questions": 3_600,
    "finer": 1_000,
    "answers": 4_400,
    "together": 800,
    "crowded": 5_000,
    "deeper": 900,
    "longer": 1_400,
    "resting": 500,
    "whole": 200,
    "register": 260,
    "narrow": 4_400,
    "narrow-resting": 240,
    "narrow-whole": 70,
    "narrow-register": 160,
    "third": 4_400,
    "third-resting": 240,
    "third-whole": 70,
    "third-register": 160,
    "segmenter": 1_800,
}
"""Parts in order, and their optimiser steps."""
TOWER_PARTS = ("tags", "questions", "finer")
DECODER_PARTS = ("answers", "together", "crowded", "deeper", "longer", "resting", "whole", "register")
NARROW_PARTS = ("narrow", "narrow-resting", "narrow-whole", "narrow-register")
THIRD_PARTS = ("third", "third-resting", "third-whole", "third-register")
"""Parts that train the tower alone, and the decoders of the three specimens."""


@dataclass(frozen=True)
class Ending:
    """How a decoder comes by its sink and is shipped, in the last three of its parts.

    Attributes:
        specimen: Name of the shipped model.
        parts: All parts that train the decoder; the last three build on the fourth last.
        heads: Heads a layer in the end.
        seed: Of the first of the three; the others take the next two.
        scenes: Scenes that the parts before saw.
        features: File of the frozen tower's features.
    """

    specimen: str
    parts: tuple[str, ...]
    heads: int
    seed: int
    scenes: int
    features: str


ENDINGS = (
    Ending("specimen", DECODER_PARTS, 16, 101, SCENES, "later.npy"),
    Ending("specimen-narrow", NARROW_PARTS, 14, 201, SCENES, "later.npy"),
    Ending("specimen-third", THIRD_PARTS, 14, 301, THIRD_SCENES, "third-later.npy"),
)


def train_part(part: str) -> None:
    """Trains one part, or resumes it; parts build on those before them.

    Args:
        part: A key of `STEPS`.

    Raises:
        LocheadsError: The part before it has not been trained.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    makers: dict[str, Callable[[str], None]] = {
        "tags": _tags,
        "questions": _questions,
        "finer": _finer,
        "answers": _answers,
        "together": _together,
        "crowded": _crowded,
        "deeper": _deeper,
        "longer": _longer,
        "narrow": _narrow,
        "third": _third,
        "segmenter": _segmenter,
    }
    for ending in ENDINGS:
        parts = zip(ending.parts[-3:], (_resting, _whole, _register), strict=True)
        makers |= {name: partial(train, ending) for name, train in parts}
    makers[part](device)


def _pool(vision: CLIPVisionConfig = VISION) -> ScenePool:
    return make_pool(WORK, SCENES, vision.image_size, seed=0)


def _tags(device: str) -> None:
    tower, _ = train_tags(_pool(COARSE), STEPS["tags"], WORK, device=device)
    torch.save(tower.state_dict(), WORK / "tags.pt")


def _questions(device: str) -> None:
    tower = _tower("tags", COARSE)
    train_questions(_pool(COARSE), tower, STEPS["questions"], WORK / "questions.ckpt", device=device)
    torch.save(tower.state_dict(), WORK / "questions.pt")


def _finer(device: str) -> None:
    tower = enlarged(_tower("questions", COARSE))
    train_questions(_pool(), tower, STEPS["finer"], WORK / "finer.ckpt", rate=1e-3, seed=1, device=device)
    torch.save(tower.state_dict(), WORK / "finer.pt")


def _answers(device: str) -> None:
    model, curve = train_answers(_pool(), _tower("finer"), STEPS["answers"], WORK, device=device)
    _keep(model, curve, "answers")


def _together(device: str) -> None:
    model = _model("answers")
    course, checkpoint = replace(FIRST, rate=4e-4), WORK / "together.ckpt"
    curve = train_together(_pool(), model, course, STEPS["together"], checkpoint, 2, device)
    _keep(model, curve, "together")


def _crowded(device: str) -> None:
    _decoder("crowded", _model("together"), CROWDED, 3, device)


def _deeper(device: str) -> None:
    torch.manual_seed(4)
    _decoder("deeper", deepened(_model("crowded")), DEEPER, 5, device)


def _longer(device: str) -> None:
    model = _model("deeper")
    _decoder("longer", model, LONGER, 6, device)


def _resting(ending: Ending, device: str) -> None:
    """Adds heads, a growing sink and other jobs; trains on some patches per picture, the tower frozen."""
    torch.manual_seed(ending.seed)
    before, part, *_ = ending.parts[-4:]
    words = make_tokenizer()
    model = widened(_model(before), words, words, ending.heads)
    pool = _later_pool()
    some = ScenePool(pool.images[:WITH_FEATURES], pool.things[:WITH_FEATURES])
    dig(model)
    checkpoint, features, steps = WORK / f"{part}.ckpt", WORK / ending.features, STEPS[part]
    _keep(model, train_decoder(some, model, RESTING, steps, checkpoint, features, ending.seed, device), part)


def _whole(ending: Ending, device: str) -> None:
    """Trains as `_resting` on whole pictures; the tower learns as well."""
    before, part, _ = ending.parts[-3:]
    _see_all(part, _model(before), ending.seed + 1, device)


def _register(ending: Ending, device: str) -> None:
    """Trains as `_whole` with one of the tower's patches as a register, then ships the model."""
    before, part = ending.parts[-2:]
    model = _model(before)
    register(model)
    _see_all(part, model, ending.seed + 2, device, registered=True)
    _ship(ending, model)


def _see_all(
    part: str, model: LlavaForConditionalGeneration, seed: int, device: str, registered: bool = False
) -> None:
    checkpoint, steps = WORK / f"{part}.ckpt", STEPS[part]
    curve = train_together(
        _later_pool(), model, WHOLE, steps, checkpoint, seed, device, WHOLE_BATCH, registered
    )
    _keep(model, curve, part)


def _later_pool() -> ScenePool:
    return make_pool(WORK, LATER_SCENES, VISION.image_size, seed=3)


def _narrow(device: str) -> None:
    """A second decoder on the tower, as LLaVA-1.5 comes in two sizes: narrower, fewer heads, another seed."""
    torch.manual_seed(7)
    model = make_model(make_tokenizer(), **NARROW_SHAPE)
    model.model.vision_tower.load_state_dict(_model("together").model.vision_tower.state_dict())
    _decoder("narrow", model, NARROW, 8, device)


def _third(device: str) -> None:
    """A third decoder, as narrow as the second and from another seed, on the tower as it is shipped."""
    torch.manual_seed(9)
    model = make_model(make_tokenizer(), **NARROW_SHAPE)
    shipped = LlavaForConditionalGeneration.from_pretrained(SPECIMENS["specimen"], dtype=torch.float32)
    model.model.vision_tower.load_state_dict(shipped.model.vision_tower.state_dict())
    pool = make_pool(WORK, THIRD_SCENES, VISION.image_size, seed=5)
    checkpoint, features = WORK / "third.ckpt", WORK / "third.npy"
    _keep(
        model, train_decoder(pool, model, NARROW, STEPS["third"], checkpoint, features, 10, device), "third"
    )


def _ship(ending: Ending, model: LlavaForConditionalGeneration) -> None:
    """Writes a model that the package ships, in half precision and the hub's layout, with its card."""
    folder = SPECIMENS[ending.specimen]
    model.half().save_pretrained(folder)
    make_processor(VISION.image_size, VISION.patch_size).save_pretrained(folder)
    seal(folder)
    stages = ", ".join(f"{part} {STEPS[part]:,} steps" for part in (*TOWER_PARTS, *ending.parts))
    results = answers_table(held_out_answers(load_lvlm(ending.specimen)))
    write_card(folder, ending.scenes + LATER_SCENES, stages, results, curve_table(_curve(ending.parts[-3:])))


def _decoder(part: str, model: LlavaForConditionalGeneration, course: Course, seed: int, device: str) -> None:
    """Trains projector and decoder as a course says; the frozen tower's features serve all such parts."""
    checkpoint, features = WORK / f"{part}.ckpt", WORK / "together.npy"
    curve = train_decoder(_pool(), model, course, STEPS[part], checkpoint, features, seed, device)
    _keep(model, curve, part)


def _keep(model: LlavaForConditionalGeneration, curve: list[dict[str, float]], part: str) -> None:
    """Saves a model and the curve of the part that trained it."""
    model.cpu().eval().save_pretrained(WORK / part)
    with replacing(WORK / f"{part}.json") as file:
        file.write_text(json.dumps(curve), encoding="utf-8")


def _model(part: str) -> LlavaForConditionalGeneration:
    """Loads the model that a part saved, in training mode."""
    return LlavaForConditionalGeneration.from_pretrained(_there(WORK / part, part)).train()


def _curve(parts: tuple[str, ...]) -> list[dict[str, float]]:
    """Joins the training curves of some parts."""
    rows: list[dict[str, float]] = []
    before = 0
    for part in parts:
        curve = json.loads((WORK / f"{part}.json").read_text(encoding="utf-8"))
        rows += [{**row, "step": row["step"] + before} for row in curve]
        before += STEPS[part]
    return rows


def _segmenter(device: str) -> None:
    sam, curve = train_segmenter(
        STEPS["segmenter"], WORK / "segmenter.ckpt", SegmenterConfig(), device=device
    )
    save_segmenter(sam, SegmenterConfig(), SEGMENTER)
    ious = {"ground truth": held_out_ious(sam), "loose": held_out_ious(sam, loose=True)}
    steps = STEPS["segmenter"]
    write_card(SEGMENTER, 12 * steps, f"{steps:,} steps", ious_table(ious), curve_table(curve))


def _tower(part: str, vision: CLIPVisionConfig = VISION) -> CLIPVisionModel:
    """Loads the vision tower that a part saved."""
    tower = CLIPVisionModel(vision)
    tower.load_state_dict(torch.load(_there(WORK / f"{part}.pt", part), weights_only=True))
    return tower


def _there(path: Path, part: str) -> Path:
    if not path.exists():
        raise LocheadsError(f"{path}: not there; run `locheads train specimen --part {part}` first")
    return path
