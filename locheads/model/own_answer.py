"""Asks a model for a box in words, parses the answer and converts it into a box (Table 6).

Models write boxes in different conventions: fractions, thousandths or pixels, of the model's view (padded to
a square for LLaVA) or of the original image. The numbers alone do not determine the convention, so it is a
named parameter. A model that has learned no numbers may still name a place, such as the specimen's
"top left": one of nine regions, which then serves as the box.
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

QUESTION = "Please provide the bounding box coordinate of the region this sentence describes: {expression}"
"""The default request for a box: that of LLaVA-1.5's training data, whose answers are fractions of the padded
square. The paper does not print its own request."""

Convention = Literal["auto", "unit", "thousand", "pixels", "place"]
"""Unit of the coordinates: `unit` 0 to 1, `thousand` 0 to 1000, `pixels`; `auto` guesses between them:
fractions if none is above 1, else pixels if they fit into the picture, else thousandths; `place` is words."""
Frame = Literal["view", "image"]
"""Frame of the coordinates: the model's view (padded to a square, say) or the original image."""

ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
CUTS = (0.4, 0.6)
"""Boundaries of the nine regions, as shares of width and height: those of the specimen's places."""

_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_LABEL = r"(?:[xy][_\d]?(?:\d|min|max)?|left|top|right|bottom)[\"']?\s*[:=]\s*"
_BETWEEN = rf"(?:[\s,;()\[\]\"'{{}}]|</?point>)+(?:{_LABEL})?"
_FOUR = re.compile(rf"(?<![\w.+-])({_NUMBER})" + 3 * rf"{_BETWEEN}({_NUMBER})" + r"(?![\w%])")
_PLACE = re.compile(rf"\b({'|'.join(ROWS)})[\s-]+({'|'.join(COLUMNS)})\b", re.IGNORECASE)


def asking(lvlm: Lvlm, question: str = QUESTION) -> Lvlm:
    """Returns the model with the request as its prompt, inside its chat template if it has one.

    Args:
        lvlm: The model.
        question: The request, with the placeholder `{expression}`.

    Raises:
        LocheadsError: The question does not contain `{expression}` exactly once.
    """
    if question.count("{expression}") != 1:
        raise LocheadsError(f"question '{question}': it needs {{expression}} once")
    prompt = lvlm.prompt
    if lvlm.processor.chat_template:
        prompt = resolve_prompt("chat", lvlm.processor, lvlm.processor.image_token)
    return replace(lvlm, prompt=prompt.replace("{expression}", question))


def ask(asked: Lvlm, samples: Sequence[Sample], batch: int = 16, most: int = 64) -> list[str]:
    """Generates the model's answers by greedy decoding.

    Args:
        asked: From `asking`.
        samples: The samples whose expressions are asked for.
        batch: Samples per forward pass.
        most: Maximum number of tokens of an answer.

    Returns:
        One answer per sample.

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
    """Returns the model's generation settings, changed to greedy decoding."""
    config = deepcopy(lvlm.model.generation_config or GenerationConfig())
    config.update(do_sample=False, num_beams=1, max_new_tokens=most, max_length=None)
    config.update(temperature=None, top_p=None, top_k=None)
    tokenizer = lvlm.processor.tokenizer
    config.eos_token_id = tokenizer.eos_token_id if config.eos_token_id is None else config.eos_token_id
    config.pad_token_id = tokenizer.pad_token_id if config.pad_token_id is None else config.pad_token_id
    return config


def parse_numbers(answer: str) -> tuple[float, float, float, float] | None:
    """Parses the first four consecutive numbers that look like a box; None if there are none.

    Commas, brackets, spaces and names such as `x1:` may separate them; numbers within prose do not count.
    """
    found = _FOUR.search(answer)
    if found is None:
        return None
    x0, y0, x1, y1 = map(float, found.groups())
    return x0, y0, x1, y1


def parse_place(answer: str) -> tuple[int, int] | None:
    """Returns row and column of the last of the nine regions that an answer names, or None."""
    named = _PLACE.findall(answer)
    if not named:
        return None
    row, column = (word.lower() for word in named[-1])
    return ROWS.index(row), COLUMNS.index(column)


def to_box(
    answer: str, lvlm: Lvlm, size: tuple[int, int], convention: str = "auto", frame: str = "view"
) -> Float[np.ndarray, "4"] | None:
    """Converts an answer into a box: xyxy in pixels of the original image, clipped to its border.

    Args:
        answer: The model's answer.
        lvlm: The model that gave it, from which the visible part of the image follows.
        size: `(width, height)` of the original image in pixels.
        convention: A `Convention`, the unit of the coordinates; `place` parses a region's name instead.
        frame: A `Frame`, whether coordinates refer to the model's view or to the original image.

    Returns:
        The box, with swapped corners corrected; None if the answer has no box or its area is zero.

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
    """Returns `(width, height)` in pixels of the image that the processor gets."""
    if lvlm.fit == "own":
        return size
    side = lvlm.image_size or max(size)
    return side, side


def _scale(numbers: tuple[float, ...], convention: str, seen: tuple[int, int]) -> tuple[float, float]:
    """Returns the coordinates that correspond to the full width and height."""
    if convention == "auto":
        fits = max(numbers[::2]) <= seen[0] and max(numbers[1::2]) <= seen[1]
        convention = "unit" if max(numbers) <= 1 else "pixels" if fits else "thousand"
    if convention == "pixels":
        return float(seen[0]), float(seen[1])
    return (1.0, 1.0) if convention == "unit" else (1000.0, 1000.0)


def region_of(boxes: Float[np.ndarray, "n 4"], sizes: Float[np.ndarray, "n 2"]) -> Int[np.ndarray, "n 2"]:
    """Returns row and column of the region that contains the centre of each box.

    Args:
        boxes: xyxy pixels.
        sizes: Width and height of each image.
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 / sizes
    return np.digitize(centres, CUTS)[:, ::-1]


def region_box(place: tuple[int, int], size: tuple[int, int]) -> Float[np.ndarray, "4"]:
    """Returns a region as an xyxy box in pixels of an image of `(width, height)` pixels."""
    edges = np.array((0.0, *CUTS, 1.0))
    row, column = place
    cells = np.array([edges[column], edges[row], edges[column + 1], edges[row + 1]])
    return cells * np.array(2 * tuple(size))
