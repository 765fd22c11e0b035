"""Asks whether localization heads cause the answer: they are removed, swapped or made to look elsewhere.

A trial names some heads and what is done to them while the model reads an expression; the picture's own
tokens are computed before, untouched, except in the trials named `everywhere`. Every trial is made on both
questions of every pair (`data.scenes.questions`):

- `zero`, `mean`: the heads put out nothing, or what they put out on average over other questions;
- `patch`: they put out what they put out for the other question about the same picture;
- `steer`: their attention to the picture goes to the other question's object (`own`: to the question's own);
- `single`: one head alone puts out nothing;
- `everywhere`: as `zero`, for the tokens of the picture as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from locheads.data.scenes.questions import Pair, draw_pairs
from locheads.method.selection import Head
from locheads.model.interventions import Replace, changed, chosen, recorded
from locheads.model.lvlm import Lvlm
from locheads.model.shared_image import SharedImage
from locheads.model.steering import Steer, steered

SIZES = (3, 10, 20, 40, 80)
"""Numbers of heads that are removed, swapped or steered; one head alone is steered, too."""
DRAWS = 20
"""Random choices per number of heads."""
ROWS = 24
"""Rows of one pass: a trial and a question each."""
OTHERS = 50
"""Pairs of other scenes over which a head's mean output is taken."""

RANDOM = "random"
"""Order of heads drawn at random from the layers of those that they are compared with."""

Means = Mapping[int, torch.Tensor]
"""Layer → mean output of its heads, `1 × 1 × head × dim`."""


@dataclass(frozen=True)
class Trial:
    """Some heads, and what is done to them.

    Attributes:
        kind: `none`, `zero`, `mean`, `patch`, `steer`, `own`, `single` or `everywhere`.
        order: Where the heads come from: the name of a ranking, `RANDOM`, `all` or `each`.
        size: How many heads.
        draw: Number of the random choice.
        heads: The heads.
    """

    kind: str
    order: str
    size: int
    draw: int
    heads: tuple[Head, ...]


def ranked(
    values: Float[np.ndarray, "layer head"], ties: Float[np.ndarray, "layer head"]
) -> tuple[Head, ...]:
    """Returns all heads, highest value first; equal ones are ordered by `ties`, highest first."""
    order = np.lexsort((-ties.ravel(), -values.ravel()))
    return tuple(Head(*map(int, divmod(i, values.shape[1]))) for i in order)


def matched(heads: Sequence[Head], per_layer: int, rng: np.random.Generator) -> tuple[Head, ...]:
    """Draws as many heads of each layer as `heads` has there: others, as far as the layer has others."""
    found: list[Head] = []
    for layer in sorted({head.layer for head in heads}):
        own = [head.head for head in heads if head.layer == layer]
        others = [number for number in range(per_layer) if number not in own]
        drawn = [*rng.permutation(others), *rng.permutation(own)][: len(own)]
        found += [Head(layer, int(number)) for number in drawn]
    return tuple(found)


def trials(
    rankings: Mapping[str, Sequence[Head]],
    per_layer: int,
    seed: int = 0,
    sizes: Sequence[int] = SIZES,
    draws: int = DRAWS,
) -> dict[str, list[Trial]]:
    """Returns all trials in three parts, which may be made on different numbers of questions.

    Args:
        rankings: Name → all heads, those that are taken first at the front. Random heads match the layers of
            the first ranking.
        per_layer: Heads per layer.
        seed: Of the random choices; a choice is the same in every kind of trial.
        sizes: Numbers of heads; one head alone is steered, too.
        draws: Random choices per number of heads.

    Returns:
        `text`: the untouched model, then heads removed, swapped and steered; `single`: each head alone;
        `everywhere`, which is slow: neither the least nor the largest number, and a quarter of the draws.
    """
    first, every = next(iter(rankings)), tuple(next(iter(rankings.values())))
    made = [Trial("none", "", 0, 0, ())]
    for kind in ("zero", "mean", "patch", "steer", "everywhere"):
        some = {"steer": (1, *sizes), "everywhere": sizes[1:-1]}.get(kind, sizes)
        for name, heads in rankings.items():
            made += [Trial(kind, name, size, 0, tuple(heads[:size])) for size in some]
        for size, draw in product(some, range(draws if kind != "everywhere" else draws // 4)):
            drawn = matched(every[:size], per_layer, np.random.default_rng([seed, size, draw]))
            made.append(Trial(kind, RANDOM, size, draw, drawn))
        if kind != "everywhere":
            made.append(Trial(kind, "all", len(every), 0, every))
    made += [Trial("own", first, k, 0, every[:k]) for k in (1, *sizes, len(every))]
    return {
        "text": [trial for trial in made if trial.kind != "everywhere"],
        "single": [Trial("single", "each", 1, 0, (head,)) for head in sorted(every)],
        "everywhere": [trial for trial in made if trial.kind == "everywhere"],
    }


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the model says to both questions of one pair, `trial × question`.

    Attributes:
        answer: Log-probability of the right word.
        rival: That of the right word for the other question.
        right: Whether the right word is the likeliest of all words.
        follows: Whether the other question's is.
    """

    answer: np.ndarray
    rival: np.ndarray
    right: np.ndarray
    follows: np.ndarray


def measure(lvlm: Lvlm, pair: Pair, made: Sequence[Trial], means: Means) -> Outcome:
    """Makes trials on both questions of one pair; those named `everywhere` take a whole pass each."""
    image, texts = Image.fromarray(pair.scene.image), [question.text for question in pair.questions]
    shared = SharedImage(lvlm, image, texts)
    said = torch.empty(len(made), 2, lvlm.model.config.get_text_config().vocab_size)
    for kind in sorted({trial.kind for trial in made}):
        numbers = [number for number, trial in enumerate(made) if trial.kind == kind]
        step = 1 if kind == "everywhere" else ROWS // 2
        for some in (numbers[start : start + step] for start in range(0, len(numbers), step)):
            heads = [made[number].heads for number in some]
            if kind == "everywhere":
                with changed(lvlm, Replace(chosen(lvlm, heads))):
                    again = SharedImage(lvlm, image, texts)
                    said[some] = again.next_word([0, 1])[None]
            else:
                with _treated(lvlm, shared, pair, kind, heads, means):
                    said[some] = shared.next_word([0, 1] * len(some)).unflatten(0, (-1, 2))
    return _judged(lvlm, pair, said)


def _treated(
    lvlm: Lvlm, shared: SharedImage, pair: Pair, kind: str, heads: Sequence[Sequence[Head]], means: Means
) -> AbstractContextManager[None]:
    """Returns the block within which the rows, two questions for each choice of heads, are treated."""
    rows = chosen(lvlm, heads).repeat_interleave(2, 0)
    if kind == "none":
        return nullcontext()
    if kind in ("steer", "own"):
        order = (1, 0) if kind == "steer" else (0, 1)
        target = torch.stack([_cells(lvlm, pair, pair.questions[i].thing) for i in order])
        return steered(lvlm, Steer(rows, target.repeat(len(heads), 1), shared.image_tokens))
    if kind == "patch":
        return changed(lvlm, Replace(rows, _swapped(lvlm, shared, len(heads))))
    return changed(lvlm, Replace(rows, means if kind == "mean" else None))


def _cells(lvlm: Lvlm, pair: Pair, thing: int) -> torch.Tensor:
    """Returns the share of an object's visible part that lies in each cell; the shares sum to 1."""
    mask = pair.scene.masks[thing]
    covered = lvlm.window(mask.shape[::-1]).mask_to_grid(mask).ravel()
    return torch.from_numpy(covered / covered.sum()).float()


def _swapped(lvlm: Lvlm, shared: SharedImage, times: int) -> Means:
    """Returns what all heads put out for the other question: layer → `(times · 2) × tokens × head × dim`."""
    with recorded(lvlm) as outputs:
        shared.next_word([1, 0])
    return {
        layer: values.reshape(2, -1, *values.shape[2:]).repeat(times, 1, 1, 1)
        for layer, values in outputs.items()
    }


def mean_outputs(lvlm: Lvlm, seed: int = 1, pairs: int = OTHERS) -> Means:
    """Averages what the heads put out while expressions of other scenes are read, over all their tokens."""
    sums: dict[int, torch.Tensor] = {}
    tokens = 0
    for pair in draw_pairs(pairs, seed):
        shared = SharedImage(lvlm, Image.fromarray(pair.scene.image), [q.text for q in pair.questions])
        with recorded(lvlm) as outputs:
            shared.next_word([0, 1])
        for layer, values in outputs.items():
            sums[layer] = sums.get(layer, 0) + values.sum((0, 1), keepdim=True)
        tokens += outputs[0].shape[1]
    return {layer: total / tokens for layer, total in sums.items()}


def _judged(lvlm: Lvlm, pair: Pair, said: Float[torch.Tensor, "trial 2 word"]) -> Outcome:
    words = lvlm.processor.tokenizer.convert_tokens_to_ids([q.answer for q in pair.questions])
    here, other = torch.tensor(words), torch.tensor(words[::-1])
    both, best = torch.arange(2), said.argmax(-1)
    return Outcome(
        said[:, both, here].numpy(), said[:, both, other].numpy(), (best == here).numpy(),
        (best == other).numpy(),
    )  # fmt: skip
