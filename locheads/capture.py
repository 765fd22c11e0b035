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
from jaxtyping import Float, Shaped
from PIL import Image
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from locheads.encoding import Encoded, Lvlm
from locheads.errors import LocheadsError

ATTENTION = "locheads"
"""Name under which transformers knows the attention below."""


def capture(
    lvlm: Lvlm, images: Sequence[Image.Image], expressions: Sequence[str]
) -> Float[torch.Tensor, "batch layer head row column"]:
    """Attention maps of all heads for a batch of images and expressions (paper, section 3.1).

    The query is the last token of the expression (or of the text, see `load_lvlm`). Values are softmax
    weights over the whole sequence, so a map's sum is the attention that the image, or its base view, gets.

    Raises:
        LocheadsError: From `Lvlm.encode`, for an expression that cannot be used; or the grids of the images
            differ (`capture_each` takes them).
    """
    maps = capture_each(lvlm, images, expressions)
    grids = sorted({f"{one.shape[-2]}×{one.shape[-1]}" for one in maps})
    if len(grids) > 1:
        raise LocheadsError(
            f"{lvlm.name}: the grid depends on the picture ({', '.join(grids)}) with fit 'own'; "
            "take fit 'pad' or 'stretch' for one grid"
        )
    return torch.stack(maps)


def capture_each(
    lvlm: Lvlm, images: Sequence[Image.Image], expressions: Sequence[str]
) -> list[Float[torch.Tensor, "layer head row column"]]:
    """As `capture`, one tensor an image, whose grids may differ."""
    encoded = lvlm.encode(images, expressions)
    try:
        with torch.inference_mode(), _recording(encoded) as rows:
            lvlm.model(**encoded.inputs, use_cache=False, logits_to_keep=1)
    except ValueError as error:
        raise LocheadsError(
            f"{lvlm.name}: processor and model do not belong together ({str(error).splitlines()[0]})"
        ) from error
    absent = set(range(lvlm.layers)) - set(rows)
    if absent:
        raise LocheadsError(f"{lvlm.name}: layer {min(absent)} has no softmax attention, so no maps")
    stacked = torch.stack([rows[layer].to(rows[0].device) for layer in range(lvlm.layers)], dim=1)
    return [
        maps[..., : rows * columns].unflatten(-1, (rows, columns))
        for maps, (rows, columns) in zip(stacked, encoded.grids, strict=True)
    ]


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
    value: Float[torch.Tensor, "batch group tokens dim_out"],
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Fused attention, and the recorder's rows where one listens."""
    for term in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(term) is not None:
            raise LocheadsError(
                f"layers of {type(module).__name__} change the scores ({term}), which is not captured"
            )
    recorder = _recorder.get()
    if recorder is not None:
        position = recorder.query.to(query.device)
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        seen = _mask_row(attention_mask, bool(causal), position, key.shape[2])
        row = _query_row(query, repeat_kv(key, query.shape[1] // key.shape[1]), seen, scaling, position)
        image = recorder.image_tokens.to(row.device)[:, None].expand(-1, row.shape[1], -1)
        recorder.rows[int(module.layer_idx)] = row.gather(-1, image)  # type: ignore[arg-type]
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, is_causal=is_causal, **kwargs
    )


def _mask_row(
    mask: torch.Tensor | None, causal: bool, position: torch.Tensor, tokens: int
) -> Shaped[torch.Tensor, "batch any tokens"]:
    """What the query token may see, from transformers' mask of the layer (causal, sliding or two-way)."""
    if mask is not None:
        batch = torch.arange(len(position), device=mask.device)
        return mask.expand(len(position), -1, -1, -1)[batch, :, position]
    last = position if causal else torch.full_like(position, tokens)
    return (torch.arange(tokens, device=position.device) <= last[:, None])[:, None]


def _query_row(
    query: Float[torch.Tensor, "batch head tokens dim"],
    key: Float[torch.Tensor, "batch head tokens dim"],
    seen: Shaped[torch.Tensor, "batch any tokens"],
    scaling: float | None,
    position: torch.Tensor,
) -> Float[torch.Tensor, "batch head tokens"]:
    """Softmax over all keys of the query token alone, in single precision at least.

    `seen` is boolean, or is added to the scores.
    """
    one = query[torch.arange(len(query), device=query.device), :, position].unsqueeze(2)
    scores = (one @ key.transpose(2, 3)).squeeze(2) * (
        query.shape[-1] ** -0.5 if scaling is None else scaling
    )
    scores = scores.float()
    return (scores.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else scores + seen).softmax(-1)


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
