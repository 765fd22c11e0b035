"""Makes five mistakes on purpose, to see whether the signature that belongs to each shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from locheads.evaluation.evaluate import Variant, boxes_of
from locheads.method.geometry import Window
from locheads.method.selection import select_heads
from locheads.studies.crops import Crops
from locheads.studies.diagnosis import Finding, diagnose_boxes, diagnose_heads

SUMS, REST, ENTROPIES = "sums shuffled", "attention to the rest counted", "entropies shuffled"
EVERYTHING, STRETCHED = "box around everything", "padding taken for stretching"


def shuffled(
    values: Float[np.ndarray, "sample layer head"], seed: int = 0
) -> Float[np.ndarray, "sample layer head"]:
    """Returns values shuffled over the heads of each sample, so that they say nothing about a head."""
    rng = np.random.default_rng(seed)
    return rng.permuted(values.reshape(len(values), -1), axis=1).reshape(values.shape)


def of_heads(
    sums: Float[np.ndarray, "sample layer head"],
    entropies: Float[np.ndarray, "sample layer head"],
    k: int = 3,
    seed: int = 0,
) -> dict[str, Finding]:
    """Returns what `diagnose_heads` finds with sums or entropies that are wrong.

    Sums are shuffled, or those of all tokens but the picture's (1 − S); entropies are shuffled.
    """
    blind, rest, scattered = shuffled(sums, seed), 1 - sums, shuffled(entropies, seed)
    return {
        SUMS: diagnose_heads(blind, select_heads(blind, entropies, k=1, seed=seed))[0],
        REST: diagnose_heads(rest, select_heads(rest, entropies, k=k, seed=seed))[1],
        ENTROPIES: diagnose_heads(sums, select_heads(sums, scattered, k=k, seed=seed))[2],
    }


def everything(heads: Variant) -> Variant:
    """Returns the variant whose box goes around every cell above a tenth of the mean."""
    return replace(heads, level=0.1, keep="all")


def taken_for_stretched(crops: Crops, heads: Variant) -> Finding:
    """Returns what `diagnose_boxes` finds where boxes of padded pictures are taken back as if stretched."""
    rows, columns = crops.maps_padded[0].shape[-2:]
    windows = [Window.stretch(strip.size, (rows, columns)) for strip in crops.strips]
    boxes = boxes_of(heads, crops.maps_padded, windows)
    return diagnose_boxes(boxes, crops.true, crops.sizes)[1]


def beside(mistakes: Mapping[str, Finding], without: Mapping[str, Finding]) -> pd.DataFrame:
    """Returns one row per mistake: its signature, the value without and with it, the limit, if it shows."""
    rows = {
        name: {
            "signature": found.signature,
            "without the mistake": without[name].value,
            "with it": found.value,
            "limit": found.limit,
            "shows": found.shows,
        }
        for name, found in mistakes.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("mistake")
