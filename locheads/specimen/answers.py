"""Second stage: a decoder learns to say what an expression leaves open about its object.

The vision tower is frozen; projector and decoder see pictures and text alone. A turn is an
expression and its answer, "the red object on the left" → "ring striped small top left", so that
the expression's last token has to look the object up.
"""

from __future__ import annotations

import math
from copy import deepcopy
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm
from transformers import (
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
)

from locheads.data.scenes.expressions import ATTRIBUTES
from locheads.specimen.sink import STRENGTH, keep_sinks, rest
from locheads.specimen.tower import VISION
from locheads.specimen.training import Batch, ScenePool, train
from locheads.specimen.turns import (
    FIRST,
    PATCHES,
    TOGETHER_BATCH,
    Conversations,
    Course,
    WholeConversations,
)
from locheads.specimen.vocabulary import make_tokenizer

LAYERS = 12
"""Decoder layers in the end: eight that learn to answer, then four more on top of them."""


def make_model(
    tokenizer: PreTrainedTokenizerFast, width: int = 128, heads: int = 8
) -> LlavaForConditionalGeneration:
    """Builds a specimen with random weights: a LLaVA whose decoder has eight layers."""
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=8,
        num_attention_heads=heads,
        num_key_value_heads=heads,
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
    """Draws embeddings of unit variance and scales output projections by 1/4, so that words dominate."""
    language = model.model.language_model
    language.embed_tokens.weight.normal_()
    for layer in language.layers:
        layer.self_attn.o_proj.weight.mul_(0.25)
        layer.mlp.down_proj.weight.mul_(0.25)


@torch.no_grad()
def deepened(model: LlavaForConditionalGeneration, layers: int = LAYERS) -> LlavaForConditionalGeneration:
    """Adds decoder layers on top, with zero output projections: at first the function is the same."""
    config = deepcopy(model.config)
    config.text_config.num_hidden_layers = layers
    deeper = LlavaForConditionalGeneration(config)
    deeper.load_state_dict(model.state_dict(), strict=False)
    for layer in deeper.model.language_model.layers[model.config.text_config.num_hidden_layers :]:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    return deeper


def train_answers(
    pool: ScenePool, tower: CLIPVisionModel, steps: int, folder: Path, seed: int = 0, device: str = "cpu"
) -> tuple[LlavaForConditionalGeneration, list[dict[str, float]]]:
    """Trains projector and decoder on a frozen tower, or resumes; returns the model and its curve."""
    torch.manual_seed(seed)
    model = make_model(make_tokenizer())
    model.model.vision_tower.load_state_dict(tower.state_dict())
    checkpoint, features = folder / "answers.ckpt", folder / "finer.npy"
    return model, train_decoder(pool, model, FIRST, steps, checkpoint, features, seed, device)


def train_decoder(
    pool: ScenePool,
    model: LlavaForConditionalGeneration,
    course: Course,
    steps: int,
    checkpoint: Path,
    features: Path,
    seed: int,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Trains projector and decoder in place, the tower frozen, or resumes; returns the training curve.

    Args:
        pool: Scenes.
        model: Learns, but for its vision tower.
        course: What is shown when.
        steps: Of the optimiser.
        checkpoint: Written as training goes.
        features: Where the tower's features of all scenes are, or will be.
        seed: Of scenes and turns.
        device: Where the model learns.
    """
    seen = frozen_features(pool, model.model.vision_tower, features)
    model.to(device).requires_grad_(True)
    model.model.vision_tower.requires_grad_(False)
    if model.config.text_config.attention_bias:
        rest(model, 0.0)
    learners = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model, model.lm_head])
    model.model.language_model.compile(dynamic=False)
    batches = Conversations(pool, seen, steps, seed, course)
    loss, warm_up = partial(answer_loss, model), 200 if steps > 800 else 50
    return train(learners, batches, loss, course.rate, checkpoint, seed, device, warm_up, _rows_every(steps))


def train_together(
    pool: ScenePool,
    model: LlavaForConditionalGeneration,
    course: Course,
    steps: int,
    checkpoint: Path,
    seed: int,
    device: str = "cpu",
    count: int = TOGETHER_BATCH,
    registered: bool = False,
) -> list[dict[str, float]]:
    """Trains on whole pictures, in place, or resumes; returns the training curve.

    Tower, projector and decoder learn together; in a model with a register (`registered`) the tower and
    the sinks stay as they are.
    """
    model.to(device).requires_grad_(True)
    if registered:
        model.model.vision_tower.requires_grad_(False)
        keep_sinks(model)
    if model.config.text_config.attention_bias:
        rest(model)
    model.model.vision_tower.compile(dynamic=False)
    model.model.language_model.compile(dynamic=False)
    loss = partial(together_loss, model)
    batches = WholeConversations(pool, steps, seed, course, count)
    return train(model, batches, loss, course.rate, checkpoint, seed, device, 50, _rows_every(steps))


def _rows_every(steps: int) -> int:
    """Steps between two rows of a training curve: ten rows at least, 100 steps at most."""
    return max(1, min(100, steps // 10))


@torch.inference_mode()
def frozen_features(pool: ScenePool, tower: CLIPVisionModel, path: Path) -> np.ndarray:
    """Computes the patch features of all scenes, `scenes × patches × width`, half precision, on disk."""
    if not path.exists():
        shape = (len(pool.things), PATCHES, VISION.hidden_size)
        store = np.lib.format.open_memmap(path.with_suffix(".part"), "w+", np.float16, shape)
        for chunk in tqdm(np.array_split(np.arange(len(store)), len(store) // 64 + 1), "features"):
            store[chunk] = tower(pool.pixels(chunk)).last_hidden_state[:, 1:].numpy()
        store.flush()
        path.with_suffix(".part").rename(path)
    return np.load(path, mmap_mode="r")


def turn_mask(
    turn: torch.Tensor, visible: int, system: int = 0, shown: torch.Tensor | None = None
) -> torch.Tensor:
    """Builds the attention mask, `batch × 1 × tokens × tokens`: True where a row's token sees a column's.

    Args:
        turn: Which turn a text token is of, `batch × text`.
        visible: Leading tokens that all turns see: the first, the system sentence, the picture.
        system: How many of them are the system sentence.
        shown: Of which pictures it is seen; None: of all.
    """
    length = visible + turn.shape[1]
    mask = torch.ones(len(turn), length, length, dtype=torch.bool, device=turn.device).tril()
    mask[:, visible:, visible:] &= turn[:, :, None] == turn[:, None]
    if shown is not None and system:
        mask[:, 1 + system :, 1 : 1 + system] &= shown[:, None, None]
    return mask[:, None]


def answer_logits(model: LlavaForConditionalGeneration, batch: Batch, places: int = PATCHES) -> torch.Tensor:
    """Computes the logits at every text position that has a label, `labels × vocabulary`.

    A picture's tokens stand at the positions `batch["seen"]`; the text follows after `places` of them.
    """
    core, turn, system = model.model, batch["turn"], batch["system"]
    embed = core.language_model.embed_tokens
    # Embeddings of the sequence (first token, system sentence, picture, text): batch × tokens × width.
    start = torch.full((len(turn), 1), model.config.text_config.bos_token_id, device=turn.device)
    picture = core.multi_modal_projector(batch["features"].float())
    embeddings = torch.cat([embed(start), embed(system), picture, embed(batch["tokens"])], 1)
    # Positions: the picture's tokens at `seen`, each turn's text as if it came right after the whole picture;
    # without the system sentence both begin that much earlier.
    before = 1 + system.shape[1]
    visible = before + picture.shape[1]
    moved = 1 + batch["shown"][:, None] * system.shape[1]
    first = torch.arange(before, device=turn.device).expand(len(turn), -1)
    positions = torch.cat([first, batch["seen"] + moved, batch["offset"] + places + moved], 1)
    # Hidden states, of which those at labelled positions of the text give logits.
    hidden = core.language_model(
        inputs_embeds=embeddings,
        position_ids=positions,
        attention_mask=turn_mask(turn, visible, before - 1, batch["shown"]),
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden[:, visible:][batch["labels"] != -100])


def answer_loss(
    model: LlavaForConditionalGeneration, batch: Batch, places: int = PATCHES
) -> tuple[torch.Tensor, dict[str, float]]:
    """Computes the answers' cross-entropy (first token weighted 3) and the accuracies of that token."""
    if model.config.text_config.attention_bias:
        few = math.log(batch["seen"].shape[1] / PATCHES)
        rest(model, batch["depth"].item() * (STRENGTH + few))
    asked, labels = (batch[name][batch["labels"] != -100] for name in ("asked", "labels"))
    logits = answer_logits(model, batch, places)
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
