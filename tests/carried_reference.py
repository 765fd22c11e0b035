"""Maps carried back, computed anew: eager attention of the whole model, and looks as an absorbing chain."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import signature
from typing import Any

import torch
from transformers import PreTrainedModel


def expected_maps(
    eager: PreTrainedModel, inputs: dict[str, torch.Tensor], rows: torch.Tensor
) -> torch.Tensor:
    """Rows over the visual tokens, `batch × layer × head × tokens`, as maps over patches in raster order."""
    with torch.no_grad():
        held = (
            _perceiver(eager, inputs)
            if hasattr(eager.config, "perceiver_config")
            else _q_former(eager, inputs)
        )
    return torch.einsum("blht,btp->blhp", rows.double(), held).float()


def _q_former(eager: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Scores from the projections of what reaches each attention; the mask hides the padding of the words."""
    qformer = getattr(eager, "model", eager).qformer
    chain = []
    for module, asked in _given(eager, inputs, [m for m in qformer.modules() if hasattr(m, "all_head_size")]):
        states, seen = asked["hidden_states"], asked.get("encoder_hidden_states")
        queries, keys = module.query(states), module.key(states if seen is None else seen)
        mask = asked.get("attention_mask") if seen is None else None
        hidden = 0.0 if mask is None else mask.double()[:, 0]
        total = torch.zeros(*queries.shape[:2], keys.shape[1], dtype=torch.double)
        size, heads = module.attention_head_size, module.num_attention_heads
        for q, k in zip(queries.double().split(size, -1), keys.double().split(size, -1), strict=True):
            total += (q @ k.mT / size**0.5 + hidden).softmax(-1) / heads
        chain.append((total, None) if seen is None else (None, total))
    shares = _absorbed(chain, eager.config.num_query_tokens)
    return shares[..., 1:] + shares[..., :1] / (shares.shape[-1] - 1)  # the class token stands for no place


def _given(
    eager: PreTrainedModel, inputs: dict[str, torch.Tensor], modules: Sequence[torch.nn.Module]
) -> list[tuple[Any, dict[str, Any]]]:
    """Modules in the order in which they are called, with what they are given, by name."""
    given: list[tuple[Any, dict[str, Any]]] = []
    hooks = [
        module.register_forward_pre_hook(
            lambda m, a, k: given.append((m, signature(m.forward).bind(*a, **k).arguments)), with_kwargs=True
        )
        for module in modules
    ]
    eager(**inputs)
    for hook in hooks:
        hook.remove()
    return given


def _perceiver(eager: PreTrainedModel, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """Scores from the layers' own projections of what reaches them."""
    layers = eager.model.connector.perceiver_resampler.layers
    chain = []
    for module, asked in _given(eager, inputs, [layer.self_attn for layer in layers]):
        latents, context = asked["latents"].double(), asked["context"].double()
        keys = torch.cat([context, latents], 1) @ module.k_proj.weight.double().T
        heads, groups, size = module.num_heads, module.num_key_value_heads, module.head_dim
        total = torch.zeros(len(latents), latents.shape[1], keys.shape[1], dtype=torch.double)
        for head in range(heads):
            w = module.q_proj.weight.double()[head * size : (head + 1) * size]
            group = head // (heads // groups)
            k = keys[..., group * size : (group + 1) * size]
            total += (latents @ w.T @ k.mT / size**0.5).softmax(-1) / heads
        patches = context.shape[1]
        chain.append((total[..., patches:], total[..., :patches]))
    return _absorbed(chain, latents.shape[1])


def _absorbed(chain: Sequence[tuple[torch.Tensor | None, torch.Tensor | None]], tokens: int) -> torch.Tensor:
    """Where a walk ends that goes back through the looks: at each it stays by half; patches absorb."""
    states = max(own.shape[-1] for own, _ in chain if own is not None)
    batch, patches = next((seen.shape[0], seen.shape[-1]) for _, seen in chain if seen is not None)
    walk = torch.eye(states + patches, dtype=torch.double).repeat(batch, 1, 1)
    for own, seen in chain:
        step = torch.eye(states + patches, dtype=torch.double).repeat(batch, 1, 1)
        moving = states if seen is None else tokens
        step[:, :moving, :states] /= 2
        if own is not None:
            step[:, :moving, :states] += own / 2
        if seen is not None:
            step[:, :tokens, states:] += seen / 2
        walk = step @ walk
    ended = walk[:, :tokens, states:]
    return ended / ended.sum(-1, keepdim=True)
