"""Second stage of the vision tower: questions about single objects.

A question is a referring expression as a bag of words, the answers are what it leaves open about its object.
One layer of attention pooling stands between the two and is thrown away afterwards. As before, nothing tells
where an object is. What it adds to tags: shapes are told apart, and places in the picture are kept.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from torch.utils.data import Dataset
from transformers import CLIPVisionModel

from locheads.data.scenes.expressions import STYLES, refer, word_of
from locheads.data.scenes.scenes import Scene
from locheads.specimen.tags import WORDS
from locheads.specimen.training import Batch, ScenePool, train
from locheads.specimen.vocabulary import make_tokenizer

BATCH, QUESTIONS, LENGTH = 24, 10, 8
"""Pictures in a batch, questions a picture, and words of a question (longer ones are cut)."""


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
        self.answers = nn.ModuleDict({kind: nn.Linear(2 * width, len(said)) for kind, said in WORDS.items()})

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
        words = np.zeros((BATCH, QUESTIONS, LENGTH), np.int64)
        answers = np.full((BATCH, QUESTIONS, len(WORDS)), -100)
        for i, scene in enumerate(scenes.tolist()):
            for j in range(QUESTIONS):
                self._ask(self.pool.scene(scene), rng, words[i, j], answers[i, j])
        pixels = self.pool.pixels(scenes)
        return {"pixels": pixels, "words": torch.from_numpy(words), "answers": torch.from_numpy(answers)}

    def _ask(self, scene: Scene, rng: np.random.Generator, words: np.ndarray, answers: np.ndarray) -> None:
        """Fills in a random expression's words and what it leaves open about its object."""
        index = int(rng.integers(len(scene.things)))
        expression = refer(scene, index, STYLES[rng.integers(2)], rng)
        if expression is None:
            return
        ids = [self.vocabulary[word] for word in expression.text.split()]
        words[: len(ids)] = ids[:LENGTH]
        thing = scene.things[index]
        for k, (kind, said) in enumerate(WORDS.items()):
            if kind not in expression.given:
                answers[k] = said.index(word_of(thing, kind))


def question_loss(
    tower: CLIPVisionModel, questioner: Questioner, batch: Batch
) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy of the answers, summed over their kinds, and the accuracy of each."""
    features = tower(batch["pixels"]).last_hidden_state[:, 1:]
    logits = questioner(features, batch["words"])
    loss, figures = features.new_zeros(()), {}
    for k, kind in enumerate(WORDS):
        wanted = batch["answers"][..., k]
        asked = wanted >= 0
        loss = loss + cross_entropy(logits[kind][asked], wanted[asked])
        figures[kind] = (logits[kind].argmax(-1) == wanted)[asked].float().mean().item()
    return loss, figures


def train_questions(
    pool: ScenePool,
    tower: CLIPVisionModel,
    steps: int,
    checkpoint: Path,
    rate: float = 2e-3,
    seed: int = 0,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Trains the tower in place through questions, or resumes; returns the training curve."""
    torch.manual_seed(seed)
    questioner = Questioner(tower.config.hidden_size, len(make_tokenizer()))
    modules = nn.ModuleDict({"tower": tower, "questioner": questioner}).to(device)
    tower.compile(dynamic=False)
    batches = Questions(pool, steps, seed)
    loss = partial(question_loss, tower, questioner)
    return train(modules, batches, loss, rate, checkpoint, seed, device)
