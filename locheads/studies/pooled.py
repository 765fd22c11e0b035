"""How much grounding is left where a projector pools the patches: reads the trained arms, pools maps.

The arms were trained by `locheads/specimen/pooled.py`; their numbers are in its records. What pooling alone
costs, without any training, is measured on any model's own maps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import gcd
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import spearmanr

from locheads.data.samples import Sample
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import box_iou
from locheads.method.carried_back import block_shares, carry_back
from locheads.method.grounding import ground
from locheads.method.selection import Head
from locheads.model.lvlm import Lvlm, coverage_of
from locheads.model.shipped import WEIGHTS

RECORDS = WEIGHTS.with_name("records") / "pooled"
GRID = "grid"
ARMS = {"grid": 576, "average": 144, "shuffle": 144, "perceiver": 64, "qformer": 64, "cls": 1}
"""Arms, and visual tokens of a picture."""
HIT = 0.5
LEVELS = (1.0, 1.5, 2.0, 3.0, 4.0)
"""Multiples of a map's mean at which it is cut in the records."""

Arrays = Mapping[str, np.ndarray]


def read(folder: Path | str = RECORDS) -> dict[str, list[Arrays]]:
    """Reads the records: arm → its arrays, one mapping per seed; arms without records are left out."""
    found: dict[str, list[Arrays]] = {}
    for arm in ARMS:
        files = sorted(Path(folder).glob(f"{arm}-*.npz"))
        if files:
            found[arm] = [dict(np.load(file)) for file in files]
    return found


def of(records: Mapping[str, Sequence[Arrays]], arm: str, name: str) -> np.ndarray:
    """Returns an array of an arm, averaged over its seeds."""
    return np.mean([one[name] for one in records[arm]], axis=0, dtype=float)


def table(records: Mapping[str, Sequence[Arrays]]) -> pd.DataFrame:
    """Tabulates the arms: one row each, shares and IoUs in %.

    Returns:
        `tokens`; `patches` that a token is made of; `answers` and `places` that are right; `sum`, the
        attention to the picture, mean over heads; their `entropy`, in nats; `best head`, the largest mean IoU
        of a carried-back map; `rho`, rank correlation of that IoU and frequency; mean box IoU with `three
        heads`, the `best` head and from the true mask (`ceiling`); `Acc` with three heads.
    """
    rows = {}
    for arm, seeds in records.items():
        iou, boxes = of(records, arm, "iou"), of(records, arm, "box_iou")
        rows[arm] = {
            "tokens": ARMS[arm],
            "patches": of(records, arm, "patches").mean() if "patches" in seeds[0] else 1.0,
            "answers": 100 * np.mean([one["answers"].mean() for one in seeds]),
            "places": 100 * of(records, arm, "placed").mean(),
            "sum": 100 * of(records, arm, "attention_sum").mean(),
            "entropy": pd.Series(of(records, arm, "spatial_entropy").ravel()).mean(),
            "best head": 100 * iou.max(),
            "rho": np.mean([correlation(one) for one in seeds]),
            "three heads": 100 * boxes.mean(),
            "best": 100 * of(records, arm, "box_iou_best").mean(),
            "ceiling": 100 * of(records, arm, "ceiling").mean(),
            "Acc": 100 * np.mean([(one["box_iou"] >= HIT).mean() for one in seeds]),
        }
    return pd.DataFrame.from_dict(rows, "index")


def at_levels(records: Mapping[str, Sequence[Arrays]]) -> pd.DataFrame:
    """Tabulates boxes of three heads where the map is cut higher than at its mean, in %.

    Returns:
        One row per arm: mean box IoU at each of `LEVELS` times the mean, and how often the brightest cell
        lies in the true box (`pointing`).
    """
    rows = {}
    for arm in records:
        values = 100 * of(records, arm, "levels").mean(1)
        rows[arm] = {f"{level:g}": value for level, value in zip(LEVELS, values, strict=True)}
        rows[arm]["pointing"] = 100 * of(records, arm, "pointing").mean()
    return pd.DataFrame.from_dict(rows, "index")


def correlation(record: Arrays) -> float:
    """Returns Spearman's ρ of selection frequency and IoU over heads; NaN where either is constant."""
    frequency, iou = record["frequency"].ravel(), record["iou"].ravel()
    constant = np.ptp(frequency) == 0 or np.ptp(iou) == 0
    return float("nan") if constant else float(spearmanr(frequency, iou).statistic)


def intervals(records: Mapping[str, Sequence[Arrays]], seed: int = 0) -> pd.DataFrame:
    """Computes mean box IoUs in % with 95 % intervals over pictures: one row per arm and way to a box."""
    ways = {"three heads": "box_iou", "best head": "box_iou_best", "ceiling": "ceiling"}
    rows = []
    for arm in records:
        for way, name in ways.items():
            values, pictures = of(records, arm, name), records[arm][0]["image"]
            rows.append({"arm": arm, "way": way} | _percent(values, pictures, seed))
    return pd.DataFrame(rows)


def _percent(values: np.ndarray, pictures: np.ndarray, seed: int) -> dict[str, float]:
    """Returns mean and 95 % interval over pictures, in %."""
    interval = mean_interval(values, pictures, seed=seed)
    return {"mean": 100 * values.mean(), "low": 100 * interval.low, "high": 100 * interval.high}


def lost(records: Mapping[str, Sequence[Arrays]], against: str, name: str, seed: int = 0) -> pd.DataFrame:
    """Compares each arm's boxes of three heads, paired by expression, in points of mean IoU.

    Args:
        records: From `read`.
        against: The arm to compare with, or "itself".
        name: The array to compare with.
        seed: Of the resamples.

    Returns:
        One row per arm: `mean` of the other less the arm's, with its 95 % interval over pictures.
    """
    rows = {}
    for arm in records:
        if arm != against:
            other = of(records, arm if against == "itself" else against, name)
            gap = other - of(records, arm, "box_iou")
            rows[arm] = _percent(gap, records[arm][0]["image"], seed)
    return pd.DataFrame.from_dict(rows, "index")


def told(row: pd.Series, than: str) -> str:
    """Says in words how far below or above something an arm lies, with the interval."""
    below = row["mean"] >= 0
    low, high = (row["low"], row["high"]) if below else (-row["high"], -row["low"])
    side = "below" if below else "above"
    gap = f"{abs(row['mean']):.1f} points [{low:.1f}, {high:.1f}]"
    return f"{gap} {side} {than}" if low > 0 else f"not distinguishable from {than} ({gap} {side})"


def blocks_of(grid: tuple[int, int]) -> list[int]:
    """Returns the edges of square blocks that tile a grid, from single patches on."""
    common = gcd(*grid)
    return [edge for edge in range(1, common + 1) if common % edge == 0]


def pooled(
    maps: Float[np.ndarray, "*batch row column"], block: int
) -> Float[np.ndarray, "*batch row column"]:
    """Returns maps as they come back if each block of patches were one token with their attention."""
    grid = (maps.shape[-2], maps.shape[-1])
    shares = block_shares(grid, block)
    tokens = maps.reshape(*maps.shape[:-2], -1) @ (shares > 0).T
    return carry_back(tokens, shares, grid)


def by_block(
    lvlm: Lvlm,
    samples: Sequence[Sample],
    maps: Iterable[Float[np.ndarray, "layer head row column"]],
    heads: Sequence[Head],
    blocks: Sequence[int],
    seed: int = 0,
) -> pd.DataFrame:
    """Grounds with maps pooled over blocks of every size, and with true masks pooled likewise.

    Args:
        lvlm: The model of the maps.
        samples: Samples with boxes and masks.
        maps: Their maps, of all heads, one sample after another.
        heads: Localization heads.
        blocks: Edges of blocks in patches.
        seed: Of the resamples.

    Returns:
        One row per block and way ("heads", "true mask"): mean box IoU in % with its interval over pictures.
    """
    chosen = [np.stack([one[layer, head] for layer, head in heads]) for one in maps]
    masks = [coverage_of(lvlm, sample)[None] for sample in samples]
    windows = [lvlm.window(sample.size) for sample in samples]
    pictures = np.array([sample.image_id for sample in samples])
    true, rows = np.array([sample.box for sample in samples], float), []
    for block in blocks:
        for way, given in (("heads", chosen), ("true mask", masks)):
            boxes = [ground(pooled(one, block), w).box for one, w in zip(given, windows, strict=True)]
            values = box_iou(np.stack(boxes), true)
            rows.append({"block": block, "way": way} | _percent(values, pictures, seed))
    return pd.DataFrame(rows)


def carried_of(record: Arrays, number: int, heads: Sequence[Head]) -> Float[np.ndarray, "row column"]:
    """Carries the summed maps of some heads over one of the kept pictures back to its patches."""
    tokens = sum(record["token_maps"][number][layer, head].astype(float) for layer, head in heads)
    shares = record["shares"][number].astype(float)
    edge = round(shares.shape[-1] ** 0.5)
    return carry_back(np.asarray(tokens), shares / shares.sum(-1, keepdims=True), (edge, edge))


def token_of(record: Arrays, number: int, heads: Sequence[Head]) -> Float[np.ndarray, "row column"]:
    """Returns the shares of patches in the token that gets most of the attention of some heads."""
    tokens = sum(record["token_maps"][number][layer, head].astype(float) for layer, head in heads)
    shares = record["shares"][number][int(np.argmax(tokens))].astype(float)
    edge = round(len(shares) ** 0.5)
    return np.asarray(shares.reshape(edge, edge))
