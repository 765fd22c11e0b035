"""Decoders that learn the same scenes from different answers: what makes localization heads, and when.

All arms read the same expressions, which name an object by its looks alone, and say what these leave open of
colour, shape, texture and size. What follows tells them apart: nothing, the object's place in two words, or
its box in four numbers. The decoder is the narrow specimen's before the sink and learns from nothing; the
tower is the shipped one, frozen. A run writes what the paper measures at some steps, never its weights:
`locheads train arms` makes all runs that are missing from `records/arms`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import LlavaForConditionalGeneration

from locheads.data import read_samples
from locheads.data.samples import Sample
from locheads.data.scenes.expressions import answer, column_word, refer, row_word
from locheads.data.scenes.scenes import SIDE, Scene, Thing, mask_box
from locheads.evaluation.evaluate import Variant
from locheads.evaluation.metrics import box_iou
from locheads.files import replacing
from locheads.method.selection import select_heads
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.model.own_answer import ask
from locheads.model.shipped import SPECIMENS
from locheads.profiling.profile import judged
from locheads.specimen import answers
from locheads.specimen.card import held_out_answers
from locheads.specimen.jobs import Turn, asked_of, reads
from locheads.specimen.tower import VISION
from locheads.specimen.training import ScenePool, make_pool, train
from locheads.specimen.turns import NARROW, Conversations, DrawTurn
from locheads.specimen.vocabulary import STOP, make_processor, make_tokenizer
from locheads.studies.arms import BINS, RECORDS, STEPS, TEXT

SCENES, SEEDS = 4_000, (0, 1, 2)
MEASURED_AT = (0, 30, 100, 250, 500, 800, 1_100, STEPS)
"""Steps after which a run of `places` is measured, about log-spaced; the other arms are at the end."""
STYLE = "refcoco+"
"""The one style of expressions: looks, and no word of place."""
SAMPLES, ASKED = 80, 300
"""Training expressions that heads are chosen on, and as many of val that they are judged on; questions."""
COORDINATES = tuple(str(i) for i in range(BINS + 1))
COURSE = replace(NARROW, easy=0.0, whole=0.93, styles=(0.0, 1.0, 0.0, 0.0))
WIDTH, HEADS = 96, 6


def box_words(thing: Thing) -> str:
    """Returns the smallest box of whole patches around an object: x0, y0, x1, y1 in patches."""
    scale = BINS / SIDE
    x0, y0, x1, y1 = mask_box(thing.indicator())
    low, high = (np.floor(np.multiply((x0, y0), scale)), np.ceil(np.multiply((x1, y1), scale)))
    return " ".join(COORDINATES[int(value)] for value in (*low, *high))


ARMS: dict[str, Callable[[Thing], str]] = {
    "words": lambda thing: "",
    "places": lambda thing: f"{row_word(thing)} {column_word(thing)}",
    "boxes": box_words,
}
"""What an answer says of the object's place."""
TEXT_STEPS = 500
"""Steps in which the arm `TEXT`, which answers as `places`, reads texts before any picture that helps."""


def arm_turn(arm: str, scene: Scene, other: Scene, *, rng: np.random.Generator) -> Turn | None:
    """Draws an expression of looks, in most cases with a period, and the answer that one of `ARMS` gives."""
    index = int(rng.integers(len(scene.things)))
    expression = refer(scene, index, STYLE, rng)
    stop = f" {STOP}" * bool(rng.random() < 0.85)
    if expression is None:
        return None
    thing = scene.things[index]
    looks = answer(thing, expression.given).split()[:-2]
    asked = asked_of(scene, expression.given) if looks else 0
    return Turn(expression.text + stop, " ".join([*looks, ARMS[arm](thing)]), asked)


class ArmConversations(Conversations):
    """The same expressions, scenes and patches for every arm; the answers are the arm's."""

    def __init__(self, arm: str, pool: ScenePool, features: np.ndarray, steps: int, seed: int) -> None:
        super().__init__(pool, features, steps, seed, COURSE)
        self.arm, self.tokenizer = "places" if arm == TEXT else arm, make_tokenizer(COORDINATES)

    def draw(self, early: bool) -> DrawTurn:
        """Returns what draws a turn."""
        return partial(arm_turn, self.arm)


class Texts(ArmConversations):
    """Texts about scenes that are not shown, and questions on them: the pictures beside them do not help."""

    def draw(self, early: bool) -> DrawTurn:
        """Returns what draws a turn."""
        return lambda scene, other, rng: reads(other, rng)


def run_arm(arm: str, seed: int, work: Path, records: Path = RECORDS) -> None:
    """Trains one arm from one seed, or resumes it, and writes its records.

    Args:
        arm: One of `ARMS`, or `TEXT`.
        seed: Of the initial weights, the turns and the patches seen.
        work: Folder of scenes, features and checkpoints.
        records: Folder of the records, a file for each step measured.
    """
    model = untrained(seed)
    pool = make_pool(work, SCENES, VISION.image_size, seed=3)
    features = _features(pool, model, work)
    model.model.vision_tower.requires_grad_(False)
    learners = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model, model.lm_head])
    model.model.language_model.compile(dynamic=False)

    def watch(step: int) -> None:
        file = records / f"{arm}-{seed}-{step:05}.npz"
        if step in (MEASURED_AT if arm in ("places", TEXT) else (STEPS,)) and not file.exists():
            write(file, measured(reloaded(model), step == STEPS))

    learn, loss = partial(train, learners, rate=COURSE.rate, seed=seed), partial(answers.answer_loss, model)
    if arm == TEXT:
        texts = Texts(arm, pool, features, TEXT_STEPS, seed)
        learn(texts, loss, checkpoint=work / f"{arm}-{seed}-texts.ckpt")
    batches = ArmConversations(arm, pool, features, STEPS, seed)
    learn(batches, loss, checkpoint=work / f"{arm}-{seed}.ckpt", watch=watch)


def untrained(seed: int) -> LlavaForConditionalGeneration:
    """Returns the decoder that all arms of a seed begin with, on the shipped tower."""
    torch.manual_seed(seed)
    model = answers.make_model(make_tokenizer(COORDINATES), WIDTH, HEADS)
    shipped = LlavaForConditionalGeneration.from_pretrained(SPECIMENS["specimen"], dtype=torch.float32)
    model.model.vision_tower.load_state_dict(shipped.model.vision_tower.state_dict())
    return model


def missing(records: Path = RECORDS) -> list[tuple[str, int]]:
    """Returns arm and seed of the runs whose last record is not there, seed by seed."""
    runs = [*((arm, seed) for seed in SEEDS for arm in ARMS), (TEXT, 0)]
    return [(arm, seed) for arm, seed in runs if not (records / f"{arm}-{seed}-{STEPS:05}.npz").exists()]


def _features(pool: ScenePool, model: LlavaForConditionalGeneration, work: Path) -> np.ndarray:
    return answers.frozen_features(pool, model.model.vision_tower, work / "features.npy")


def reloaded(model: LlavaForConditionalGeneration) -> Lvlm:
    """Returns a model as it is loaded from the files that it would be shipped in."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        make_processor(VISION.image_size, VISION.patch_size, COORDINATES).save_pretrained(folder)
        return load_lvlm(folder, prompt="specimen")


def measured(lvlm: Lvlm, finished: bool = False) -> dict[str, np.ndarray]:
    """Measures what the paper measures of a model, and whether it answers.

    Args:
        lvlm: The model.
        finished: Whether to keep its whole answers as well.

    Returns:
        By head, `layer × head`: `attention_sum`, `spatial_entropy` (mean of the finite ones), `frequency` and
        `iou_train` on training expressions, `iou` on those of val. By expression of val: `box_iou` of three
        heads and `box_iou_best` of the training expressions' best head, `image`, and `said`, the answers, if
        finished. `answers`: by question whose first answer word has to be looked up, whether it was right.
    """
    train_on, judged_on = (
        read_samples("specimen", STYLE, one, limit=SAMPLES, seed=0) for one in ("train", "val")
    )
    profiled, other = judged(lvlm, train_on, 16), judged(lvlm, judged_on, 16)
    selection = select_heads(profiled["attention_sum"], profiled["spatial_entropy"])
    entropies = np.ma.masked_invalid(profiled["spatial_entropy"]).mean(0).filled(np.nan)
    best = np.unravel_index(profiled["iou"].mean(0).argmax(), entropies.shape)
    asked = held_out_answers(lvlm, ASKED, seed=7, styles=[STYLE])
    telling = asked[asked["telling"] & (asked["asked"] != "place")]
    found = {
        "attention_sum": profiled["attention_sum"].mean(0),
        "spatial_entropy": entropies,
        "frequency": selection.frequency,
        "threshold": np.array(selection.threshold.value),
        "iou_train": profiled["iou"].mean(0),
        "iou": other["iou"].mean(0),
        "box_iou": box_ious(lvlm, other["maps"], judged_on, selection.heads),
        "box_iou_best": box_ious(lvlm, other["maps"], judged_on, [tuple(map(int, best))]),
        "image": np.array([sample.image_id for sample in judged_on]),
        "answers": telling["right"].to_numpy(),
    }
    if finished:
        found["said"] = np.array(ask(lvlm, judged_on, most=10))
    return found


def box_ious(lvlm: Lvlm, maps: np.ndarray, samples: list[Sample], heads: Any) -> np.ndarray:
    """Returns the IoU of the heads' box with the true one, by sample; `maps` are of all heads."""
    variant = Variant(tuple(heads))
    boxes = [variant.ground(one, lvlm.window(s.size), 0).box for one, s in zip(maps, samples, strict=True)]
    return box_iou(np.stack(boxes), np.array([s.box for s in samples], float))


def write(file: Path, found: dict[str, np.ndarray]) -> None:
    """Writes the records of one step, in single precision."""
    file.parent.mkdir(parents=True, exist_ok=True)
    small: dict[str, Any] = {
        name: a.astype(np.float32) if a.dtype == np.float64 else a for name, a in found.items()
    }
    with replacing(file) as part, part.open("wb") as stream:
        np.savez_compressed(stream, **small)
