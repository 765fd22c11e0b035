"""Turns about pictures, packed for training: an expression, and what it leaves open about its object.

Several turns share a picture: each sees the picture and itself, no other turn, and is numbered as if it came
first, which makes it the very sequence that is met at inference.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from locheads.data.scenes.expressions import ATTRIBUTES, STYLES, answer, refer
from locheads.data.scenes.scenes import Scene
from locheads.specimen.tower import VISION, patch_count
from locheads.specimen.training import Batch, ScenePool
from locheads.specimen.vocabulary import make_tokenizer

PATCHES = patch_count(VISION)
BATCH = 16
TEXT = 96
"""Text tokens a picture: as many turns as fit."""
TOGETHER_BATCH, TOGETHER_TEXT = 8, 128
"""The same where the tower learns too: turns cost little beside all patches of a picture."""
KEPT = 64
"""Patches kept of each picture, but for the last part of the training, which sees them all."""
EARLY, LATE = (0.4, 0.6, 0.0, 0.0), (0.4, 0.2, 0.25, 0.15)
"""Shares of the styles while scenes are easy, and after."""


@dataclass(frozen=True)
class Course:
    """What a training shows when; times are shares of its steps."""

    easy: float
    """Until when scenes have three objects at most."""
    whole: float
    """From when on all patches of a picture are seen."""
    crowded: bool
    """Whether a scene comes as often as it has pairs of objects to tell apart."""
    styles: tuple[float, ...]
    """Shares of the styles once scenes are no longer easy."""
    rate: float
    """Peak learning rate."""


FIRST = Course(easy=0.15, whole=0.75, crowded=False, styles=LATE, rate=1.5e-3)
CROWDED = Course(easy=0.0, whole=0.9, crowded=True, styles=(0.5, 0.2, 0.2, 0.1), rate=1e-3)
DEEPER = replace(CROWDED, whole=0.7, crowded=False, rate=6e-4)
NARROW = replace(FIRST, styles=CROWDED.styles)
LONGER = replace(DEEPER, whole=0.9, styles=(0.6, 0.2, 0.15, 0.05), rate=8e-4)


@dataclass(frozen=True)
class Turns:
    """Packed turns of one picture, arrays of one length."""

    tokens: np.ndarray
    labels: np.ndarray
    """The next token, −100 for padding."""
    turn: np.ndarray
    """Which turn a token is of; −1 is padding."""
    offset: np.ndarray
    """Position within its turn."""
    asked: np.ndarray
    """Where the first answer word tells objects apart: 1 + its index in `ATTRIBUTES`, 9 for a place."""


def pack_turns(
    scene: Scene,
    tokenizer: PreTrainedTokenizerFast,
    shares: tuple[float, ...],
    rng: np.random.Generator,
    length: int = TEXT,
) -> Turns:
    """Random turns about random objects of a scene, as many as fit into `length` tokens."""
    rows: list[tuple[int, ...]] = []
    turn = 0
    for _ in range(length):
        index, style = int(rng.integers(len(scene.things))), STYLES[rng.choice(len(STYLES), p=shares)]
        expression = refer(scene, index, style, rng)
        if expression is None:
            continue
        question = tokenizer.convert_tokens_to_ids(expression.text.split())
        reply = tokenizer.convert_tokens_to_ids(answer(scene.things[index], expression.given).split())
        sequence = [*question, *reply, tokenizer.eos_token_id]
        if len(rows) + len(sequence) - 1 > length:
            break
        asked = asked_of(scene, expression.given)
        for i, (token, following) in enumerate(zip(sequence, sequence[1:], strict=False)):
            rows.append((token, following, turn, i, asked if i == len(question) - 1 else 0))
        turn += 1
    rows += [(tokenizer.pad_token_id, -100, -1, 0, 0)] * (length - len(rows))
    return Turns(*np.array(rows).T)


def asked_of(scene: Scene, given: frozenset[str]) -> int:
    """What the first word of the answer tells: 1 + its index in `ATTRIBUTES`, or 9 for a place.

    0 where all objects of the scene share that word, so that it tells nothing of the look-up.
    """
    for i, name in enumerate(ATTRIBUTES):
        if name not in given:
            return 1 + i if len({getattr(thing, name) for thing in scene.things}) > 1 else 0
    return 9


class Conversations(Dataset):
    """Batch `step` of the training: drawn from the seed and the step alone."""

    def __init__(
        self, pool: ScenePool, features: np.ndarray, steps: int, seed: int, course: Course = FIRST
    ) -> None:
        self.pool, self.features, self.steps, self.seed, self.course = pool, features, steps, seed, course
        self.tokenizer = make_tokenizer()
        things = np.array([len(things) for things in pool.things])
        late = things * (things - 1) if course.crowded else np.ones(len(things))
        self.easy, self.late = ((chance / chance.sum()) for chance in (things <= 3, late))

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        progress = step / self.steps
        early, whole = progress < self.course.easy, progress >= self.course.whole
        count, chance = BATCH // 2 if whole else BATCH, self.easy if early else self.late
        scenes = np.sort(rng.choice(len(chance), count, replace=False, p=chance))
        kept = PATCHES if whole else KEPT
        seen = np.sort([rng.permutation(PATCHES)[:kept] for _ in scenes], axis=1)
        turns = [
            pack_turns(self.pool.scene(i), self.tokenizer, EARLY if early else self.course.styles, rng)
            for i in scenes.tolist()
        ]
        features = np.stack([self.features[i][patches] for i, patches in zip(scenes, seen, strict=True)])
        return {"features": torch.from_numpy(features), "seen": torch.from_numpy(seen), **_stacked(turns)}


class WholeConversations(Dataset):
    """Batches of whole pictures for the last stage, in which the tower learns too."""

    def __init__(self, pool: ScenePool, steps: int, seed: int) -> None:
        self.pool, self.steps, self.seed = pool, steps, seed
        self.tokenizer = make_tokenizer()

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        scenes = np.sort(rng.choice(len(self.pool.things), TOGETHER_BATCH, replace=False))
        turns = [
            pack_turns(self.pool.scene(i), self.tokenizer, LATE, rng, TOGETHER_TEXT) for i in scenes.tolist()
        ]
        return {"pixels": self.pool.pixels(scenes), **_stacked(turns)}


def _stacked(turns: list[Turns]) -> Batch:
    return {
        name: torch.from_numpy(np.stack([getattr(turn, name) for turn in turns]))
        for name in Turns.__annotations__
    }
