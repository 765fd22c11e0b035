"""Captures the query token's attention to the image tokens, for every layer and head.

The path of one row:

1. `attention_layer.attention` is registered with transformers' `AttentionInterface` under the name
   `ATTENTION`. No class is patched: a model loaded with `attn_implementation={"text_config": ATTENTION}`
   calls the function.
2. Every decoder layer calls it with its queries, keys and values. The layer's output comes from torch's fused
   kernel as usual, and no `tokens × tokens` attention matrix is ever stored.
3. Beside the kernel, it computes one row per head that is kept: the softmax of the query token's
   scores over all keys, of which the entries at the image tokens are stored (`batch × head × cells`; with
   several query tokens per text, `batch × head × query × cells`).
4. The pass ends as soon as the deepest layer with a wanted head has given its rows (`Enough`): with only
   some heads wanted it ends early, and the layers above and the vocabulary projection are never computed.
5. `Wanted.stack` joins the rows of all layers, and `Carrier.maps` folds the cells into `row × column` maps,
   or carries them back to patches where the model's projector has pooled them.

Layers and heads count from 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image

from locheads.errors import LocheadsError, first_line
from locheads.method.selection import check_heads
from locheads.model.attention_layer import Enough, Recorder, listening
from locheads.model.carrier import Carrier
from locheads.model.lvlm import Lvlm

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
    recorder = Recorder(wanted.layers, None if query is None else query.to(device), image_tokens.to(device))
    try:
        with torch.inference_mode(), listening(recorder):
            lvlm.model(**{"use_cache": False, **inputs})
    except Enough:
        pass
    except ValueError as error:
        raise LocheadsError(
            f"{lvlm.name}: processor and model do not belong together ({first_line(error)})"
        ) from error
    return recorder.rows
