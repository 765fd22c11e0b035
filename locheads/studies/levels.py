"""Grounds with so many heads at so many levels of the pseudo-mask, and chooses among them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Heads, Variant, boxes_of, stored_maps
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import box_iou
from locheads.model.lvlm import Lvlm

LEVELS = (1.0, 1.5, 2.0)
"""Levels at which the map is binarised, in multiples of its mean; the paper's is 1."""


def number_by_level(
    lvlm: Lvlm,
    samples: Sequence[Sample],
    profiled: xr.Dataset,
    heads: Heads,
    numbers: Sequence[int],
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
) -> pd.DataFrame:
    """Returns REC Acc@0.5 for each number of heads at each level.

    Args:
        lvlm: The model that gave the maps.
        samples: With boxes.
        profiled: Their profile, with maps, in the same order.
        heads: Ranked; `k` heads are the first `k`.
        numbers: Numbers of heads, at most as many as `heads`.
        levels: Multiples of the map's mean.
        seed: Of the bootstrap over pictures.

    Returns:
        Columns `k`, `level`, `value`, `low` and `high` (95 % interval over pictures), in per cent.
    """
    windows = [lvlm.window(sample.size) for sample in samples]
    true = np.array([sample.box for sample in samples], float)
    pictures = np.array([sample.image_id for sample in samples])
    rows = []
    for k, level in product(numbers, levels):
        boxes = boxes_of(Variant(heads[:k], level=level), stored_maps(profiled), windows)
        hit = 100.0 * (box_iou(true, boxes) >= 0.5)
        interval = mean_interval(hit, pictures, seed=seed)
        rows.append({"k": k, "level": level, "value": hit.mean(), "low": interval.low, "high": interval.high})
    return pd.DataFrame(rows)


def best_numbers(chosen_on: pd.DataFrame, reported_on: pd.DataFrame) -> pd.DataFrame:
    """Chooses the best number of heads per level on one set of samples, and reports its score on another.

    Args:
        chosen_on: From `number_by_level`, of training expressions. Of equal scores the fewest heads count.
        reported_on: The same of held-out expressions.

    Returns:
        One row per level: the chosen `k`, and `value`, `low`, `high` of it on the held-out expressions.
    """
    order = chosen_on.sort_values(["level", "value", "k"], ascending=[True, False, True])
    best = order.groupby("level").first().reset_index()[["level", "k"]]
    return best.merge(reported_on, on=["level", "k"]).set_index("level")
