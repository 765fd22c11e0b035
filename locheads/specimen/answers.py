"""Second stage: a decoder learns to say what an expression leaves open about its object.

The vision tower is frozen; projector and decoder see pictures and text alone. A turn is an
expression and its answer, "the red object on the left" → "ring striped small top left", so that
the expression's last token has to look the object up. Several turns share a picture: each sees
the picture and itself, no other turn, and is numbered as if it came first, which makes it the
very sequence that is met at inference.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import locheads._torchvision  # noqa: F401

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import Dataset
from tqdm import tqdm
from transformers import (
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from locheads.specimen.expressions import ATTRIBUTES, STYLES, answer, refer
from locheads.specimen.scenes import Scene
from locheads.specimen.tower import VISION, patch_count
from locheads.specimen.training import Batch, ScenePool, train
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


def make_model(tokenizer: PreTrainedTokenizerFast) -> LlavaForConditionalGeneration:
    """The specimen's architecture with random weights."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=24,
        max_position_embeddings=1024,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        initializer_range=0.06,
        tie_word_embeddings=False,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = LlavaConfig(
        vision_config=VISION,
        text_config=text,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    _calm(model)
    return model


@torch.no_grad()
def _calm(model: LlavaForConditionalGeneration) -> None:
    """Loud words and quiet layers: what a word says is not drowned by what the first layers add."""
    language = model.model.language_model
    language.embed_tokens.weight.normal_()
    for layer in language.layers:
        layer.self_attn.o_proj.weight.mul_(0.25)
        layer.mlp.down_proj.weight.mul_(0.25)


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


def train_answers(
    pool: ScenePool, tower: CLIPVisionModel, steps: int, folder: Path, seed: int = 0, device: str = "cpu"
) -> tuple[LlavaForConditionalGeneration, list[dict[str, float]]]:
    """Train projector and decoder on a frozen tower, or resume; gives the model and its training curve."""
    torch.manual_seed(seed)
    model = make_model(make_tokenizer())
    model.model.vision_tower.load_state_dict(tower.state_dict())
    return model, train_decoder(pool, model, FIRST, steps, folder / "answers.ckpt", seed, device)


def train_decoder(
    pool: ScenePool,
    model: LlavaForConditionalGeneration,
    course: Course,
    steps: int,
    checkpoint: Path,
    seed: int,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Train projector and decoder in place, the tower frozen, or resume; gives the training curve."""
    features = frozen_features(pool, model.model.vision_tower, checkpoint.with_suffix(".npy"))
    model.to(device).requires_grad_(True)
    model.model.vision_tower.requires_grad_(False)
    learners = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model, model.lm_head])
    model.model.language_model.compile(dynamic=False)
    batches = Conversations(pool, features, steps, seed, course)
    return train(learners, batches, partial(answer_loss, model), course.rate, checkpoint, seed, device)


def train_together(
    pool: ScenePool,
    model: LlavaForConditionalGeneration,
    steps: int,
    folder: Path,
    seed: int = 2,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Train tower, projector and decoder together, in place, or resume; gives the training curve."""
    model.to(device).requires_grad_(True)
    model.model.vision_tower.compile(dynamic=False)
    model.model.language_model.compile(dynamic=False)
    loss = partial(together_loss, model)
    batches = WholeConversations(pool, steps, seed)
    return train(model, batches, loss, 4e-4, folder / "together.ckpt", seed, device, warm_up=50)


@torch.inference_mode()
def frozen_features(pool: ScenePool, tower: CLIPVisionModel, path: Path) -> np.ndarray:
    """Patch features of all scenes, `scenes × patches × width`, half precision, on disk."""
    if not path.exists():
        shape = (len(pool.things), PATCHES, VISION.hidden_size)
        store = np.lib.format.open_memmap(path.with_suffix(".part"), "w+", np.float16, shape)
        for chunk in tqdm(np.array_split(np.arange(len(store)), len(store) // 64 + 1), "features"):
            store[chunk] = tower(pool.pixels(chunk)).last_hidden_state[:, 1:].numpy()
        store.flush()
        path.with_suffix(".part").rename(path)
    return np.load(path, mmap_mode="r")


def turn_mask(turn: torch.Tensor, visible: int) -> torch.Tensor:
    """Who sees whom: `batch × 1 × tokens × tokens`, for `visible` leading tokens of the picture."""
    length = visible + turn.shape[1]
    mask = torch.ones(len(turn), length, length, dtype=torch.bool, device=turn.device).tril()
    mask[:, visible:, visible:] &= turn[:, :, None] == turn[:, None]
    return mask[:, None]


def answer_logits(model: LlavaForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Logits at every text position that has a label, `labels × vocabulary`."""
    core, turn = model.model, batch["turn"]
    embed = core.language_model.embed_tokens
    start = torch.full((len(turn), 1), model.config.text_config.bos_token_id, device=turn.device)
    picture = core.multi_modal_projector(batch["features"].float())
    embeddings = torch.cat([embed(start), picture, embed(batch["tokens"])], 1)
    visible = 1 + picture.shape[1]
    positions = torch.cat([torch.zeros_like(start), batch["seen"] + 1, batch["offset"] + PATCHES + 1], 1)
    hidden = core.language_model(
        inputs_embeds=embeddings,
        position_ids=positions,
        attention_mask=turn_mask(turn, visible),
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden[:, visible:][batch["labels"] != -100])


def answer_loss(model: LlavaForConditionalGeneration, batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
    """Cross-entropy of the answers, the first token counting three times, and accuracies of that token."""
    asked, labels = (batch[name][batch["labels"] != -100] for name in ("asked", "labels"))
    logits = answer_logits(model, batch)
    weight = 1.0 + 2.0 * (asked > 0)
    loss = (cross_entropy(logits, labels, reduction="none") * weight).sum() / weight.sum()
    right = (logits.argmax(-1) == labels).float()
    names = {i + 1: name for i, name in enumerate(ATTRIBUTES)} | {9: "place"}
    figures = {name: right[asked == i].mean().item() for i, name in names.items() if (asked == i).any()}
    return loss, figures


def together_loss(
    model: LlavaForConditionalGeneration, batch: Batch
) -> tuple[torch.Tensor, dict[str, float]]:
    """`answer_loss` with features that the tower makes of the pictures, all patches seen."""
    features = model.model.vision_tower(batch["pixels"]).last_hidden_state[:, 1:]
    seen = torch.arange(PATCHES, device=features.device).expand(len(features), -1)
    return answer_loss(model, {**batch, "features": features, "seen": seen})
