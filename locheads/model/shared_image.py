"""One image, many expressions: what stands before the expression is computed once.

Where a token sees only those before it, system sentence and image give the same keys and values for every
expression of an image (RefCOCO has about seven). They are computed in a pass of their own, in which the
vision encoder runs once; all expressions follow as one batch that reads them. The maps are those of
`capture`, up to rounding. `Family.sees` says where this cannot be: in PaliGemma image tokens see the
expression. There, and for families that are not listed, `capture` does the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from locheads.model.attention import Heads, Wanted, capture, forward
from locheads.model.lvlm import Encoded, Lvlm


def capture_image(
    lvlm: Lvlm, image: Image.Image, expressions: Sequence[str], heads: Heads | None = None
) -> Float[torch.Tensor, "batch *heads row column"]:
    """As `capture` of one image with several expressions; raises as it does."""
    wanted = Wanted.of(lvlm, heads)
    split = _split(lvlm, image, expressions) if len(expressions) > 1 and shares(lvlm) else None
    if split is None:
        return capture(lvlm, [image] * len(expressions), expressions, heads)
    cache = DynamicCache()  # keeps every key, also of layers with a sliding window, whose mask does the rest
    inputs = split.shared | {"past_key_values": cache, "use_cache": True}
    forward(lvlm, inputs, wanted, None, split.image_tokens)
    rows = forward(lvlm, _following(lvlm, split, cache), wanted, split.query, split.image_tokens)
    return wanted.stack(lvlm, rows).unflatten(-1, split.grid)


def shares(lvlm: Lvlm) -> bool:
    """Whether expressions can share the computation of their image."""
    return lvlm.family is not None and lvlm.family.sees != "prompt"


@dataclass(frozen=True)
class _Split:
    """Texts of one image, cut behind the image.

    Attributes:
        shared: The model's inputs up to the cut.
        rest: Tokens from the cut on, `batch × longest`, padded on the right.
        query: Where the query token stands in `rest`; like all tensors here it lies on the model's device
            already, as a copy between the two passes would wait for the first.
        image_tokens: Where the image tokens stand before the cut, `1 × cells`.
        grid: Rows and columns.
    """

    shared: dict[str, torch.Tensor]
    rest: Int[torch.Tensor, "batch tokens"]
    query: Int[torch.Tensor, " batch"]
    image_tokens: torch.Tensor
    grid: tuple[int, int]


def _split(lvlm: Lvlm, image: Image.Image, expressions: Sequence[str]) -> _Split | None:
    """The texts; None where what follows the image is not tokenized on its own."""
    rests = _rests(lvlm, expressions)
    first = lvlm.encode([image], expressions[:1])
    ids = first.inputs["input_ids"].cpu()
    cut = ids.shape[1] - len(rests[0])
    if ids[0, cut:].tolist() != rests[0].tolist() or cut <= int(first.image_tokens.max()):
        return None
    rest = torch.nn.utils.rnn.pad_sequence(rests, batch_first=True, padding_value=int(ids[0, 0]))
    lengths = torch.tensor([cut + len(one) for one in rests])
    whole = torch.cat([ids[:, :cut].expand(len(rest), -1), rest], dim=1)
    query = lvlm.queries(whole, lengths, expressions) - cut
    device = lvlm.model.device
    query, image_tokens = query.to(device), first.image_tokens.to(device)
    return _Split(_up_to(cut, first), rest.to(device), query, image_tokens, first.grids[0])


def _rests(lvlm: Lvlm, expressions: Sequence[str]) -> list[torch.Tensor]:
    """The tokens of each text behind its image."""
    behind = [text.rpartition(lvlm.processor.image_token) for text in lvlm.texts(expressions)]
    tokenizer = lvlm.processor.tokenizer
    rests = []
    for _, placeholder, rest in behind:
        ids = tokenizer(placeholder + rest, add_special_tokens=False)["input_ids"]
        marker = tokenizer.convert_tokens_to_ids(placeholder)
        rests.append(torch.tensor(ids[ids.index(marker) + 1 :] if marker in ids else ids))
    return rests


def _up_to(cut: int, encoded: Encoded) -> dict[str, torch.Tensor]:
    """The inputs without the tokens from `cut` on."""
    shape = encoded.inputs["input_ids"].shape
    return {
        name: tensor[:, :cut] if tensor.shape == shape else tensor for name, tensor in encoded.inputs.items()
    }


def _following(lvlm: Lvlm, split: _Split, cache: DynamicCache) -> dict[str, Any]:
    """The model's inputs for what follows the image."""
    batch, tokens = split.rest.shape
    before = split.shared["input_ids"].shape[1]
    positions = before + torch.arange(tokens, device=split.rest.device).expand(batch, -1)
    shift = getattr(lvlm.model.base_model, "rope_deltas", None)  # Qwen-VL counts an image's rows and columns
    if shift is not None:
        positions = positions + shift.to(positions.device)
    layers = [_Shared(layer) for layer in cache.layers]
    return {
        "input_ids": split.rest,
        "position_ids": positions,
        "past_key_values": Cache(layers=layers),
        "use_cache": True,
    }


class _Shared(DynamicLayer):
    """Keys and values of one text that every text of a batch goes on from; nothing is added to them."""

    def __init__(self, layer: DynamicLayer):
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = layer.keys, layer.values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The shared ones followed by each text's own."""
        pairs = ((self.keys, key_states), (self.values, value_states))
        keys, values = (torch.cat([old.expand(len(new), -1, -1, -1), new], dim=2) for old, new in pairs)
        return keys, values
