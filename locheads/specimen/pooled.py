"""Arms whose projector destroys the grid: what is left of localization heads.

The decoder is that of the narrow specimen, whose heads have formed on the grid of 576 patches, as a language
model is there before it gets a resampler. A new projector pools, and both learn to answer as before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import LlavaForConditionalGeneration

from locheads.data import read_samples
from locheads.data.samples import Sample
from locheads.evaluation.metrics import box_iou
from locheads.method.carried_back import block_shares, carry_back, fitted, gathered
from locheads.method.grounding import ground
from locheads.method.selection import top_heads
from locheads.model.attention import Wanted, forward
from locheads.model.carrier import Carrier
from locheads.model.families import Family, Resampler
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm, coverage_of
from locheads.model.own_answer import ask, parse_place, region_of
from locheads.model.shipped import SPECIMENS
from locheads.profiling.profile import judged, maps_of
from locheads.specimen import answers
from locheads.specimen.arms import ASKED, COURSE, SAMPLES, SCENES, STYLE, ArmConversations, measured, write
from locheads.specimen.card import held_out_answers
from locheads.specimen.pooling import BLOCKS, PROJECTORS, attentions
from locheads.specimen.tower import VISION, patch_count
from locheads.specimen.training import Batch, ScenePool, make_pool, train
from locheads.specimen.vocabulary import make_processor, make_tokenizer
from locheads.studies.pooled import ARMS, LEVELS, RECORDS

STEPS, WITH_FEATURES = 240, 1_500
"""Of the optimiser; scenes whose features are kept."""
FIRST_THREE = ((0, 0), (0, 1), (0, 2))
"""Heads of an arm in which none is ever chosen: all of its maps are even."""
SHOWN = 3
"""Expressions whose shares are kept."""
POOLED = replace(COURSE, whole=0.0, deep=0.0, rate=1e-3)


class GridConversations(ArmConversations):
    """What the arm "places" reads: some patches of twice as many pictures, all of them in the end."""

    def __init__(self, pool: ScenePool, features: np.ndarray, steps: int, seed: int) -> None:
        super().__init__("places", pool, features, steps, seed)
        self.course, self.tokenizer = replace(POOLED, whole=COURSE.whole), make_tokenizer()


class PooledConversations(GridConversations):
    """The same with all patches of a picture; the positions are those of the tokens."""

    def __init__(self, pool: ScenePool, features: np.ndarray, steps: int, seed: int, tokens: int) -> None:
        super().__init__(pool, features, steps, seed)
        self.course, self.tokens = POOLED, tokens

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        return batch | {"seen": torch.arange(self.tokens).expand(len(batch["seen"]), -1)}


def pooled_model(arm: str, seed: int) -> LlavaForConditionalGeneration:
    """Returns an arm's model before training.

    Args:
        arm: One of `PROJECTORS`.
        seed: Of the new weights.
    """
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration.from_pretrained(SPECIMENS["specimen-narrow"], dtype=torch.float32)
    core = model.model
    core.multi_modal_projector = PROJECTORS[arm](core.multi_modal_projector, VISION.hidden_size)
    return model.train()


def run_pooled(arm: str, seed: int, work: Path, records: Path = RECORDS) -> None:
    """Trains one arm from one seed, or resumes it, and writes its records.

    Args:
        arm: One of `PROJECTORS`.
        seed: Of the new weights, and of the turns.
        work: Folder of scenes, features and checkpoints.
        records: Folder of the records, one file per arm and seed.
    """
    lvlm = pooled_lvlm(trained(arm, seed, work), arm)
    found = tokens_of(lvlm, arm) | (_floor(lvlm) if arm == "cls" else measured(lvlm, finished=True))
    found["placed"] = _placed(list(found.pop("said")), _judged_on())
    found |= pointed(lvlm, top_heads(found["frequency"]) if found["frequency"].any() else FIRST_THREE)
    write(records / f"{arm}-{seed}.npz", found)


def missing(records: Path = RECORDS) -> list[str]:
    """Returns the arms without records."""
    return [arm for arm in PROJECTORS if not (records / f"{arm}-0.npz").exists()]


def pointed(lvlm: Lvlm, heads: Sequence[tuple[int, int]]) -> dict[str, np.ndarray]:
    """Returns how the heads' maps fare when not cut at their mean.

    Returns:
        By expression of val: `pointing`, whether the centre of the brightest cell lies in the true box;
        `levels`, `level × expression`, IoUs of the boxes at each of `LEVELS` times the mean.
    """
    samples, pointing, ious = _judged_on(), [], []
    for sample, maps in zip(samples, maps_of(lvlm, samples, heads=heads), strict=True):
        window, box = lvlm.window(sample.size), np.array(sample.box, float)
        found = [ground(maps, window, level=level).box for level in LEVELS]
        ious.append(box_iou(np.stack(found), np.tile(box, (len(LEVELS), 1))))
        total = ground(maps, window).map
        row, column = np.unravel_index(total.argmax(), total.shape)
        x, y = window.points_to_pixels(np.array([column + 0.5, row + 0.5]))
        pointing.append(np.ptp(total) > 0 and box[0] <= x < box[2] and box[1] <= y < box[3])
    return {"pointing": np.array(pointing), "levels": np.stack(ious, 1)}


def _floor(lvlm: Lvlm) -> dict[str, np.ndarray]:
    """Returns what `measured` does where all maps are even: no head is chosen, boxes are the picture."""
    samples = _judged_on()
    found = judged(lvlm, samples, 16)
    even, zero = found["maps"][:, 0, 0], np.zeros(found["iou"].shape[1:])
    boxes = [ground(one[None], lvlm.window(s.size)).box for one, s in zip(even, samples, strict=True)]
    reached = box_iou(np.stack(boxes), np.array([s.box for s in samples], float))
    asked = held_out_answers(lvlm, ASKED, seed=7, styles=[STYLE])
    return {
        "attention_sum": found["attention_sum"].mean(0),
        "spatial_entropy": zero + np.nan,
        "frequency": zero,
        "iou": found["iou"].mean(0),
        "box_iou": reached,
        "box_iou_best": reached,
        "image": np.array([s.image_id for s in samples]),
        "answers": asked[asked["telling"] & (asked["asked"] != "place")]["right"].to_numpy(),
        "said": np.array(ask(lvlm, samples, most=10)),
    }


def _placed(said: Sequence[str], samples: Sequence[Sample]) -> np.ndarray:
    """Returns of each answer whether it names the region in which the object is."""
    boxes, sizes = (np.array([getattr(s, name) for s in samples], float) for name in ("box", "size"))
    true = region_of(boxes, sizes)
    return np.array([parse_place(text) == tuple(region) for text, region in zip(said, true, strict=True)])


def trained(arm: str, seed: int, work: Path) -> LlavaForConditionalGeneration:
    """Trains projector and decoder of an arm, or resumes; arguments as of `run_pooled`."""
    model = pooled_model(arm, seed)
    scenes = make_pool(work, SCENES, VISION.image_size, seed=3)
    pool = ScenePool(scenes.images[:WITH_FEATURES], scenes.things[:WITH_FEATURES])
    features = answers.frozen_features(pool, model.model.vision_tower, work / "pooled.npy")
    batches: GridConversations = GridConversations(pool, features, STEPS, seed)
    if arm != "grid":
        batches = PooledConversations(pool, features, STEPS, seed, ARMS[arm])
    model.model.vision_tower.requires_grad_(False)
    learners = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model, model.lm_head])
    model.model.language_model.compile(dynamic=False)
    loss, checkpoint = (
        partial(answers.answer_loss, model, places=ARMS[arm]),
        work / f"pooled-{arm}-{seed}.ckpt",
    )
    train(learners, batches, loss, POOLED.rate, checkpoint, seed, warm_up=50, save_every=40)
    return model


def pooled_lvlm(model: LlavaForConditionalGeneration, arm: str) -> Lvlm:
    """Returns an arm's model for capture: its maps are carried back to the patches of the narrow specimen."""
    lvlm, side = load_lvlm("specimen-narrow"), isqrt(ARMS[arm])
    core = lvlm.model.model
    core.multi_modal_projector = model.model.multi_modal_projector.eval()
    core.language_model.load_state_dict(model.model.language_model.state_dict())
    lvlm.model.lm_head.load_state_dict(model.lm_head.state_dict())
    processor = make_processor(VISION.image_size, VISION.image_size // side)  # writes as many image tokens
    block = BLOCKS.get(arm)
    resampler = Resampler(
        arm,
        lambda config: ARMS[arm],
        lambda loaded: [] if block else attentions(loaded.model.multi_modal_projector),
        exact=partial(block_shares, block=block) if block else None,
    )
    family = Family("pooled", lambda config: isqrt(patch_count(VISION)), resampler=resampler)
    return replace(lvlm, name=f"pooled-{arm}", processor=processor, family=family, _grids={})


def _judged_on() -> list[Sample]:
    return read_samples("specimen", STYLE, "val", limit=SAMPLES, seed=0)


def tokens_of(lvlm: Lvlm, arm: str) -> dict[str, np.ndarray]:
    """Returns what the tokens of an arm hold of the expressions of val that it is judged on.

    Returns:
        By expression, IoUs of two boxes: `ceiling`, from the map that the shares can make most like the true
        mask, and `projected`, from the true mask projected onto the tokens and carried back.
        `patches`: by expression, number of patches that a token is made of: the mean of exp of the shares'
        entropy. With learned queries also `shares` and `token_maps`, those of all heads, of the first `SHOWN`
        expressions.
    """
    found: dict[str, list] = {n: [] for n in ("ceiling", "projected", "patches", "shares", "token_maps")}
    samples = _judged_on()
    for sample in samples:
        rows, shares = _read(lvlm, sample)
        window = lvlm.window(sample.size)
        for name, ideal in (("ceiling", fitted), ("projected", gathered)):
            weights = ideal(coverage_of(lvlm, sample), shares)
            carried = carry_back(weights, shares, (window.rows, window.columns))
            found[name].append(ground(carried[None], window).box)
        logs = np.log(shares, where=shares > 0, out=np.zeros_like(shares))
        found["patches"].append(np.exp(-(shares * logs).sum(-1)).mean())
        found["shares"].append(shares.astype(np.float16))
        found["token_maps"].append(rows.astype(np.float16))
    boxes = np.array([sample.box for sample in samples], float)
    kept = {name: box_iou(np.stack(found[name]), boxes) for name in ("ceiling", "projected")}
    kept["patches"] = np.array(found["patches"])
    if arm not in BLOCKS:
        kept |= {name: np.stack(found[name][:SHOWN]) for name in ("shares", "token_maps")}
    return kept


def _read(lvlm: Lvlm, sample: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rows of all heads over the tokens, and the shares of patches in them."""
    wanted, encoded = Wanted.of(lvlm, None), lvlm.encode([sample.image], [sample.expression])
    with Carrier(lvlm) as carrier:
        rows = forward(lvlm, encoded.inputs, wanted, encoded.query, encoded.image_tokens)
    (shares,) = carrier.shares(encoded.grids)
    return wanted.stack(lvlm, rows)[0].numpy(), shares.double().numpy()
