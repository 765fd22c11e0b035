"""The last text token's attention over the image tokens, of every layer and head.

Layers and heads count from 0. The decoder's attention runs on torch's fused kernel as usual;
beside it, one row a head is computed exactly: the softmax of the query token's scores. No map of
all tokens by all tokens exists anywhere, and no class is patched: the function below is
registered with transformers' `AttentionInterface`, and a model loaded with
`attn_implementation={"text_config": ATTENTION}` calls it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import locheads._torchvision  # noqa: F401

import torch
from jaxtyping import Bool, Float
from PIL import Image
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from locheads.lvlm import Encoded, Lvlm

ATTENTION = "locheads"
"""Name under which transformers knows the attention below."""


def capture(
    lvlm: Lvlm, images: Sequence[Image.Image], expressions: Sequence[str]
) -> Float[torch.Tensor, "batch layer head row column"]:
    """Attention maps of all heads for a batch of images and expressions (paper, section 3.1).

    The query is the last token of the text. Values are softmax weights over the whole sequence, so
    a map's sum is the attention that the image as a whole gets.

    Raises:
        LocheadsError: From `Lvlm.encode`, for an expression that cannot be used.
    """
    encoded = lvlm.encode(images, expressions)
    with torch.inference_mode(), _recording(encoded) as rows:
        lvlm.model(**encoded.inputs, use_cache=False, logits_to_keep=1)
    maps = torch.stack([rows[layer] for layer in range(lvlm.layers)], dim=1)
    return maps.unflatten(-1, lvlm.grid)


@dataclass(frozen=True)
class _Recorder:
    """What to keep of each layer, and what was kept: `batch × head × image tokens`."""

    query: torch.Tensor
    image_tokens: torch.Tensor
    rows: dict[int, torch.Tensor] = field(default_factory=dict)


_recorder: ContextVar[_Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def _recording(encoded: Encoded) -> Iterator[dict[int, torch.Tensor]]:
    recorder = _Recorder(encoded.query, encoded.image_tokens)
    token = _recorder.set(recorder)
    try:
        yield recorder.rows
    finally:
        _recorder.reset(token)


def _attention(
    module: torch.nn.Module,
    query: Float[torch.Tensor, "batch head tokens dim"],
    key: Float[torch.Tensor, "batch group tokens dim"],
    value: Float[torch.Tensor, "batch group tokens dim"],
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Fused attention, and the recorder's rows where one listens."""
    recorder = _recorder.get()
    if recorder is not None:
        groups = query.shape[1] // key.shape[1]
        row = _query_row(
            query, repeat_kv(key, groups), attention_mask, scaling, recorder.query.to(query.device)
        )
        image = recorder.image_tokens.to(row.device)[:, None].expand(-1, row.shape[1], -1)
        recorder.rows[int(module.layer_idx)] = row.gather(-1, image)  # type: ignore[arg-type]
    return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **kwargs)


def _query_row(
    query: Float[torch.Tensor, "batch head tokens dim"],
    key: Float[torch.Tensor, "batch head tokens dim"],
    mask: torch.Tensor | None,
    scaling: float | None,
    position: torch.Tensor,
) -> Float[torch.Tensor, "batch head tokens"]:
    """Softmax over all keys of the query token alone, in single precision at least."""
    batch = torch.arange(len(query), device=query.device)
    one = query[batch, :, position].unsqueeze(2)
    scores = (one @ key.transpose(2, 3)).squeeze(2) * (
        query.shape[-1] ** -0.5 if scaling is None else scaling
    )
    scores = scores.float()
    if mask is None:
        seen = torch.arange(key.shape[2], device=key.device) <= position[:, None]
        return _masked(scores, seen[:, None]).softmax(-1)
    row = mask.expand(len(query), -1, -1, -1)[batch, :, position]
    return (_masked(scores, row) if row.dtype == torch.bool else scores + row).softmax(-1)


def _masked(
    scores: Float[torch.Tensor, "batch head tokens"], seen: Bool[torch.Tensor, "batch any tokens"]
) -> Float[torch.Tensor, "batch head tokens"]:
    return scores.masked_fill(~seen, -torch.inf)


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
