"""The last text token's attention over the image tokens, of every layer and head.

Layers and heads count from 0. The decoder's attention runs on torch's fused kernel as usual;
beside it, one row a head is computed exactly: the softmax of the query token's scores. No map of
all tokens by all tokens exists anywhere, and no class is patched: the function below is
registered with transformers' `AttentionInterface`, and a model loaded with
`attn_implementation={"text_config": ATTENTION}` calls it. Once the deepest layer that is asked for
has given its rows, the forward pass ends: layers above it and the vocabulary are not computed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from locheads.errors import LocheadsError
from locheads.method.selection import check_heads
from locheads.model.lvlm import Lvlm

ATTENTION = "locheads"
"""Name under which transformers knows the attention below."""

Heads = Sequence[tuple[int, int]]
"""Heads as `(layer, head)`."""


def capture(
    lvlm: Lvlm, images: Sequence[Image.Image], expressions: Sequence[str], heads: Heads | None = None
) -> Float[torch.Tensor, "batch *heads row column"]:
    """Attention maps for a batch of images and expressions (paper, section 3.1).

    The query is the last token of the expression (or of the text, see `load_lvlm`). Values are softmax
    weights over the whole sequence, so a map's sum is the attention that the image, or its base view, gets.

    Args:
        lvlm: The frozen model.
        images: One for each expression.
        expressions: What to look for.
        heads: Whose maps to give; the model is run no further than the deepest of them. None: all.

    Returns:
        `batch × layer × head × row × column`; with `heads` given `batch × head × row × column`, in their
        order.

    Raises:
        LocheadsError: From `Lvlm.encode`, for an expression that cannot be used; there is no such head; or
            the grids of the images differ (`capture_each` takes them).

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
    """As `capture`, one tensor an image, whose grids may differ.

    Examples:
        >>> from locheads.model.loading import load_lvlm
        >>> scene = Image.new("RGB", (96, 96), "white")
        >>> [tuple(maps.shape) for maps in capture_each(load_lvlm("specimen"), [scene], ["the red ring"])]
        [(12, 8, 24, 24)]
    """
    wanted = Wanted.of(lvlm, heads)
    encoded = lvlm.encode(images, expressions)
    inputs = dict(encoded.inputs)
    if lvlm.family and lvlm.family.sees == "before":
        # Padding stands on the right, where no token looks: without a mask the fastest kernel will do.
        inputs.pop("attention_mask")
    rows = forward(lvlm, inputs, wanted, encoded.query, encoded.image_tokens)
    return [
        maps[..., : rows * columns].unflatten(-1, (rows, columns))
        for maps, (rows, columns) in zip(wanted.stack(lvlm, rows), encoded.grids, strict=True)
    ]


def on_host(maps: Sequence[Float[torch.Tensor, "*heads row column"]]) -> list[torch.Tensor]:
    """The maps in main memory, single precision, with one wait for a CUDA device, not one a tensor.

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
    """Heads by layer, None for all of a layer, and the order in which they are given."""

    layers: Mapping[int, list[int] | None]
    order: Heads | None

    @classmethod
    def of(cls, lvlm: Lvlm, heads: Heads | None) -> Wanted:
        """The heads asked for, None for all.

        Raises:
            LocheadsError: None is asked for, or one that is not there.
        """
        if heads is None:
            return cls(dict.fromkeys(range(lvlm.layers)), None)
        check_heads(heads, lvlm.layers, lvlm.heads, lvlm.name)
        if not heads:
            raise LocheadsError("no heads are asked for; give at least one (layer, head)")
        layers = {layer: sorted({h for of, h in heads if of == layer}) for layer, _ in heads}
        return cls(layers, tuple(heads))

    @property
    def deepest(self) -> int:
        """Layer at which the model may stop."""
        return max(self.layers)

    def stack(
        self, lvlm: Lvlm, rows: Mapping[int, torch.Tensor]
    ) -> Float[torch.Tensor, "batch *heads cells"]:
        """The rows of all layers as one tensor.

        Raises:
            LocheadsError: A layer gave none.
        """
        absent = set(self.layers) - set(rows)
        if absent:
            raise LocheadsError(f"{lvlm.name}: layer {min(absent)} has no softmax attention, so no maps")
        device = rows[self.deepest].device
        if self.order is None:
            return torch.stack([rows[layer].to(device) for layer in sorted(self.layers)], dim=1)
        picked = [rows[layer][:, (self.layers[layer] or []).index(head)] for layer, head in self.order]
        return torch.stack([row.to(device) for row in picked], dim=1)


def forward(
    lvlm: Lvlm,
    inputs: Mapping[str, Any],
    wanted: Wanted,
    query: torch.Tensor | None,
    image_tokens: torch.Tensor,
) -> dict[int, torch.Tensor]:
    """Run the model as far as it is wanted.

    Args:
        lvlm: The model.
        inputs: Keyword arguments of its forward pass.
        wanted: Which heads' rows to record.
        query: Where the query token stands among the tokens of this pass; None: record nothing.
        image_tokens: Where the image tokens stand among the keys, `batch × cells` or `1 × cells`.

    Returns:
        By layer: `batch × head × cells`.

    Raises:
        LocheadsError: The model refuses the inputs.
    """
    device = lvlm.model.device
    recorder = _Recorder(wanted, None if query is None else query.to(device), image_tokens.to(device))
    try:
        with torch.inference_mode(), _listening(recorder):
            lvlm.model(**{"use_cache": False, "logits_to_keep": 1, **inputs})
    except _Enough:
        pass
    except ValueError as error:
        raise LocheadsError(
            f"{lvlm.name}: processor and model do not belong together ({str(error).splitlines()[0]})"
        ) from error
    return recorder.rows


class _Enough(Exception):
    """Every row that is wanted has been recorded."""


@dataclass(frozen=True)
class _Recorder:
    """What to keep of each layer, and what was kept: `batch × head × image tokens`."""

    wanted: Wanted
    query: torch.Tensor | None
    image_tokens: torch.Tensor
    rows: dict[int, torch.Tensor] = field(default_factory=dict)


_recorder: ContextVar[_Recorder | None] = ContextVar("recorder", default=None)


@contextmanager
def _listening(recorder: _Recorder) -> Iterator[None]:
    token = _recorder.set(recorder)
    try:
        yield
    finally:
        _recorder.reset(token)


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
    """Fused attention, and the recorder's rows where one listens."""
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
    return sdpa_attention_forward(
        module, query, key, value, attention_mask, scaling=scaling, is_causal=is_causal, **kwargs
    )


def _recorded(
    recorder: _Recorder,
    layer: int,
    query: torch.Tensor,
    key: torch.Tensor,
    mask: torch.Tensor | None,
    scaling: float | None,
    causal: bool,
) -> Float[torch.Tensor, "batch head cells"]:
    """The rows of a layer at the image tokens, softmax taken over all keys, in single precision at least."""
    assert recorder.query is not None
    position = recorder.query.to(query.device)
    batch = torch.arange(len(query), device=query.device)
    scores = _scores(query[batch, :, position], key, recorder.wanted.layers[layer]).float()
    scores = scores * (query.shape[-1] ** -0.5 if scaling is None else scaling)
    if mask is not None:
        seen = mask.expand(len(query), -1, -1, -1)[batch, :, position]
        scores = scores.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else scores + seen
    elif causal:
        last = position + (key.shape[2] - query.shape[2])
        later = torch.arange(key.shape[2], device=query.device) > last[:, None]
        scores = scores.masked_fill(later[:, None], -torch.inf)
    row = scores.softmax(-1)
    image = recorder.image_tokens.to(row.device)[:, None].expand(*row.shape[:2], -1)
    return row.gather(-1, image)


def _scores(
    query: Float[torch.Tensor, "batch head dim"],
    key: Float[torch.Tensor, "batch group keys dim"],
    heads: Iterable[int] | None,
) -> Float[torch.Tensor, "batch some keys"]:
    """One token's scores, of all heads or of some; keys that heads share are not copied for each of them."""
    each = query.shape[1] // key.shape[1]
    if heads is None:
        return (query.unflatten(1, (-1, each)) @ key.mT).flatten(1, 2)
    return torch.stack([(query[:, h, None] @ key[:, h // each].mT)[:, 0] for h in heads], dim=1)


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
