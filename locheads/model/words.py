"""Captures the rows of every word of an expression, not of its last token alone (paper, Figure 10).

With causal attention the row of a word is what the model sees once it has read so far: at "ring" it has read
"the red ring", and not yet what follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from locheads.errors import LocheadsError
from locheads.model.attention import Heads, Wanted, forward, on_host
from locheads.model.carrier import Carrier
from locheads.model.lvlm import Lvlm
from locheads.model.prompts import up_to_query

WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
"""A word, or a punctuation mark."""


@dataclass(frozen=True, eq=False)
class WordMaps:
    """Holds where the heads look at each word.

    Attributes:
        words: The words and punctuation marks of the expression, up to the query token.
        maps: Maps of the heads at the last token of each word.
    """

    words: tuple[str, ...]
    maps: Float[np.ndarray, "word head row column"]


def capture_words(lvlm: Lvlm, image: Image.Image, expression: str, heads: Heads) -> WordMaps:
    """Captures the maps of some heads at every word of an expression, in one forward pass.

    Args:
        lvlm: The frozen model.
        image: The picture.
        expression: The text; its query token, as `load_lvlm` says, ends the last word.
        heads: The heads to capture; the model runs no further than the deepest of them.

    Raises:
        LocheadsError: As `Lvlm.encode`; or image tokens of this family attend to the text behind them, or the
            expression cannot be found among the tokens.
    """
    if lvlm.family is not None and lvlm.family.sees == "prompt":
        raise LocheadsError(
            f"{lvlm.name}: its image tokens see the whole prompt, so that a word's row depends on later words"
        )
    wanted, encoded = Wanted.of(lvlm, heads), lvlm.encode([image], [expression])
    text = up_to_query(expression, lvlm.query)
    words = tuple(WORD.findall(text))
    last = int(encoded.query[0])
    ids = encoded.inputs["input_ids"][0, : last + 1].tolist()
    query = torch.tensor([word_ends(lvlm.processor.tokenizer.decode, ids, words)])
    with Carrier(lvlm) as carrier:
        rows = forward(lvlm, encoded.inputs, wanted, query, encoded.image_tokens)
    (maps,) = on_host(carrier.maps(wanted.stack(lvlm, rows), encoded.grids))  # head × word × row × column
    return WordMaps(words, maps.transpose(0, 1).numpy())


def word_ends(decode: Callable[[list[int]], str], ids: list[int], words: Sequence[str]) -> list[int]:
    """Returns the position of the last token of each word.

    Args:
        decode: The tokeniser's: token ids → text.
        ids: Token ids of a text that ends in the words.
        words: In order. A word may be several tokens; spaces do not count.

    Raises:
        LocheadsError: The tokens do not end in the words.
    """
    whole = "".join(words)
    start = len(ids)
    while start > 0 and len(_letters(decode(ids[start:]))) < len(whole):
        start -= 1
    read = [_letters(decode(ids[start : end + 1])) for end in range(start, len(ids))]
    if not read or not read[-1].endswith(whole):
        raise LocheadsError(
            f"'{' '.join(words)}': its words cannot be found among the model's tokens; "
            "take query 'period' or 'word'"
        )
    before, ends = len(read[-1]) - len(whole), []
    for word in words:
        before += len(word)
        ends.append(start + next(place for place, text in enumerate(read) if len(text) >= before))
    return ends


def _letters(text: str) -> str:
    """Returns a text without spaces."""
    return "".join(text.split())
