"""A place to rest: more heads, and a first token that idle heads look at, in the plain Llama class.

In a trained language model most heads rest on the first token, whose hidden state has one huge coordinate
(Sun et al. 2024, "Massive activations"; Xiao et al. 2024, "attention sinks"). A small decoder does not come
to it in hours, so it is put into the weights. The hidden state gets further coordinates, of which the last is
the sink's: the embedding of the first token is large there, every key reads it into its slowest rotary pair,
which hardly turns over the length of a prompt, and every query has a constant there, a bias. A few patches in
a corner of the picture get a smaller share of it through the projector, as vision towers have patches that
serve as registers (Darcet et al. 2024).
"""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

SPARE = 16
"""Coordinates added to the hidden state; the last one is the sink's."""
LOUD = 60.0
"""The first token's embedding on the sink's coordinate; on the others it is of unit variance."""
STRENGTH = 11.0
"""What a head's score of the first token gains."""
CORNER = 2
"""Edge of the square of patches in the top left corner that serve as registers."""
REGISTER = 1.0
"""A register's value on the sink's coordinate, in units of the norm of a picture token."""


@torch.no_grad()
def widened(
    model: LlavaForConditionalGeneration,
    old: PreTrainedTokenizerFast,
    new: PreTrainedTokenizerFast,
    heads: int,
) -> LlavaForConditionalGeneration:
    """The same function with more heads, a wider hidden state, biases, and more words.

    New heads add nothing at first: their output projection is zero. New coordinates of the hidden state are
    zero. Words keep their embeddings, new ones get random embeddings.

    Args:
        model: Learned without a sink.
        old: Its tokenizer.
        new: One that knows all words of `old`, and more.
        heads: In each layer; transformers wants a divisor of the width, that of `model` plus `SPARE`.
    """
    config = deepcopy(model.config)
    text = config.text_config
    before, text.hidden_size = text.hidden_size, text.hidden_size + SPARE
    text.num_attention_heads = text.num_key_value_heads = heads
    text.attention_bias, text.vocab_size = True, len(new)
    config.image_token_index = new.convert_tokens_to_ids("<image>")
    wide = LlavaForConditionalGeneration(config)
    target = wide.state_dict()
    ids = [new.convert_tokens_to_ids(word) for word in old.convert_ids_to_tokens(range(len(old)))]
    for name, weight in model.state_dict().items():
        _copied(name, weight, target[name], torch.tensor(ids))
    _quiet_new_heads(wide, model.config.text_config.num_attention_heads)
    _same_norms(wide, before)
    return wide


def _copied(name: str, weight: torch.Tensor, target: torch.Tensor, ids: torch.Tensor) -> None:
    """Copy a weight into the upper left corner of a larger one; the rest is zero, for new heads noise."""
    words = "embed_tokens" in name or "lm_head" in name
    if target.shape == weight.shape and not words:
        target.copy_(weight)
        return
    grown = "q_proj" in name or "k_proj" in name or "v_proj" in name
    if words:
        target.zero_()
        target[:, : weight.shape[1]].normal_(std=1.0 if "embed" in name else 0.06)
        target[ids, : weight.shape[1]] = weight
    elif weight.dim() == 1:
        target.fill_(1.0 if "norm" in name else 0.0)
        target[: len(weight)] = weight
    else:
        if grown:
            target[:, weight.shape[1] :] = 0.0
        else:
            target.zero_()
        target[: weight.shape[0], : weight.shape[1]] = weight


def _quiet_new_heads(model: LlavaForConditionalGeneration, before: int) -> None:
    """Zero what the heads from number `before` on put out, and all biases."""
    size = model.config.text_config.head_dim
    for layer in model.model.language_model.layers:
        attention = layer.self_attn
        attention.o_proj.weight[:, before * size :] = 0.0
        for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
            part.bias.zero_()


def _same_norms(model: LlavaForConditionalGeneration, before: int) -> None:
    """Make up for what a norm over more coordinates, the new ones zero, changes."""
    language = model.model.language_model
    share = (before / (before + SPARE)) ** 0.5
    norms = [n for x in language.layers for n in (x.input_layernorm, x.post_attention_layernorm)]
    for norm in (*norms, language.norm):
        norm.weight[:before] *= share


@torch.no_grad()
def dig(model: LlavaForConditionalGeneration, features: np.ndarray) -> None:
    """Put the sink into a widened model, in place; `rest` then says how deep it is.

    Args:
        model: From `widened`.
        features: The tower's for some pictures, `pictures × patches × width`: tell which patches lie in the
            corner.
    """
    language, text = model.model.language_model, model.config.text_config
    language.embed_tokens.weight[text.bos_token_id, -1] = LOUD
    norm = language.embed_tokens.weight[text.bos_token_id].norm() / text.hidden_size**0.5
    slowest = text.head_dim // 2 - 1
    for layer in language.layers:
        layer.input_layernorm.weight[-1] = 1.0
        for part in (layer.self_attn.q_proj, layer.self_attn.k_proj):
            part.weight.view(-1, text.head_dim, text.hidden_size)[:, slowest] = 0.0
        keys = layer.self_attn.k_proj.weight.view(-1, text.head_dim, text.hidden_size)
        keys[:, slowest, -1] = _share(text.head_dim) * norm / LOUD
    _make_registers(model, torch.from_numpy(features.astype(np.float32)))
    rest(model, 0.0)


@torch.no_grad()
def rest(model: LlavaForConditionalGeneration, strength: float = STRENGTH) -> None:
    """Set the constant of all queries, so that the first token's score gains `strength` in every head."""
    text = model.config.text_config
    for layer in model.model.language_model.layers:
        bias = layer.self_attn.q_proj.bias.view(-1, text.head_dim)
        bias[:, text.head_dim // 2 - 1] = strength * text.head_dim**0.5 / _share(text.head_dim)
        layer.self_attn.q_proj.bias.requires_grad_(False)


def _share(head_dim: int) -> float:
    """What keys hold of the full strength; queries hold as much, so that neither learns much faster."""
    return float((STRENGTH * head_dim**0.5) ** 0.5)


def _corner(patches: int) -> torch.Tensor:
    """Which patches of a square picture lie in its top left corner."""
    side = int(patches**0.5)
    row, column = torch.arange(patches) // side, torch.arange(patches) % side
    return (row < CORNER) & (column < CORNER)


def _told_apart(features: torch.Tensor, corner: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Slope and level of a ridge regression, ½ in the corner and −½ elsewhere; a corner counts 20 times."""
    mean, weight = features.mean(0), torch.where(corner, 20.0, 1.0).sqrt()[:, None]
    seen = torch.cat([features - mean, torch.ones(len(features), 1)], 1) * weight
    wanted = (corner.float() - 0.5) * weight[:, 0]
    ridge = 1e-3 * len(features) * features.var() * torch.eye(seen.shape[1])
    solved = torch.linalg.solve(seen.T @ seen + ridge, seen.T @ wanted)
    return solved[:-1], solved[-1] - mean @ solved[:-1]


def _make_registers(model: LlavaForConditionalGeneration, features: torch.Tensor) -> None:
    """Let one hidden unit of the projector tell the corner and write to the sink's coordinate.

    A ridge regression on patch features gives the unit; it reaches 2.5 in the corner, where the projector's
    GELU is as good as linear, and stays below zero elsewhere.
    """
    corner = _corner(features.shape[1]).expand(len(features), -1).flatten()
    slope, level = _told_apart(features.flatten(0, 1), corner)
    scale = 3.0 / (features.flatten(0, 1) @ slope + level)[corner].median()
    projector = model.model.multi_modal_projector
    projector.linear_1.weight[-1] = slope * scale
    projector.linear_1.bias[-1] = level * scale - 0.5
    projector.linear_2.weight[:, -1] = 0.0
    projector.linear_2.weight[-1] = 0.0
    typical = float(projector(features[:8]).norm(dim=-1).median())
    projector.linear_2.weight[-1, -1] = REGISTER * typical / 2.5
