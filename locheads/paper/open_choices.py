"""Where the paper is silent, or paper and code differ; and what others measured.

Beside `locheads.paper.tables`, which holds what the paper prints. Each open choice is a named
parameter of this package with the paper's reading as default.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from locheads.paper.tables import HEADS


@dataclass(frozen=True)
class Choice:
    """One open choice of the method: what each source does."""

    choice: str
    paper: str
    first_release: str
    later_rewrite: str


CHOICES = (
    Choice(
        "τ computed on",
        "sums averaged over samples",
        "each sample's sums",
        "each sample's sums",
    ),
    Choice(
        "passing heads",
        "sum ≥ τ",
        "head index ≥ the elbow's index (a bug, issue 12)",
        "sum ≥ elbow value",
    ),
    Choice(
        "elbow",
        '"maximum curvature"',
        "largest distance to the chord",
        "largest distance to the chord",
    ),
    Choice(
        "binarise at",
        "mean",
        "mean, and > 0.001 above it",
        "2 × mean, and > 0.001 above it",
    ),
    Choice(
        "component weight",
        "area",
        "attention mass",
        "attention mass",
    ),
    Choice(
        "extra filter",
        "first two layers out",
        "none",
        "layers 0-1 out; any bottom-row value > 0.05 out",
    ),
    Choice(
        "box",
        "largest hull",
        "not shipped",
        "min/max of all cells above the mean",
    ),
    Choice(
        "image to square",
        "not said",
        "pad",
        "pad, but boxes are scaled as if stretched",
    ),
    Choice(
        "prompt",
        "not said",
        "system sentence, image, newline, expression; nothing after",
        "system sentence, image, newline, expression; nothing after",
    ),
    Choice(
        "SAM",
        "box prompt; size, points, mask, iterations not said",
        "not shipped",
        "not shipped",
    ),
    Choice(
        "logarithm",
        "not said; range claimed [0, 1], formula unnormalised",
        "natural",
        "natural",
    ),
)
"""The open choices: paper, first release (June 2025), later rewrite (August 2025)."""

INDEPENDENT_FREQUENCIES = {
    (14, 24): 57.1,
    (14, 26): 40.6,
    (14, 29): 24.6,
    (10, 29): 21.7,
    (10, 23): 20.7,
    (10, 8): 15.4,
    (11, 14): 13.1,
    (15, 5): 12.2,
    (14, 18): 10.6,
    (14, 3): 10.2,
    (20, 1): 10.2,
    (11, 17): 9.4,
    (14, 13): 8.9,
}
"""Selection frequency in % by `(layer, head)`: an independent run (liu-hanyu-97's fork of the release).

LLaVA-1.5-7B, 1,000 RefCOCO-train samples, five heads kept a sample, all expressions of an object joined.
"""


@dataclass(frozen=True)
class Run:
    """Head profiling by someone else: how, and how often each `(layer, head)` was chosen, in %."""

    source: str
    model: str
    samples: int
    kept: int
    expressions: str
    frequencies: dict[tuple[int, int], float]


INDEPENDENT_RUN = Run(
    source="liu-hanyu-97's fork of the release",
    model="LLaVA-1.5-7B",
    samples=1000,
    kept=5,
    expressions="all of an object joined into one",
    frequencies=INDEPENDENT_FREQUENCIES,
)
"""It differs from the paper in `kept` (there ten a sample) and `expressions` (there one a sample)."""


@dataclass(frozen=True)
class Attempt:
    """What someone else measured, and where the paper stands."""

    what: str
    value: float
    against: float
    meaning_of_against: str
    source: str


ATTEMPTS = (
    Attempt("RefCOCO val, own box code", 46.0, 80.3, "the paper's LLaVA-7B REC", "issue 13 of the release"),
    Attempt(
        "RefCOCO val, the rewrite's box code",
        26.0,
        80.3,
        "the paper's LLaVA-7B REC",
        "issue 13 of the release",
    ),
    Attempt(
        "steering handle, K = 100, localization heads, Qwen3-VL-8B",
        60.2,
        83.1,
        "the same with gaze heads",
        "arXiv 2606.14703",
    ),
)
"""Others' attempts, in %."""

QWEN3_MASS_ON_OBJECT = 0.046
"""Qwen3-VL-8B: attention mass on the object of heads selected by the last token, no better than random
ones (withernova/incontext-research)."""


def choices_frame() -> pd.DataFrame:
    """`CHOICES` as a table, one choice a row."""
    return pd.DataFrame(CHOICES).set_index("choice")


def independent_frame() -> pd.DataFrame:
    """`INDEPENDENT_FREQUENCIES` as a table: layer, head, frequency in %, most frequent first."""
    rows = [(layer, head, value) for (layer, head), value in INDEPENDENT_FREQUENCIES.items()]
    return pd.DataFrame(rows, columns=["layer", "head", "frequency"])


def named_heads_frame() -> pd.DataFrame:
    """The heads that the paper names for the model of `INDEPENDENT_RUN`, and where that run has them."""
    order = sorted(INDEPENDENT_RUN.frequencies, key=lambda head: -INDEPENDENT_RUN.frequencies[head])
    named = HEADS[INDEPENDENT_RUN.model]
    rows = [
        {
            "head": f"L{layer} H{number}",
            "rank in the paper": named.index((layer, number)) + 1 if (layer, number) in named else None,
            "rank in the run": order.index((layer, number)) + 1,
            "frequency in the run [%]": INDEPENDENT_RUN.frequencies[layer, number],
        }
        for layer, number in order
    ]
    return pd.DataFrame(rows).astype({"rank in the paper": "Int64"})
