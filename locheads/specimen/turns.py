"""Turns about pictures, packed for training: an expression, and what it leaves open about its object.

Several turns share a picture: each sees the picture and itself, no other turn, and is numbered as if it came
first, which makes it the very sequence that is met at inference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from locheads.data.scenes.scenes import Scene
from locheads.model.prompts import SPECIMEN_SYSTEM
from locheads.specimen.jobs import Turn, turn_of
from locheads.specimen.tower import VISION, patch_count
from locheads.specimen.training import Batch, ScenePool
from locheads.specimen.vocabulary import make_tokenizer

PATCHES = patch_count(VISION)
BATCH = 16
TEXT = 96
"""Text tokens per picture: as many turns as fit."""
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
    jobs: tuple[float, ...] = (1.0, 0.0, 0.0, 0.0, 0.0)
    """Shares of asking, going on, counting, describing and reading."""
    deep: float = 1.0
    """When the sink has all of its strength."""


FIRST = Course(easy=0.15, whole=0.75, crowded=False, styles=LATE, rate=1.5e-3)
CROWDED = Course(easy=0.0, whole=0.9, crowded=True, styles=(0.5, 0.2, 0.2, 0.1), rate=1e-3)
DEEPER = replace(CROWDED, whole=0.7, crowded=False, rate=6e-4)
NARROW = replace(FIRST, styles=CROWDED.styles)
LONGER = replace(DEEPER, whole=0.9, styles=(0.6, 0.2, 0.15, 0.05), rate=8e-4)

BUSY = (0.62, 0.14, 0.08, 0.08, 0.08)
"""Shares of the jobs once localizing is one among many."""
RESTING = Course(
    easy=0.0,
    whole=1.0,
    crowded=False,
    styles=(0.55, 0.2, 0.17, 0.08),
    rate=1.2e-3,
    jobs=BUSY,
    deep=0.3,
)
WHOLE = replace(RESTING, whole=0.0, rate=7e-4, deep=0.0)
SYSTEM_SHOWN = 0.85
"""Share of pictures before which the system sentence stands."""


DrawTurn = Callable[..., Turn | None]
"""Draws a turn: `draw(scene, other, rng=rng)`, as `turn_of`; None where it finds none."""


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
    other: Scene,
    tokenizer: PreTrainedTokenizerFast,
    draw: DrawTurn,
    rng: np.random.Generator,
    length: int = TEXT,
) -> Turns:
    """Random turns on a scene (or, to be read, on another), as many as fit into `length` tokens."""
    rows: list[tuple[int, ...]] = []
    number = 0
    for _ in range(length):
        turn = draw(scene, other, rng=rng)
        if turn is None:
            continue
        question, reply = (tokenizer.convert_tokens_to_ids(t.split()) for t in (turn.question, turn.reply))
        sequence = [*question, *reply, tokenizer.eos_token_id]
        if len(rows) + len(sequence) - 1 > length:
            break
        for i, (token, following) in enumerate(zip(sequence, sequence[1:], strict=False)):
            rows.append((token, following, number, i, turn.asked if i == len(question) - 1 else 0))
        number += 1
    rows += [(tokenizer.pad_token_id, -100, -1, 0, 0)] * (length - len(rows))
    return Turns(*np.array(rows).T)


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

    def draw(self, early: bool) -> DrawTurn:
        """Returns what draws a turn while scenes are easy, or after."""
        return partial(turn_of, shares=EARLY if early else self.course.styles, jobs=self.course.jobs)

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        progress = step / self.steps
        early, whole = progress < self.course.easy, progress >= self.course.whole
        count, chance = BATCH // 2 if whole else BATCH, self.easy if early else self.late
        scenes = np.sort(rng.choice(len(chance), count, replace=False, p=chance))
        kept = PATCHES if whole else KEPT
        seen = np.sort([rng.permutation(PATCHES)[:kept] for _ in scenes], axis=1)
        turns = _turns(self.pool, scenes, self.tokenizer, self.draw(early), rng, TEXT)
        features = np.stack([self.features[i][patches] for i, patches in zip(scenes, seen, strict=True)])
        depth = min(1.0, progress / self.course.deep) if self.course.deep else 1.0
        return {
            "features": torch.from_numpy(features),
            "seen": torch.from_numpy(seen),
            "depth": torch.tensor(depth),
            **_system(count, self.tokenizer, rng),
            **_stacked(turns),
        }


class WholeConversations(Dataset):
    """Batches of whole pictures for the last stage, in which the tower learns too."""

    def __init__(
        self, pool: ScenePool, steps: int, seed: int, course: Course = FIRST, count: int = TOGETHER_BATCH
    ) -> None:
        self.pool, self.steps, self.seed, self.course, self.count = pool, steps, seed, course, count
        self.tokenizer = make_tokenizer()

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        rng = np.random.default_rng([self.seed, step])
        scenes = np.sort(rng.choice(len(self.pool.things), self.count, replace=False))
        draw = partial(turn_of, shares=self.course.styles, jobs=self.course.jobs)
        turns = _turns(self.pool, scenes, self.tokenizer, draw, rng, TOGETHER_TEXT)
        system = _system(self.count, self.tokenizer, rng)
        return {"pixels": self.pool.pixels(scenes), "depth": torch.tensor(1.0), **system, **_stacked(turns)}


def _turns(
    pool: ScenePool,
    scenes: np.ndarray,
    tokenizer: PreTrainedTokenizerFast,
    draw: DrawTurn,
    rng: np.random.Generator,
    length: int,
) -> list[Turns]:
    """Turns on each scene; the scene to be read about is any of the pool."""
    return [
        pack_turns(
            pool.scene(i),
            pool.scene(int(rng.integers(len(pool.things)))),
            tokenizer,
            draw,
            rng,
            length,
        )
        for i in scenes.tolist()
    ]


def _system(count: int, tokenizer: PreTrainedTokenizerFast, rng: np.random.Generator) -> Batch:
    """The system sentence's tokens, and before which pictures it stands."""
    ids = tokenizer.convert_tokens_to_ids(SPECIMEN_SYSTEM.split())
    shown = rng.random(count) < SYSTEM_SHOWN
    return {"system": torch.tensor(ids).expand(count, -1), "shown": torch.from_numpy(shown)}


def _stacked(turns: list[Turns]) -> Batch:
    return {
        name: torch.from_numpy(np.stack([getattr(turn, name) for turn in turns]))
        for name in Turns.__annotations__
    }
