"""Captures the maps of many expressions of one image, computing the image only once.

With causal attention, system sentence and image give the same keys and values for every expression of an
image (RefCOCO has about seven). A first pass computes them, and runs the vision encoder once; a second pass
runs all expressions as one batch that reads the cached keys and values. The maps equal those of `capture` up
to rounding. `Family.sees` says where this is impossible: in PaliGemma, image tokens attend to the expression.
For such families, for those with layers that fold the past into a state (Qwen3.5, LFM2), for those that want
the picture in every pass (BLIP-2), and for those not listed, `capture_image` falls back to `capture`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from inspect import Parameter, signature
from typing import Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from transformers import DynamicCache
from transformers.cache_utils import Cache, DynamicLayer

from locheads.errors import LocheadsError
from locheads.model.attention import Heads, Wanted, capture, forward
from locheads.model.carrier import Carrier
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
    with Carrier(lvlm) as carrier:
        forward(lvlm, inputs, wanted, None, split.image_tokens)
    # Second pass: the ends of all texts as one batch; records batch × head × cells per layer.
    rows = forward(
        lvlm, _following(split.rest, _behind(lvlm, split), cache), wanted, split.query, split.image_tokens
    )
    return torch.stack(carrier.maps(wanted.stack(lvlm, rows), [split.grid] * len(expressions)))


class SharedImage:
    """One image, computed once, after which its expressions are read again and again.

    What is changed in the model while they are read (`interventions`) does not reach the image's tokens.
    """

    def __init__(self, lvlm: Lvlm, image: Image.Image, expressions: Sequence[str]):
        """Computes the image.

        Raises:
            LocheadsError: An expression is refused by `Lvlm.encode`, or the model's expressions cannot share
                the computation of their image.
        """
        split = _split(lvlm, image, expressions) if _plain(lvlm) else None
        if split is None:
            raise LocheadsError(
                f"{lvlm.name}: the tokens of the picture depend on the expression, or on text around it, or "
                "are no cells of it, so that expressions cannot be read again after one pass over the picture"
            )
        self.lvlm, self._split, self._cache = lvlm, split, DynamicCache()
        with torch.inference_mode():
            lvlm.model(**split.shared, past_key_values=self._cache, use_cache=True)
        self._behind = _behind(lvlm, split)

    @property
    def image_tokens(self) -> Int[torch.Tensor, "1 cells"]:
        """Returns the positions of the image tokens among the keys."""
        return self._split.image_tokens

    def next_word(self, rows: Sequence[int]) -> Float[torch.Tensor, "row word"]:
        """Computes the log-probabilities of the token that follows the query token, in one pass for all rows.

        The rows stand one after another in one sequence, each blind to the others, so that the keys of the
        picture are not copied for each of them.

        Args:
            rows: For each row, the number of its expression; one may come several times.
        """
        rest, query = self._split.rest[list(rows)], self._split.query[list(rows)]
        inputs = _following(rest, self._behind, self._cache)
        for name in ("input_ids", "position_ids"):
            inputs[name] = inputs[name].reshape(1, -1)
        inputs["attention_mask"] = _blind(rest, self._split.before)
        with torch.inference_mode():
            logits = self.lvlm.model(**inputs).logits.view(*rest.shape, -1)
        at = torch.arange(len(rest), device=logits.device)
        return logits[at, query].float().log_softmax(-1)


def _blind(rest: Int[torch.Tensor, "row tokens"], before: int) -> torch.Tensor:
    """Returns who sees whom, `1 × 1 × queries × keys`: each row what is `before`, and itself up to here."""
    rows, tokens = rest.shape
    own = torch.block_diag(*[torch.ones(tokens, tokens, dtype=torch.bool).tril()] * rows)
    return torch.cat([torch.ones(len(own), before, dtype=torch.bool), own], 1)[None, None].to(rest.device)


def shares(lvlm: Lvlm) -> bool:
    """Returns whether expressions can share the computation of their image."""
    every = len(lvlm.attending) == lvlm.model.config.get_text_config().num_hidden_layers
    # BLIP-2 wants the picture in every pass.
    pixels = signature(lvlm.model.forward).parameters.get("pixel_values")
    once = pixels is None or pixels.default is not Parameter.empty
    return lvlm.family is not None and lvlm.family.sees != "prompt" and every and once


def _plain(lvlm: Lvlm) -> bool:
    """Returns whether all tokens attend to all those before, in every layer, and image tokens are cells."""
    kinds = getattr(lvlm.model.config.get_text_config(), "layer_types", None) or ()
    family = lvlm.family
    plain = family is not None and family.sees == "before" and family.resampler is None
    return shares(lvlm) and plain and set(kinds) <= {"full_attention"}


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

    @property
    def before(self) -> int:
        """Returns the number of tokens before the cut."""
        return self.shared["input_ids"].shape[1]


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
    behind = [text.rpartition(str(lvlm.processor.image_token)) for text in lvlm.texts(expressions)]
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


def _behind(lvlm: Lvlm, split: _Split) -> int:
    """Returns the position of the first token after the cut, once the tokens before it have been computed."""
    shift = getattr(lvlm.model.base_model, "rope_deltas", None)  # Qwen-VL: positions of an image are 2-D
    return split.before + (0 if shift is None else int(shift.flatten()[0]))


def _following(rest: Int[torch.Tensor, "batch tokens"], behind: int, cache: DynamicCache) -> dict[str, Any]:
    """Builds the inputs of the second pass: the rest of each text, continuing the cached beginning."""
    positions = behind + torch.arange(rest.shape[1], device=rest.device)
    return {
        "input_ids": rest,
        "position_ids": positions.expand(rest.shape),
        "past_key_values": Cache(layers=[_Shared(layer) for layer in cache.layers]),
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
