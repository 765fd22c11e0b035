"""Lists what the paper leaves open or its code does otherwise, and what others measured.

Beside `locheads.paper.tables`, which holds what the paper prints. Each open choice is a named
parameter of this package with the paper's reading as default.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from locheads.paper.tables import HEADS


class Choice(StrEnum):
    """Identifies an open choice of the method; the value is its name in tables and figures."""

    QUERY = "query token"
    HEADS = "heads of a sample"
    THRESHOLD_FROM = "τ computed on"
    PASSING = "passing heads"
    ELBOW = "elbow"
    BINARISE = "binarise at"
    WEIGHT = "component weight"
    NO_COMPONENT = "no component"
    FILTER = "extra filter"
    SMOOTHING = "smoothing"
    BOX = "box"
    PIXELS = "box to pixels"
    SQUARE = "image to square"
    PROMPT = "prompt"
    SAM = "SAM"
    LOGARITHM = "logarithm"
    MEASURE = "IoU behind ρ"


@dataclass(frozen=True)
class Answers:
    """Describes what each source does about an open choice."""

    choice: Choice
    paper: str
    first_release: str
    later_rewrite: str


CHOICES = (
    Answers(
        Choice.QUERY,
        'the period: section 3 queries the "[.]" of "the pizza mouth."',
        "every example expression ends in a period",
        "the same; a fork's preparation adds one where it lacks",
    ),
    Answers(
        Choice.HEADS,
        "ten lowest entropies of each are candidates; the most frequent are fixed",
        "greedy: the five lowest entropies of that one sample",
        "greedy: five, in a second settings file three",
    ),
    Answers(
        Choice.THRESHOLD_FROM,
        "sums averaged over samples",
        "each sample's sums",
        "each sample's sums",
    ),
    Answers(
        Choice.PASSING,
        "sum ≥ τ",
        "head number ≥ that of the head at the elbow (a bug, issue 12)",
        "sum ≥ elbow value",
    ),
    Answers(
        Choice.ELBOW,
        '"maximum curvature"',
        "largest distance to the chord, either side of it",
        "largest distance to the chord, either side of it",
    ),
    Answers(
        Choice.BINARISE,
        "mean",
        "mean, and > 0.001 above it",
        "2 × mean, and > 0.001 above it",
    ),
    Answers(
        Choice.WEIGHT,
        "area over the areas' sum",
        "excess mass over that of all cells above the mean, those under 0.001 included",
        "the same, above 2 × mean",
    ),
    Answers(
        Choice.NO_COMPONENT,
        "not said",
        "0, the best, where cells exceed the mean but none by 0.001; infinite where none does",
        "the same, with 2 × mean",
    ),
    Answers(
        Choice.FILTER,
        "first two layers out",
        "none",
        "layers 0-1 out; any bottom-row value > 0.05 out; at least one head kept",
    ),
    Answers(
        Choice.SMOOTHING,
        "Gaussian, kernel 7, σ 1",
        "not shipped",
        "Gaussian, σ 1, 9 taps, reflecting border",
    ),
    Answers(
        Choice.BOX,
        "largest hull",
        "not shipped",
        "min/max of all cells above the mean",
    ),
    Answers(
        Choice.PIXELS,
        "not said",
        "not shipped",
        "truncated to whole pixels",
    ),
    Answers(
        Choice.SQUARE,
        "not said",
        "pad",
        "pad, but boxes are scaled as if stretched",
    ),
    Answers(
        Choice.PROMPT,
        "not said",
        "system sentence, image, newline, expression; nothing after; no space token (▁) behind the image",
        "system sentence, image, newline, expression; nothing after; no space token (▁) behind the image",
    ),
    Answers(
        Choice.SAM,
        "box prompt; size, points, mask, iterations not said",
        "not shipped",
        "not shipped",
    ),
    Answers(
        Choice.LOGARITHM,
        "not said; range claimed [0, 1], formula unnormalised",
        "natural",
        "natural",
    ),
    Answers(
        Choice.MEASURE,
        "each head's raw map above its mean (appendix A)",
        "the map upscaled bilinearly to the picture, above its mean",
        "not shipped",
    ),
)
"""Answers to every `Choice`, once each: paper, first release (June 2025), later rewrite (August 2025)."""

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

LLaVA-1.5-7B, 1,000 RefCOCO-train samples, five heads kept per sample, all expressions of an object joined.
"""


@dataclass(frozen=True)
class Run:
    """Describes a head profiling by others: its set-up, and the frequency of each `(layer, head)` in %."""

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
"""The paper has another `kept` (ten per sample) and other `expressions` (one per sample)."""


@dataclass(frozen=True)
class Attempt:
    """A number that others measured, beside the paper's."""

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
        "RefCOCO val, LLaVA-1.5-7B asked for the box in words",
        56.2,
        86.5,
        "the paper's LLaVA-1.5-7B REC by its heads",
        "lmms-eval, pull request 52",
    ),
    Attempt(
        "steering handle, K = 100, localization heads, Qwen3-VL-8B",
        60.2,
        83.1,
        "the same with gaze heads",
        "arXiv 2606.14703",
    ),
)
"""Others' attempts, in %.

The author of issue 13 names LLaVA-1.5-7B, for which the paper reports 86.5, but sets 80.3 against his
numbers, which is that of LLaVA-7B. He does not say whether he ran the rewrite as shipped, with greedy heads.
"""


def choices_frame() -> pd.DataFrame:
    """Returns `CHOICES` as a table: one row per choice, indexed by its name, one column per source."""
    return pd.DataFrame(CHOICES).set_index(pd.Index([str(one.choice) for one in CHOICES], name="choice"))[
        ["paper", "first_release", "later_rewrite"]
    ]


def named_heads_frame() -> pd.DataFrame:
    """Returns the ranks, in the paper and in `INDEPENDENT_RUN`, of the heads that the run chose.

    The rank in the paper is missing for a head that the paper does not name for the model of the run.
    """
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
