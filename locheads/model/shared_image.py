"""Captures the maps of many expressions of one image, computing the image only once.

With causal attention, system sentence and image give the same keys and values for every expression of an
image (RefCOCO has about seven). A first pass computes them, and runs the vision encoder once; a second pass
runs all expressions as one batch that reads the cached keys and values. The maps equal those of `capture` up
to rounding. `Family.sees` says where this is impossible: in PaliGemma, image tokens attend to the expression.
For such families, for those with layers that fold the past into a state (Qwen3.5, LFM2), and for those not
listed, `capture_image` falls back to `capture`.
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
    """Captures the maps of several expressions of one image; shapes and errors are those of `capture`."""
    wanted = Wanted.of(lvlm, heads)
    split = _split(lvlm, image, expressions) if len(expressions) > 1 and shares(lvlm) else None
    if split is None:
        return capture(lvlm, [image] * len(expressions), expressions, heads)
    cache = DynamicCache()  # keeps all keys, also in sliding-window layers, where the mask hides old ones
    # First pass: system sentence and image, 1 × cut tokens; fills the cache, records nothing.
    inputs = split.shared | {"past_key_values": cache, "use_cache": True}
    forward(lvlm, inputs, wanted, None, split.image_tokens)
    # Second pass: the ends of all texts as one batch; records batch × head × cells per layer.
    rows = forward(lvlm, _following(lvlm, split, cache), wanted, split.query, split.image_tokens)
    return wanted.stack(lvlm, rows).unflatten(-1, split.grid)


def shares(lvlm: Lvlm) -> bool:
    """Returns whether expressions can share the computation of their image."""
    every = len(lvlm.attending) == lvlm.model.config.get_text_config().num_hidden_layers
    return lvlm.family is not None and lvlm.family.sees != "prompt" and every


@dataclass(frozen=True)
class _Split:
    """The texts of one image, cut after the image into a shared beginning and one end per expression.

    All tensors are on the model's device: a copy between the two passes would wait for the first one.

    Attributes:
        shared: The model's inputs up to the cut, a batch of one.
        rest: Tokens after the cut, `batch × longest`, padded on the right.
        query: Position of the query token in each row of `rest`, `batch`.
        image_tokens: Positions of the image tokens before the cut, `1 × cells`.
        grid: Rows and columns of the patch grid.
    """

    shared: dict[str, torch.Tensor]
    rest: Int[torch.Tensor, "batch tokens"]
    query: Int[torch.Tensor, " batch"]
    image_tokens: torch.Tensor
    grid: tuple[int, int]


def _split(lvlm: Lvlm, image: Image.Image, expressions: Sequence[str]) -> _Split | None:
    """Cuts the texts after the image; None where the text after the image is not tokenised independently."""
    # Tokens after the image, one tensor per expression, and the whole first text with its image.
    rests = _rests(lvlm, expressions)
    first = lvlm.encode([image], expressions[:1])
    ids = first.inputs["input_ids"].cpu()  # 1 × tokens
    cut = ids.shape[1] - len(rests[0])
    # The cut is valid if the whole text ends in the same tokens and every image token lies before it.
    if ids[0, cut:].tolist() != rests[0].tolist() or cut <= int(first.image_tokens.max()):
        return None
    # batch × longest; the padding is never seen, as it is on the right
    rest = torch.nn.utils.rnn.pad_sequence(rests, batch_first=True, padding_value=int(ids[0, 0]))
    lengths = torch.tensor([cut + len(one) for one in rests])
    # Query positions are found in the whole texts, batch × (cut + longest), and counted from the cut.
    whole = torch.cat([ids[:, :cut].expand(len(rest), -1), rest], dim=1)
    query = lvlm.queries(whole, lengths, expressions) - cut
    device = lvlm.model.device
    query, image_tokens = query.to(device), first.image_tokens.to(device)
    return _Split(_up_to(cut, first), rest.to(device), query, image_tokens, first.grids[0])


def _rests(lvlm: Lvlm, expressions: Sequence[str]) -> list[torch.Tensor]:
    """Tokenises the part of each text that follows the image placeholder."""
    # Each text is tokenised from its last placeholder on, as a leading space may change the first token.
    behind = [text.rpartition(lvlm.processor.image_token) for text in lvlm.texts(expressions)]
    tokenizer = lvlm.processor.tokenizer
    rests = []
    for _, placeholder, rest in behind:
        ids = tokenizer(placeholder + rest, add_special_tokens=False)["input_ids"]
        marker = tokenizer.convert_tokens_to_ids(placeholder)
        rests.append(torch.tensor(ids[ids.index(marker) + 1 :] if marker in ids else ids))
    return rests


def _up_to(cut: int, encoded: Encoded) -> dict[str, torch.Tensor]:
    """Returns the inputs without the tokens from `cut` on: tensors of shape `1 × tokens` are shortened."""
    shape = encoded.inputs["input_ids"].shape
    return {
        name: tensor[:, :cut] if tensor.shape == shape else tensor for name, tensor in encoded.inputs.items()
    }


def _following(lvlm: Lvlm, split: _Split, cache: DynamicCache) -> dict[str, Any]:
    """Builds the inputs of the second pass: the rest of each text, continuing the cached beginning."""
    batch, tokens = split.rest.shape
    before = split.shared["input_ids"].shape[1]
    positions = before + torch.arange(tokens, device=split.rest.device).expand(batch, -1)
    shift = getattr(lvlm.model.base_model, "rope_deltas", None)  # Qwen-VL: positions of an image are 2-D
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
    """Cached keys and values of one beginning, shared by all texts of a batch; never extended."""

    def __init__(self, layer: DynamicLayer):
        super().__init__()
        self.lazy_initialization(layer.keys, layer.values)
        self.keys, self.values = layer.keys, layer.values

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the shared keys and values followed by each text's own: `batch × group × keys × dim`."""
        pairs = ((self.keys, key_states), (self.values, value_states))
        keys, values = (torch.cat([old.expand(len(new), -1, -1, -1), new], dim=2) for old, new in pairs)
        return keys, values
