"""First stage: a CLIP-style vision tower learns what a picture shows from questions about it.

The counterpart of the image–text training of CLIP. A question is an expression as a bag of words, the
answer is what it leaves open about its object; one layer of attention pooling stands between the two and
is thrown away afterwards. Nothing tells where an object is. Half of the patches are dropped at random, so
that an object's description does not gather in a few of them.
"""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import locheads._torchvision  # noqa: F401

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.data import Dataset
from transformers import CLIPVisionConfig, CLIPVisionModel

from locheads.specimen.expressions import STYLES, refer, word_of
from locheads.specimen.scenes import COLORS, RADII, SHAPES, TEXTURES, Scene
from locheads.specimen.training import Batch, ScenePool, train
from locheads.specimen.vocabulary import make_tokenizer

VISION = CLIPVisionConfig(
    hidden_size=96,
    intermediate_size=384,
    num_hidden_layers=4,
    num_attention_heads=4,
    image_size=144,
    patch_size=8,
    projection_dim=96,
)
BATCH = 32
PATCHES = (VISION.image_size // VISION.patch_size) ** 2
KEPT = 144
"""Patches kept of each picture."""

QUESTIONS, WORDS = 10, 8
"""Questions a picture, and words of the longest question."""
ANSWERS = {
    "color": tuple(COLORS),
    "shape": tuple(SHAPES),
    "texture": TEXTURES,
    "size": tuple(RADII),
    "row": ("top", "middle", "bottom"),
    "column": ("left", "center", "right"),
}


class Questioner(nn.Module):
    """A bag of words asks, attention over the patches answers: what the tower is trained through.

    The words' sum makes one query a head; the patches it attends to, pooled, are read out by one
    linear layer for each kind of answer. It is thrown away after the training.
    """

    def __init__(self, width: int, vocabulary: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.words = nn.EmbeddingBag(vocabulary, width, mode="sum", padding_idx=0)
        self.query = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.norm = nn.LayerNorm(width)
        self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU())
        self.answers = nn.ModuleDict(
            {kind: nn.Linear(2 * width, len(said)) for kind, said in ANSWERS.items()}
        )

    def forward(self, features: torch.Tensor, words: torch.Tensor) -> dict[str, torch.Tensor]:
        """From features `images × patches × width` and words `images × questions × words`, logits by kind."""
        features = self.norm(features)
        query = self.query(self.words(words.flatten(0, 1))).unflatten(0, words.shape[:2])
        split = [
            x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for x in (query, self.key(features), self.value(features))
        ]
        pooled = scaled_dot_product_attention(*split).transpose(1, 2).flatten(-2)
        hidden = self.read(pooled)
        return {kind: answer(hidden) for kind, answer in self.answers.items()}


def patch_features(tower: CLIPVisionModel, pixels: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
    """Features of the named patches of each image, `images × kept × width`; the others are not seen."""
    tokens = tower.embeddings(pixels)
    chosen = torch.cat([torch.zeros_like(patches[:, :1]), patches + 1], 1)
    tokens = tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[-1]))
    return tower.encoder(inputs_embeds=tower.pre_layrnorm(tokens)).last_hidden_state[:, 1:]


class Questions(Dataset):
    """Batch `step` of the training: drawn from the seed and the step alone."""

    def __init__(self, pool: ScenePool, steps: int, seed: int) -> None:
        self.pool, self.steps, self.seed = pool, steps, seed
        self.vocabulary = make_tokenizer().get_vocab()

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        scenes = np.sort(rng.choice(len(self.pool.things), BATCH, replace=False))
        words = np.zeros((BATCH, QUESTIONS, WORDS), np.int64)
        answers = np.full((BATCH, QUESTIONS, len(ANSWERS)), -100)
        for i, scene in enumerate(scenes):
            for j in range(QUESTIONS):
                self._ask(self.pool.scene(scene), rng, words[i, j], answers[i, j])
        patches = np.sort([rng.permutation(PATCHES)[:KEPT] for _ in scenes], axis=1)
        arrays = {"words": words, "answers": answers, "patches": patches}
        return {"pixels": self.pool.pixels(scenes), **{k: torch.from_numpy(v) for k, v in arrays.items()}}

    def _ask(self, scene: Scene, rng: np.random.Generator, words: np.ndarray, answers: np.ndarray) -> None:
        """Fill in a random expression's words and what it leaves open about its object."""
        index = int(rng.integers(len(scene.things)))
        expression = refer(scene, index, STYLES[rng.integers(2)], rng)
        if expression is None:
            return
        ids = [self.vocabulary[word] for word in expression.text.split()]
        words[: len(ids)] = ids[:WORDS]
        thing = scene.things[index]
        for k, (kind, said) in enumerate(ANSWERS.items()):
            if kind not in expression.given:
                answers[k] = said.index(word_of(thing, kind))


def question_loss(
    tower: CLIPVisionModel, questioner: Questioner, batch: Batch
) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy of the answers, summed over their kinds, and the accuracy of each."""
    logits = questioner(patch_features(tower, batch["pixels"], batch["patches"]), batch["words"])
    loss, figures = torch.zeros(()), {}
    for k, kind in enumerate(ANSWERS):
        wanted = batch["answers"][..., k]
        asked = wanted >= 0
        loss = loss + cross_entropy(logits[kind][asked], wanted[asked])
        figures[kind] = (logits[kind].argmax(-1) == wanted)[asked].float().mean().item()
    return loss, figures


def position_waves(width: int) -> torch.Tensor:
    """Sines and cosines of row and column, `patches × width`: a start that knows what is near what."""
    side = torch.arange(math.isqrt(PATCHES))
    frequencies = 100.0 ** -(torch.arange(width // 4) / (width // 4))
    row, column = (x.flatten()[:, None] * frequencies for x in torch.meshgrid(side, side, indexing="ij"))
    return 0.3 * torch.cat([row.sin(), row.cos(), column.sin(), column.cos()], 1)


def train_vision(
    pool: ScenePool, steps: int, folder: Path, seed: int = 0, device: str = "cpu"
) -> CLIPVisionModel:
    """Train the tower through questions, or resume; see the module's text."""
    torch.manual_seed(seed)
    tower = CLIPVisionModel(VISION)
    tower.embeddings.position_embedding.weight.data[1:] = position_waves(VISION.hidden_size)
    questioner = Questioner(VISION.hidden_size, len(make_tokenizer()))
    modules = nn.ModuleDict({"tower": tower, "questioner": questioner}).to(device)
    batches = Questions(pool, steps, seed)
    train(modules, batches, partial(question_loss, tower, questioner), 2e-3, folder / "vision.ckpt", device)
    return tower
