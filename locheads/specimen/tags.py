"""First stage of the vision tower: image-level tags, the counterpart of CLIP's image–text training.

A tag such as "red ring" or "star at the left" is said of the whole picture. A log-sum-exp over patch logits
lets any patch answer for it, and nothing tells where. More than half of the patches are dropped at random, so
that an object's description does not gather in a few of them.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import combinations, product
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import Dataset
from transformers import CLIPVisionModel

from locheads.data.scenes.expressions import word_of
from locheads.data.scenes.scenes import COLORS, RADII, SHAPES, TEXTURES, Thing
from locheads.specimen.tower import COARSE, patch_count
from locheads.specimen.training import Batch, ScenePool, train

PATCHES = patch_count(COARSE)
BATCH, KEPT = 32, 144
"""Pictures in a batch, and patches kept of each."""
WORDS = {
    "color": tuple(COLORS),
    "shape": tuple(SHAPES),
    "texture": TEXTURES,
    "size": tuple(RADII),
    "row": ("top", "middle", "bottom"),
    "column": ("left", "center", "right"),
}
"""What can be said of one object: its attributes, and its place in the picture."""
_PAIRS = tuple(combinations(WORDS, 2))
_SAID = ((pair, words) for pair in _PAIRS for words in product(*(WORDS[kind] for kind in pair)))
TAGS = {tag: i for i, tag in enumerate(_SAID)}
"""Pairs of words that hold of one and the same object: `(kinds, words)` to an index."""


def tags_of(thing: Thing) -> list[int]:
    """Indices into `TAGS` of all that is true of one object."""
    return [TAGS[pair, tuple(word_of(thing, kind) for kind in pair)] for pair in _PAIRS]


def patch_features(tower: CLIPVisionModel, pixels: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """Features of the named patches of each image, `images × kept × width`; the others are not seen."""
    tokens = tower.embeddings(pixels)
    chosen = torch.cat([torch.zeros_like(patches[:, :1]), patches + 1], 1)
    tokens = tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[-1]))
    return tower.encoder(inputs_embeds=tower.pre_layrnorm(tokens)).last_hidden_state[:, 1:]


class TaggedScenes(Dataset):
    """Batch `step` of the training: drawn from the seed and the step alone."""

    def __init__(self, pool: ScenePool, steps: int, seed: int) -> None:
        self.pool, self.steps, self.seed = pool, steps, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        scenes = np.sort(rng.choice(len(self.pool.things), BATCH, replace=False))
        tags = torch.zeros(BATCH, len(TAGS))
        for row, scene in zip(tags, scenes, strict=True):
            row[[tag for thing in self.pool.things[scene] for tag in tags_of(thing)]] = 1.0
        patches = np.sort([rng.permutation(PATCHES)[:KEPT] for _ in scenes], axis=1)
        return {"pixels": self.pool.pixels(scenes), "tags": tags, "patches": torch.from_numpy(patches)}


def tag_loss(tower: CLIPVisionModel, head: nn.Linear, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
    """Binary cross-entropy of the tags, and the recall of some pairs of words."""
    features = patch_features(tower, batch["pixels"], batch["patches"])
    logits = (torch.logsumexp(2 * head(features), 1) - math.log(6)) / 2
    found, true = logits > 0, batch["tags"] > 0
    figures = {"recall": (found & true).sum().item() / true.sum().item()}
    for kind in (("color", "shape"), ("shape", "texture"), ("color", "column"), ("shape", "size")):
        some = [i for (kinds, _), i in TAGS.items() if kinds == kind]
        figures[" ".join(kind)] = (found & true)[:, some].sum().item() / true[:, some].sum().item()
    return 10 * binary_cross_entropy_with_logits(logits, batch["tags"]), figures


def train_tags(
    pool: ScenePool, steps: int, folder: Path, seed: int = 0, device: str = "cpu"
) -> tuple[CLIPVisionModel, list[dict[str, float]]]:
    """Trains a tower on tags alone, or resumes; returns the tower and its training curve."""
    torch.manual_seed(seed)
    tower = CLIPVisionModel(COARSE)
    head = nn.Linear(COARSE.hidden_size, len(TAGS))
    nn.init.constant_(head.bias, -4.0)
    modules = nn.ModuleDict({"tower": tower, "head": head}).to(device)
    batches = TaggedScenes(pool, steps, seed)
    curve = train(modules, batches, partial(tag_loss, tower, head), 2e-3, folder / "tags.ckpt", seed, device)
    return tower, curve
