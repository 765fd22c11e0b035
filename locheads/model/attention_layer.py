"""Computes one layer's attention on the fused kernel and, beside it, records the query token's rows.

`attention` is what every decoder layer calls; `locheads.model.attention` says how recorded rows become maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from locheads.errors import LocheadsError

ATTENTION = "locheads"
"""The name under which `attention` is registered with transformers."""


class Enough(Exception):
    """Ends the forward pass once every wanted row has been recorded."""


@dataclass(frozen=True)
class Recorder:
    """Holds which rows to record, and the recorded ones by layer.

    Attributes:
        layers: The model's layer → its wanted heads in ascending order, or None for all heads of the layer.
        query: Position of the query token among the tokens of this pass, `batch`, or of several query tokens
            per text, `batch × query`; None: record nothing.
        image_tokens: Positions of the image tokens among the keys, `batch × cells` or `1 × cells`.
        rows: Layer → rows of shape `batch × head × cells`, or `batch × head × query × cells`.
    """

    layers: Mapping[int, list[int] | None]
    query: torch.Tensor | None
    image_tokens: torch.Tensor
    rows: dict[int, torch.Tensor] = field(default_factory=dict)


_recorder: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def listening(recorder: Recorder) -> Iterator[None]:
    """Makes `recorder` the active one within the block; other threads are not affected."""
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


@dataclass(frozen=True)
class Layer:
    """What a layer's attention has computed, and from what.

    Attributes:
        number: The model's own number of the layer.
        query, key, value: `batch × head × tokens × dim`; of keys and values, the heads of a group share one.
        mask: As transformers gives it: boolean or added to the scores; None: causal or none.
        scaling: Factor of the scores.
        causal: Whether, without a mask, tokens see only those before.
        outputs: `batch × tokens × head × dim`.
    """

    number: int
    query: torch.Tensor
    key: torch.Tensor
    value: torch.Tensor
    mask: torch.Tensor | None
    scaling: float
    causal: bool
    outputs: torch.Tensor

    def each(self, shared: torch.Tensor) -> torch.Tensor:
        """Returns keys or values repeated for every head of their group: `batch × head × keys × dim`."""
        return shared.repeat_interleave(self.query.shape[1] // shared.shape[1], 1)

    def attention(self) -> Float[torch.Tensor, "batch head tokens keys"]:
        """Computes the softmax weights of every token, in at least single precision."""
        scores = (self.query @ self.each(self.key).mT).float() * self.scaling
        if self.mask is not None and self.mask.dtype == torch.bool:
            scores = scores.masked_fill(~self.mask, -torch.inf)
        elif self.mask is not None:
            scores = scores + self.mask
        elif self.causal:
            tokens, keys = scores.shape[-2:]
            seen = torch.ones(tokens, keys, dtype=torch.bool, device=scores.device).tril(keys - tokens)
            scores = scores.masked_fill(~seen, -torch.inf)
        return scores.softmax(-1)


_after: ContextVar[Callable[[Layer], torch.Tensor] | None] = ContextVar("after", default=None)


@contextmanager
def after_attention(change: Callable[[Layer], torch.Tensor]) -> Iterator[None]:
    """Replaces every layer's outputs by those that `change` returns, within the block."""
    token = _after.set(change)
    try:
        yield
    finally:
        _after.reset(token)


def attention(
    module: torch.nn.Module,
    query: Float[torch.Tensor, "batch head tokens dim"],
    key: Float[torch.Tensor, "batch group keys dim"],
    value: Float[torch.Tensor, "batch group keys dim_out"],
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Computes a layer's attention on the fused kernel and, while a recorder is active, records its rows.

    Raises:
        LocheadsError: The layer changes its scores in a way that the recorded rows would miss.
        Enough: This was the deepest wanted layer.
    """
    for term in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(term) is not None:
            raise LocheadsError(
                f"layers of {type(module).__name__} change the scores ({term}), which is not captured"
            )
    number = int(module.layer_idx)  # type: ignore[arg-type]
    causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    recorder = _recorder.get()
    if recorder is not None:
        if recorder.query is not None and number in recorder.layers:
            recorder.rows[number] = _recorded(recorder, number, query, key, attention_mask, scale, causal)
        if number == max(recorder.layers):
            raise Enough
    outputs, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, is_causal=is_causal, **kwargs
    )
    change = _after.get()
    if change is not None:
        outputs = change(Layer(number, query, key, value, attention_mask, scale, causal, outputs))
    return outputs, None


def _recorded(
    recorder: Recorder,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    causal: bool,
) -> Float[torch.Tensor, "batch head *query cells"]:
    """Computes a layer's rows at the image tokens, of one query token per text or of several."""
    assert recorder.query is not None
    positions = recorder.query.to(query.device)  # batch, or batch × query
    if positions.ndim == 1:
        return _row(recorder, layer, query, key, mask, scaling, causal, positions)
    each = [_row(recorder, layer, query, key, mask, scaling, causal, position) for position in positions.T]
    return torch.stack(each, dim=2)


def _row(
    recorder: Recorder,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float,
    causal: bool,
    position: Int[torch.Tensor, " batch"],
) -> Float[torch.Tensor, "batch head cells"]:
    """Computes the rows of one query token per text: softmax over all keys, in at least single precision."""
    # The query token's vector in each text: batch × head × tokens × dim → batch × head × dim.
    batch = torch.arange(len(query), device=query.device)
    # Its scaled scores against all keys, for the wanted heads: batch × head × keys.
    scores = _scores(query[batch, :, position], key, recorder.layers[layer]).float() * scaling
    # Keys that the query token must not see get -inf: by the mask's row of the query token
    # (batch × 1 × keys; boolean, or added to the scores) or, without a mask, by causality.
    if mask is not None:
        seen = mask.expand(len(query), -1, -1, -1)[batch, :, position]
        scores = scores.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else scores + seen
    elif causal:
        last = position + (key.shape[2] - query.shape[2])  # keys of a cache come before this pass's tokens
        later = torch.arange(key.shape[2], device=query.device) > last[:, None]
        scores = scores.masked_fill(later[:, None], -torch.inf)
    row = scores.softmax(-1)  # batch × head × keys, sums to 1 over the keys
    # Keep the entries at the image tokens: batch × head × cells.
    image = recorder.image_tokens.to(row.device)[:, None].expand(*row.shape[:2], -1)
    return row.gather(-1, image)


def _scores(
    query: Float[torch.Tensor, "batch head dim"],
    key: Float[torch.Tensor, "batch group keys dim"],
    heads: Iterable[int] | None,
) -> Float[torch.Tensor, "batch some keys"]:
    """Computes one token's unscaled scores `query · key`, of all heads or of some.

    With grouped-query attention several heads share one key; the keys are not copied for each head.
    """
    each = query.shape[1] // key.shape[1]  # heads per group of shared keys
    if heads is None:
        # (batch × group × each × dim) @ (batch × group × dim × keys), then group and each become head
        return (query.unflatten(1, (-1, each)) @ key.mT).flatten(1, 2)
    # per head: (batch × 1 × dim) @ (batch × dim × keys) → batch × keys
    return torch.stack([(query[:, h, None] @ key[:, h // each].mT)[:, 0] for h in heads], dim=1)


AttentionInterface.register(ATTENTION, attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
