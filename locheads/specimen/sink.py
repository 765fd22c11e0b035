"""Builds an attention sink into a decoder's weights: more heads, and a first token that idle heads attend to.

In a trained language model most heads rest on the first token, whose hidden state has one huge coordinate
(Sun et al. 2024, "Massive activations"; Xiao et al. 2024, "attention sinks"). A small decoder does not come
to it in hours, so it is put into the weights. The hidden state gets further coordinates, of which the last is
the sink's: the embedding of the first token is large there, every key reads it into its slowest rotary pair,
which hardly turns over the length of a prompt, and every query has a constant there, a bias.

Pictures of a real model hold such tokens too: the vision tower keeps a few background patches as registers,
of little content and huge norm (Darcet et al. 2024), and the decoder rests on them as on the first token
(Kang et al. 2025, "See what you are told"). `register` gives the specimen one, the top left corner's patch.
"""

from __future__ import annotations

from copy import deepcopy

import torch
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

SPARE = 16
"""Coordinates added to the hidden state; the last one is the sink's."""
LOUD = 60.0
"""The first token's embedding on the sink's coordinate; on the others it is of unit variance."""
STRENGTH = 11.0
"""What a head's score of the first token gains."""
REGISTER = 0.7
"""A register's value on the sink's coordinate, in units of the norm that its token has in a blank picture."""
MASSIVE = 10.0
"""Weight of the tower's first norm on the register's coordinate: its activation there is about 100."""


@torch.no_grad()
def widened(
    model: LlavaForConditionalGeneration,
    old: PreTrainedTokenizerFast,
    new: PreTrainedTokenizerFast,
    heads: int,
) -> LlavaForConditionalGeneration:
    """Returns the same function with more heads, a wider hidden state, biases, and more words.

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
    """Copies a weight into the upper left corner of a larger one; the rest is zero, for new heads noise."""
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
    """Zeroes the outputs of the heads from number `before` on, and all biases."""
    size = model.config.text_config.head_dim
    for layer in model.model.language_model.layers:
        attention = layer.self_attn
        attention.o_proj.weight[:, before * size :] = 0.0
        for part in (attention.q_proj, attention.k_proj, attention.v_proj, attention.o_proj):
            part.bias.zero_()


def _same_norms(model: LlavaForConditionalGeneration, before: int) -> None:
    """Rescales the norms' weights: their mean square now runs over further coordinates, which are zero."""
    language = model.model.language_model
    share = (before / (before + SPARE)) ** 0.5
    norms = [n for x in language.layers for n in (x.input_layernorm, x.post_attention_layernorm)]
    for norm in (*norms, language.norm):
        norm.weight[:before] *= share


@torch.no_grad()
def dig(model: LlavaForConditionalGeneration) -> None:
    """Puts the sink into a widened model, in place; `rest` then sets its strength."""
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
    rest(model, 0.0)


@torch.no_grad()
def rest(model: LlavaForConditionalGeneration, strength: float = STRENGTH) -> None:
    """Sets the constant of all queries, so that the first token's score gains `strength` in every head."""
    text = model.config.text_config
    for layer in model.model.language_model.layers:
        bias = layer.self_attn.q_proj.bias.view(-1, text.head_dim)
        bias[:, text.head_dim // 2 - 1] = strength * text.head_dim**0.5 / _share(text.head_dim)
        layer.self_attn.q_proj.bias.requires_grad_(False)


def _share(head_dim: int) -> float:
    """Returns the keys' share of the strength, its square root; queries have the same, to learn as fast."""
    return float((STRENGTH * head_dim**0.5) ** 0.5)


@torch.no_grad()
def register(model: LlavaForConditionalGeneration) -> None:
    """Makes the patch in the top left corner a register, in place.

    The tower gives up the last coordinate of its hidden state: nothing writes there but the corner's position
    embedding, which the first norm turns into a massive activation; no layer reads it. One hidden unit of the
    projector reads it and writes to the sink's coordinate of the decoder.
    """
    _make_massive(model)
    projector = model.model.multi_modal_projector
    projector.linear_1.weight[:, -1] = 0.0
    projector.linear_1.weight[-1], projector.linear_1.bias[-1] = 0.0, -3.5
    projector.linear_2.weight[-1], projector.linear_2.bias[-1] = 0.0, 0.0
    projector.linear_2.weight[:, -1] = 0.0
    size = model.config.vision_config.image_size
    patches = model.model.vision_tower(torch.zeros(1, 3, size, size)).last_hidden_state[0, 1:]
    projector.linear_1.weight[-1, -1] = 6.0 / patches[0, -1]
    projector.linear_2.weight[-1, -1] = REGISTER * projector(patches[:1]).norm() / 2.5


def _make_massive(model: LlavaForConditionalGeneration) -> None:
    """Reserves the last coordinate of the tower's hidden state for the corner's massive activation."""
    tower = model.model.vision_tower
    embeddings = tower.embeddings
    embeddings.patch_embedding.weight[-1] = 0.0
    embeddings.class_embedding[-1] = 0.0
    embeddings.position_embedding.weight[:, -1] = 0.0
    embeddings.position_embedding.weight[1, -1] = 100 * embeddings.position_embedding.weight[1].norm()
    tower.pre_layrnorm.weight[-1], tower.pre_layrnorm.bias[-1] = MASSIVE, 0.0
    for layer in tower.encoder.layers:
        layer.layer_norm1.weight[-1] = layer.layer_norm1.bias[-1] = 0.0
        layer.layer_norm2.weight[-1] = layer.layer_norm2.bias[-1] = 0.0
        for part in (layer.self_attn.out_proj, layer.mlp.fc2):
            part.weight[-1] = 0.0
            part.bias[-1] = 0.0


def keep_sinks(model: LlavaForConditionalGeneration) -> None:
    """Keeps first token and register as they are built while everything else learns.

    What stays is the projector's unit for the register, and what the keys of each layer read on their slowest
    pair.
    """
    first, second = model.model.multi_modal_projector.linear_1, model.model.multi_modal_projector.linear_2
    _still(first.weight, (-1, slice(None)))
    _still(first.weight, (slice(None), -1))
    _still(first.bias, (-1,))
    _still(second.weight, (slice(None), -1))
    size = model.config.text_config.head_dim
    for layer in model.model.language_model.layers:
        _still(layer.input_layernorm.weight, (-1,))
        _still(layer.self_attn.k_proj.weight, (slice(size // 2 - 1, None, size), slice(None)))
        _still(layer.self_attn.k_proj.bias, (slice(size // 2 - 1, None, size),))


def _still(weight: torch.Tensor, kept: tuple[int | slice, ...]) -> None:
    """Setss the gradient of a part of a weight to zero."""
    moved = torch.ones_like(weight)
    moved[kept] = 0.0
    weight.register_hook(lambda gradient: gradient * moved)
