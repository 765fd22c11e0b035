"""How the cost of capture grows with image tokens, expressions an image, and layers: counted and measured.

    python benchmarks/capture.py --sweep

Four ways, per expression: `plain`, a forward pass of the batch; `capture` of all heads, image by image;
`shared`, all heads, what stands before the expressions computed once; `shared heads`, the same for heads up
to the middle layer, where the model stops. Two cores hold these models; what carries over to others is the
agreement of the seconds with the count of operations.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import locheads.model  # noqa: F401  mends torchvision before transformers is imported

# isort: split
import numpy as np
import pandas as pd
import torch
from PIL import Image

from locheads.model.attention import capture
from locheads.model.shared_image import capture_image

WAYS = ("plain", "capture", "shared", "shared heads")


@dataclass(frozen=True)
class Sizes:
    """Layers, width, inner width and heads of a transformer."""

    layers: int
    width: int
    inner: int
    heads: int


@dataclass(frozen=True)
class Setting:
    """One point: image tokens (a square number), expressions of an image, layers of the decoder."""

    tokens: int = 576
    expressions: int = 3
    layers: int = 8


AXES = {"tokens": (144, 256, 576, 1024), "expressions": (1, 3, 7, 15), "layers": (4, 8, 16)}


def decoder_operations(
    sizes: Sizes, tokens: int, before: int = 0, deepest: int | None = None, vocabulary: int = 0
) -> int:
    """Floating-point operations of a decoder over one text; a multiplication with its addition are two.

    Each layer has four square projections, a gated MLP of three matrices, and causal attention, in which a
    token is multiplied once with the keys and once with the values of each token up to itself. Norms,
    softmax and rotary positions are left out, as they are linear in the width.

    Args:
        sizes: Of the decoder.
        tokens: That are computed.
        before: Tokens before these whose keys and values are there already.
        deepest: Layer at whose attention the pass ends, when its queries, keys and values are there; None: it
            runs to the end.
        vocabulary: Entries of the vocabulary, scored for one token; only where the pass runs to the end.
    """
    pairs = tokens * before + tokens * (tokens + 1) // 2
    projection = 2 * tokens * sizes.width**2
    layer = 4 * projection + 6 * tokens * sizes.width * sizes.inner + 4 * pairs * sizes.width
    if deepest is None:
        return sizes.layers * layer + 2 * sizes.width * vocabulary
    return deepest * layer + 3 * projection


def encoder_operations(sizes: Sizes, patches: int, width: int) -> int:
    """The same of a CLIP encoder over patches of 14 × 14 pixels and a class token, and LLaVA's projector."""
    tokens = patches + 1
    layer = 8 * tokens * sizes.width**2 + 4 * tokens * sizes.width * sizes.inner + 4 * tokens**2 * sizes.width
    embedding = 2 * patches * 3 * 14**2 * sizes.width
    return embedding + sizes.layers * layer + 2 * patches * (sizes.width * width + width**2)


def operations(way: str, setting: Setting, text: Sizes, vision: Sizes, words: int, vocabulary: int) -> float:
    """Operations per expression, of `words` tokens, in one of `WAYS`."""
    text = replace(text, layers=setting.layers)
    image = encoder_operations(vision, setting.tokens, text.width)
    deepest = {"plain": None, "shared heads": text.layers // 2}.get(way, text.layers - 1)
    if way.startswith("shared") and setting.expressions > 1:
        image += decoder_operations(text, setting.tokens, deepest=deepest)
        each = decoder_operations(text, words, before=setting.tokens, deepest=deepest)
        return image / setting.expressions + each
    whole = decoder_operations(text, setting.tokens + words, deepest=deepest, vocabulary=vocabulary)
    return float(image + whole)


def settings() -> list[tuple[str, Setting]]:
    """Every axis, with the others at their defaults."""
    return [(axis, replace(Setting(), **{axis: value})) for axis, values in AXES.items() for value in values]


def seconds(way: str, lvlm: Any, image: Image.Image, texts: Sequence[str], repeats: int, cuda: bool) -> float:
    """Median seconds per expression; one run before warms up."""
    middle = lvlm.layers // 2
    heads = [(middle, 0), (middle, 1), (middle - 1, 0)] if way == "shared heads" else None

    def run() -> None:
        if way == "plain":
            inputs = lvlm.encode([image] * len(texts), texts).inputs
            with torch.inference_mode():
                lvlm.model(**inputs, use_cache=False, logits_to_keep=1)
        elif way == "capture":
            capture(lvlm, [image] * len(texts), texts)
        else:
            capture_image(lvlm, image, texts, heads)

    taken = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        if cuda:
            torch.cuda.synchronize()
        taken.append((time.perf_counter() - start) / len(texts))
    return float(np.median(taken[1:]))


def relative(table: pd.DataFrame) -> pd.DataFrame:
    """Adds seconds and operations relative to the first point of the same axis and way."""
    first = table.groupby(["axis", "way"], sort=False)[["seconds", "operations"]].transform("first")
    return table.assign(
        relative_seconds=table.seconds / first.seconds,
        relative_operations=table.operations / first.operations,
    )


def draw(table: pd.DataFrame, path: Path) -> None:
    """A panel an axis: measured (points, solid) and counted (dashed), relative to the first point."""
    from matplotlib import pyplot as plt
    from matplotlib.lines import Line2D

    figure, panels = plt.subplots(1, len(AXES), figsize=(11, 4), layout="constrained")
    labels = {
        "tokens": "image tokens",
        "expressions": "expressions of an image",
        "layers": "layers of the decoder",
    }
    styles = dict(
        zip(WAYS, zip(("#0072b2", "#e69f00", "#009e73", "#cc79a7"), "osD^", strict=True), strict=True)
    )
    for axes, (axis, values) in zip(panels, AXES.items(), strict=True):
        for way, (colour, marker) in styles.items():
            some = table[(table.axis == axis) & (table.way == way)]
            axes.plot(some.value, some.relative_seconds, color=colour, marker=marker, markersize=5)
            axes.plot(some.value, some.relative_operations, color=colour, linestyle="--", linewidth=1)
        axes.set_xticks(values)
        axes.set_xlabel(labels[axis])
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("cost per expression,\nrelative to the first point")
    keys = [Line2D([], [], color=c, marker=m, markersize=5, label=way) for way, (c, m) in styles.items()]
    keys += [Line2D([], [], color="black", label="seconds, measured")]
    keys += [Line2D([], [], color="black", linestyle="--", linewidth=1, label="operations, counted")]
    figure.legend(handles=keys, loc="outside upper center", ncols=6, frameon=False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
