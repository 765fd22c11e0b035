"""Captures the query token's attention to the image tokens, for every layer and head.

The path of one row:

1. `_attention` is registered with transformers' `AttentionInterface` under the name `ATTENTION`. No class is
   patched: a model loaded with `attn_implementation={"text_config": ATTENTION}` calls the function.
2. Every decoder layer calls it with its queries, keys and values. The layer's output comes from torch's fused
   kernel as usual, and no `tokens × tokens` attention matrix is ever stored.
3. Beside the kernel, `_recorded` computes one row per head that is kept: the softmax of the query token's
   scores over all keys, of which the entries at the image tokens are stored (`batch × head × cells`; with
   several query tokens per text, `batch × head × query × cells`).
4. The pass ends as soon as the deepest layer with a wanted head has given its rows (`_Enough`): with only
   some heads wanted it ends early, and the layers above and the vocabulary projection are never computed.
5. `Wanted.stack` joins the rows of all layers, and `Carrier.maps` folds the cells into `row × column` maps,
   or carries them back to patches where the model's projector has pooled them.

Layers and heads count from 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from locheads.errors import LocheadsError
from locheads.method.selection import check_heads
from locheads.model.carrier import Carrier
from locheads.model.lvlm import Lvlm

ATTENTION = "locheads"
"""The name under which `_attention` is registered with transformers."""

Heads = Sequence[tuple[int, int]]
"""Heads as pairs `(layer, head)`, both counted from 0."""


def capture(
    lvlm: Lvlm, images: Sequence[Image.Image], expressions: Sequence[str], heads: Heads | None = None
) -> Float[torch.Tensor, "batch *heads row column"]:
    """Captures the attention maps of a batch of images and expressions (paper, section 3.1).

    The query is the expression's period (or another token, see `load_lvlm`). Values are softmax
    weights over the whole sequence, so the sum of a map is the attention sum of the image (or its base view).

    Args:
        lvlm: The frozen model.
        images: One image per expression.
        expressions: The referring expressions.
        heads: The heads to capture; the model runs no further than the deepest of them. None: all heads.

    Returns:
        Maps of shape `batch × layer × head × row × column`; with `heads` given, `batch × head × row × column`
        in the order of `heads`.

    Raises:
        LocheadsError: `Lvlm.encode` refuses an expression, a head does not exist, or the grids of the images
            differ (use `capture_each` then).

    Examples:
        One map of the specimen, of layer 3, head 0:

        >>> from locheads.model.loading import load_lvlm
        >>> scene = Image.new("RGB", (96, 96), "white")
        >>> maps = capture(load_lvlm("specimen"), [scene], ["the red ring"], heads=[(3, 0)])
        >>> tuple(maps.shape)
        (1, 1, 24, 24)
        >>> bool(0 <= maps.min() and maps.sum() < 1)
        True
    """
    maps = capture_each(lvlm, images, expressions, heads)
    grids = sorted({f"{one.shape[-2]}×{one.shape[-1]}" for one in maps})
    if len(grids) > 1:
        raise LocheadsError(
            f"{lvlm.name}: the grid depends on the picture ({', '.join(grids)}) with fit 'own'; "
            "take fit 'pad' or 'stretch' for one grid"
        )
    return torch.stack(maps)


def capture_each(
    lvlm: Lvlm, images: Sequence[Image.Image], expressions: Sequence[str], heads: Heads | None = None
) -> list[Float[torch.Tensor, "*heads row column"]]:
    """Captures maps as `capture` does, but returns one tensor per image, so that grids may differ.

    Examples:
        >>> from locheads.model.loading import load_lvlm
        >>> scene = Image.new("RGB", (96, 96), "white")
        >>> [tuple(maps.shape) for maps in capture_each(load_lvlm("specimen"), [scene], ["the red ring"])]
        [(12, 16, 24, 24)]
    """
    wanted = Wanted.of(lvlm, heads)
    encoded = lvlm.encode(images, expressions)
    inputs = dict(encoded.inputs)
    if lvlm.family and lvlm.family.sees == "before":
        # Padding is on the right, where causal attention never looks: no mask, so the fastest kernel can run.
        inputs.pop("attention_mask")
    with Carrier(lvlm) as carrier:
        rows = forward(lvlm, inputs, wanted, encoded.query, encoded.image_tokens)
    return carrier.maps(wanted.stack(lvlm, rows), encoded.grids)


def on_host(maps: Sequence[Float[torch.Tensor, "*heads row column"]]) -> list[torch.Tensor]:
    """Copies maps to main memory in single precision, waiting once per CUDA device instead of per tensor.

    Examples:
        >>> on_host([torch.tensor([[0.25, 0.5]], dtype=torch.float16)])
        [tensor([[0.2500, 0.5000]])]
    """
    ready = [one.float() for one in maps]
    if not any(one.is_cuda for one in ready):
        return [one.cpu() for one in ready]
    host = [torch.empty(one.shape, pin_memory=True).copy_(one, non_blocking=True) for one in ready]
    for device in {one.device for one in ready}:
        torch.cuda.synchronize(device)
    return host


@dataclass(frozen=True)
class Wanted:
    """The heads to capture.

    Attributes:
        layers: The model's layer → its wanted heads in ascending order, or None for all heads of the layer.
        order: The heads in the order asked for, or None when all heads are wanted. Their layers, too, are the
            model's, which counts layers without softmax attention (`Lvlm.attending`).
    """

    layers: Mapping[int, list[int] | None]
    order: Heads | None

    @classmethod
    def of(cls, lvlm: Lvlm, heads: Heads | None) -> Wanted:
        """Groups the heads by layer; `heads` None means all heads of the model.

        Raises:
            LocheadsError: `heads` is empty, or one of them does not exist.
        """
        if heads is None:
            return cls(dict.fromkeys(lvlm.attending), None)
        check_heads(heads, lvlm.layers, lvlm.heads, lvlm.name)
        if not heads:
            raise LocheadsError("no heads are asked for; give at least one (layer, head)")
        order = tuple((lvlm.attending[layer], head) for layer, head in heads)
        layers = {layer: sorted({h for of, h in order if of == layer}) for layer, _ in order}
        return cls(layers, order)

    @property
    def deepest(self) -> int:
        """Returns the deepest layer with a wanted head, after which the forward pass may end."""
        return max(self.layers)

    def stack(
        self, lvlm: Lvlm, rows: Mapping[int, torch.Tensor]
    ) -> Float[torch.Tensor, "batch *heads cells"]:
        """Stacks the rows of all layers into one tensor on one device; several queries are one of `heads`.

        Raises:
            LocheadsError: A wanted layer recorded no rows.
        """
        absent = set(self.layers) - set(rows)
        if absent:
            raise LocheadsError(f"{lvlm.name}: layer {min(absent)} does not run on the capturing attention")
        device = rows[self.deepest].device
        if self.order is None:  # all heads: batch × layer × head × cells
            return torch.stack([rows[layer].to(device) for layer in sorted(self.layers)], dim=1)
        # some heads: pick one row per head, batch × cells each, and stack them in the order asked for
        picked = [rows[layer][:, (self.layers[layer] or []).index(head)] for layer, head in self.order]
        return torch.stack([row.to(device) for row in picked], dim=1)


def forward(
    lvlm: Lvlm,
    inputs: Mapping[str, Any],
    wanted: Wanted,
    query: torch.Tensor | None,
    image_tokens: torch.Tensor,
) -> dict[int, torch.Tensor]:
    """Runs the model up to the deepest wanted layer and records the rows of the wanted heads.

    Args:
        lvlm: The model.
        inputs: Keyword arguments of its forward pass.
        wanted: The heads whose rows are recorded.
        query: Position of the query token among the tokens of this pass, `batch`, or of several query tokens
            per text, `batch × query`; None: record nothing.
        image_tokens: Positions of the image tokens among the keys, `batch × cells` or `1 × cells`.

    The vocabulary projection is never reached, so nothing is asked of it: with `logits_to_keep` some models
    (Gemma 4) leave all but the last tokens out of their upper layers.

    Returns:
        Layer → rows of shape `batch × head × cells`, or `batch × head × query × cells`.

    Raises:
        LocheadsError: The model refuses the inputs.
    """
    device = lvlm.model.device
    recorder = _Recorder(wanted, None if query is None else query.to(device), image_tokens.to(device))
    try:
        with torch.inference_mode(), _listening(recorder):
            lvlm.model(**{"use_cache": False, **inputs})
    except _Enough:
        pass
    except ValueError as error:
        raise LocheadsError(
            f"{lvlm.name}: processor and model do not belong together ({str(error).splitlines()[0]})"
        ) from error
    return recorder.rows


class _Enough(Exception):
    """Ends the forward pass once every wanted row has been recorded."""


@dataclass(frozen=True)
class _Recorder:
    """Holds which rows to record, and the recorded ones by layer, as `forward` describes them."""

    wanted: Wanted
    query: torch.Tensor | None
    image_tokens: torch.Tensor
    rows: dict[int, torch.Tensor] = field(default_factory=dict)


_recorder: ContextVar[_Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def _listening(recorder: _Recorder) -> Iterator[None]:
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


def _attention(
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
        _Enough: This was the deepest wanted layer.
    """
    for term in ("softcap", "s_aux", "position_bias"):
        if kwargs.get(term) is not None:
            raise LocheadsError(
                f"layers of {type(module).__name__} change the scores ({term}), which is not captured"
            )
    recorder = _recorder.get()
    if recorder is not None:
        layer = int(module.layer_idx)  # type: ignore[arg-type]
        if recorder.query is not None and layer in recorder.wanted.layers:
            causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
            recorder.rows[layer] = _recorded(recorder, layer, query, key, attention_mask, scaling, causal)
        if layer == recorder.wanted.deepest:
            raise _Enough
    outputs, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, is_causal=is_causal, **kwargs
    )
    change = _after.get()
    if change is not None:
        causal = bool(getattr(module, "is_causal", True) if is_causal is None else is_causal)
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        number = int(module.layer_idx)  # type: ignore[arg-type]
        outputs = change(Layer(number, query, key, value, attention_mask, scale, causal, outputs))
    return outputs, None


def _recorded(
    recorder: _Recorder,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
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
    recorder: _Recorder,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    causal: bool,
    position: Int[torch.Tensor, " batch"],
) -> Float[torch.Tensor, "batch head cells"]:
    """Computes the rows of one query token per text: softmax over all keys, in at least single precision."""
    # The query token's vector in each text: batch × head × tokens × dim → batch × head × dim.
    batch = torch.arange(len(query), device=query.device)
    # Its scaled scores against all keys, for the wanted heads: batch × head × keys.
    scores = _scores(query[batch, :, position], key, recorder.wanted.layers[layer]).float()
    scores = scores * (query.shape[-1] ** -0.5 if scaling is None else scaling)
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


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
