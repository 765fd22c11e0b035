"""The model's own textual answer to the request for a box: ask, read it, turn it into a box (Table 6).

Models write boxes in conventions of their own: fractions of the picture, thousandths, or pixels, of the
picture as they get it (LLaVA's is padded to a square) or of the original one. Which it is, is a named
parameter, since the numbers alone do not tell. A model that has learned no numbers may still name a place,
such as the specimen's "top left": one of nine regions, and that region is then its box.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from transformers import GenerationConfig

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.model.lvlm import Lvlm
from locheads.model.prompts import resolve_prompt
from locheads.progress import progress

QUESTION = "Give the bounding box of the region that this describes: {expression}"
"""What a model with a chat template is asked; the paper does not print its request."""

Convention = Literal["auto", "unit", "thousand", "pixels", "place"]
"""What the numbers count: `unit` 0 to 1, `thousand` 0 to 1000, `pixels`; `auto` guesses between them:
fractions if none is above 1, else pixels if they fit into the picture, else thousandths; `place` is words."""
Frame = Literal["view", "image"]
"""Of what: the picture as the model gets it, padded to a square say, or the original image."""

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
CUTS = (0.4, 0.6)
"""Shares of height and width at which the nine regions end: those of the specimen's places."""

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_LABEL = r"(?:[xy][_\d]?(?:\d|min|max)?|left|top|right|bottom)[\"']?\s*[:=]\s*"
_BETWEEN = rf"(?:[\s,;()\[\]\"'{{}}]|</?point>)+(?:{_LABEL})?"
_FOUR = re.compile(rf"(?<![\w.+-])({_NUMBER})" + 3 * rf"{_BETWEEN}({_NUMBER})" + r"(?![\w%])")
_PLACE = re.compile(rf"\b({'|'.join(ROWS)})[\s-]+({'|'.join(COLUMNS)})\b", re.IGNORECASE)


def asking(lvlm: Lvlm, question: str = QUESTION) -> Lvlm:
    """The model with the request for its prompt: in its chat template, or as it is where there is none.

    Args:
        lvlm: The model.
        question: Text with `{expression}`, put in the place of the expression.

    Raises:
        LocheadsError: The question has no place for the expression.
    """
    if question.count("{expression}") != 1:
        raise LocheadsError(f"question '{question}': it needs {{expression}} once")
    prompt = lvlm.prompt
    if lvlm.processor.chat_template:
        prompt = resolve_prompt("chat", lvlm.processor, lvlm.processor.image_token)
    return replace(lvlm, prompt=prompt.replace("{expression}", question))


def ask(asked: Lvlm, samples: Sequence[Sample], batch: int = 16, most: int = 64) -> list[str]:
    """The model's answers, each token the likeliest (greedy decoding).

    Args:
        asked: From `asking`.
        samples: Their images and expressions.
        batch: Samples at a time.
        most: Tokens of an answer, at most.

    Raises:
        LocheadsError: An expression is empty or has words the model does not know.
    """
    answers: list[str] = []
    tokenizer, config = asked.processor.tokenizer, _greedy(asked, most)
    with progress(len(samples), f"answers of {asked.name}") as bar:
        for start in range(0, len(samples), batch):
            some = samples[start : start + batch]
            inputs = asked.prompted([s.image for s in some], [s.expression for s in some])
            with torch.inference_mode():
                written: Any = asked.model.generate(**inputs, generation_config=config)
            new = written[:, inputs["input_ids"].shape[1] :]
            answers += [text.strip() for text in tokenizer.batch_decode(new, skip_special_tokens=True)]
            bar.update(len(some))
    return answers


def _greedy(lvlm: Lvlm, most: int) -> GenerationConfig:
    """The model's own way of generating, without chance."""
    config = deepcopy(lvlm.model.generation_config or GenerationConfig())
    config.update(do_sample=False, num_beams=1, max_new_tokens=most, max_length=None)
    config.update(temperature=None, top_p=None, top_k=None)
    tokenizer = lvlm.processor.tokenizer
    config.eos_token_id = tokenizer.eos_token_id if config.eos_token_id is None else config.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id if config.pad_token_id is None else config.pad_token_id
    return config


def parse_numbers(answer: str) -> tuple[float, float, float, float] | None:
    """The first four numbers that follow each other as those of a box do, None where there are none.

    Between them may stand commas, brackets, spaces and names such as `x1:`; those within prose do not count.
    """
    found = _FOUR.search(answer)
    if found is None:
        return None
    x0, y0, x1, y1 = map(float, found.groups())
    return x0, y0, x1, y1


def parse_place(answer: str) -> tuple[int, int] | None:
    """Row and column of the last of the nine regions that an answer names, None where it names none."""
    named = _PLACE.findall(answer)
    if not named:
        return None
    row, column = (word.lower() for word in named[-1])
    return ROWS.index(row), COLUMNS.index(column)


def to_box(
    answer: str, lvlm: Lvlm, size: tuple[int, int], convention: str = "auto", frame: str = "view"
) -> Float[np.ndarray, "4"] | None:
    """The box that an answer means: xyxy pixels of the original image, cut off at its border.

    Args:
        answer: What the model wrote.
        lvlm: Whose answer it is: it knows which part of the image the model saw.
        size: `(width, height)` of the original image in pixels.
        convention: A `Convention`, what the numbers count; `place` reads two words instead.
        frame: A `Frame`, whether they count in the model's view or in the original image.

    Returns:
        None where the answer holds no box, or none with an area. Swapped corners are put right.

    Raises:
        LocheadsError: Unknown convention or frame.
    """
    for name, value, kind in (("convention", convention, Convention), ("frame", frame, Frame)):
        if value not in get_args(kind):
            raise LocheadsError(f"{name} '{value}': give {' or '.join(get_args(kind))}")
    if convention == "place":
        place = parse_place(answer)
        return None if place is None else region_box(place, size)
    numbers = parse_numbers(answer)
    if numbers is None:
        return None
    window, seen = lvlm.window(size), _seen(lvlm, size) if frame == "view" else size
    shares = np.array(numbers) / np.array(2 * _scale(numbers, convention, seen))
    shares = np.concatenate([np.minimum(shares[:2], shares[2:]), np.maximum(shares[:2], shares[2:])])
    if frame == "view":
        box = window.box_to_pixels(shares * np.array(2 * (window.columns, window.rows)))
    else:
        box = shares * np.array(2 * tuple(size))
    box = np.clip(box, 0, np.array(2 * tuple(size)))
    return box if (box[2:] > box[:2]).all() else None


def _seen(lvlm: Lvlm, size: tuple[int, int]) -> tuple[int, int]:
    """`(width, height)` in pixels of the picture that the processor gets."""
    if lvlm.fit == "own":
        return size
    side = lvlm.image_size or max(size)
    return side, side


def _scale(numbers: tuple[float, ...], convention: str, seen: tuple[int, int]) -> tuple[float, float]:
    """What stands for the whole width and height."""
    if convention == "auto":
        fits = max(numbers[::2]) <= seen[0] and max(numbers[1::2]) <= seen[1]
        convention = "unit" if max(numbers) <= 1 else "pixels" if fits else "thousand"
    if convention == "pixels":
        return float(seen[0]), float(seen[1])
    return (1.0, 1.0) if convention == "unit" else (1000.0, 1000.0)


def region_of(boxes: Float[np.ndarray, "n 4"], sizes: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
    """Row and column of the region that holds the centre of each box.

    Args:
        boxes: xyxy pixels.
        sizes: Width and height of each image.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / sizes
    return np.digitize(centres, CUTS)[:, ::-1]


def region_box(place: tuple[int, int], size: tuple[int, int]) -> Float[np.ndarray, "4"]:
    """The region of a row and a column as a box in pixels of an image of `(width, height)`."""
    edges = np.array((0.0, *CUTS, 1.0))
    row, column = place
    cells = np.array([edges[column], edges[row], edges[column + 1], edges[row + 1]])
    return cells * np.array(2 * tuple(size))
