"""Arms whose projector destroys the grid: what is left of localization heads.

The decoder is that of the narrow specimen, whose heads have formed on the grid of 576 patches, as a language
model is there before it gets a resampler. A new projector pools, and both learn to answer as before.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import LlavaForConditionalGeneration

from locheads.model.shipped import SPECIMENS
from locheads.specimen import answers
from locheads.specimen.arms import COURSE, SCENES, ArmConversations
from locheads.specimen.pooling import PROJECTORS, TOKENS
from locheads.specimen.tower import VISION
from locheads.specimen.training import Batch, ScenePool, make_pool, train
from locheads.specimen.vocabulary import make_tokenizer

STEPS, WITH_FEATURES = 240, 1_500
"""Of the optimiser; scenes whose features are kept."""
POOLED = replace(COURSE, whole=0.0, deep=0.0, rate=1e-3)
RECORDS = Path(__file__).with_name("records") / "pooled"


class PooledConversations(ArmConversations):
    """What the arm "places" reads, with all patches of a picture; the positions are those of the tokens."""

    def __init__(self, pool: ScenePool, features: np.ndarray, steps: int, seed: int, tokens: int) -> None:
        super().__init__("places", pool, features, steps, seed)
        self.course, self.tokens, self.tokenizer = POOLED, tokens, make_tokenizer()

    def __getitem__(self, step: int) -> Batch:
        batch = super().__getitem__(step)
        return batch | {"seen": torch.arange(self.tokens).expand(len(batch["seen"]), -1)}


def pooled_model(arm: str, seed: int) -> LlavaForConditionalGeneration:
    """Return an arm's model before training.

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
    """Train one arm from one seed, or resume it, and write its records."""
    model = pooled_model(arm, seed)
    scenes = make_pool(work, SCENES, VISION.image_size, seed=3)
    pool = ScenePool(scenes.images[:WITH_FEATURES], scenes.things[:WITH_FEATURES])
    features = answers.frozen_features(pool, model.model.vision_tower, work / "pooled.npy")
    batches = PooledConversations(pool, features, STEPS, seed, TOKENS[arm])
    model.model.vision_tower.requires_grad_(False)
    learners = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model, model.lm_head])
    model.model.language_model.compile(dynamic=False)
    loss = partial(answers.answer_loss, model, places=TOKENS[arm])
    train(learners, batches, loss, POOLED.rate, work / f"pooled-{arm}-{seed}.ckpt", seed, warm_up=50, save_every=40)
