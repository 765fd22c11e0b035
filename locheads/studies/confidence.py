"""Computes signals of the heads that predict whether a box is a hit, and how well they predict it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float
from PIL import Image

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.evaluation.evaluate import Heads, stored_maps
from locheads.evaluation.intervals import percentiles
from locheads.evaluation.metrics import box_iou
from locheads.evaluation.ranking import auroc, auroc_interval, resampled_aurocs
from locheads.method.criteria import attention_sum, spatial_entropy
from locheads.method.geometry import Window
from locheads.method.grounding import Grounding, ground, pseudo_mask
from locheads.method.selection import take_heads

Maps = Float[np.ndarray, "k row column"]
WindowOf = Callable[[tuple[int, int]], Window]
"""Returns which pixels of a picture of (width, height) the grid covers, as `Lvlm.window` does."""
Case = tuple[Image.Image, str, np.ndarray, np.ndarray, np.ndarray]
"""Picture, title, boxes of single heads, box of the heads, true box."""

AGREEMENT = "agreement of the boxes"
SIZE = "small box"


def _pairs(values: Float[np.ndarray, "k k"]) -> float:
    """Returns the mean over pairs of heads; NaN for a single head."""
    off = values[np.triu_indices(len(values), 1)]
    return float(off.mean()) if off.size else float("nan")


def _mask_agreement(maps: Maps, found: Grounding) -> float:
    masks = pseudo_mask(found.head_maps, found.level).reshape(len(maps), -1).astype(float)
    common = masks @ masks.T
    sizes = np.diag(common)
    return _pairs(common / np.maximum(sizes[:, None] + sizes - common, 1))


def _correlation(maps: Maps, found: Grounding) -> float:
    flat = found.head_maps.reshape(len(maps), -1)
    flat = flat - flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1)
    return _pairs(flat @ flat.T / np.maximum(np.outer(norms, norms), np.finfo(float).tiny))


def _mass(maps: Maps, found: Grounding) -> float:
    x0, y0, x1, y1 = found.box_cells.round().astype(int)
    return float(found.map[y0:y1, x0:x1].sum() / max(found.map.sum(), np.finfo(float).tiny))


def _smallness(maps: Maps, found: Grounding) -> float:
    return -float((found.box_cells[2:] - found.box_cells[:2]).prod() / found.map.size)


SIGNALS: Mapping[str, Callable[[Maps, Grounding], float]] = {
    AGREEMENT: lambda maps, found: found.confidence,
    "agreement of the masks": _mask_agreement,
    "correlation of the maps": _correlation,
    "low spatial entropy": lambda maps, found: -float(spatial_entropy(maps).mean()),
    "attention sum": lambda maps, found: float(attention_sum(maps).mean()),
    "mass in the box": _mass,
    SIZE: _smallness,
}
"""Name → signal of the chosen heads' maps and what was grounded with them; higher means more trust.

None of them uses the true box. `agreement of the boxes` is `Grounding.confidence`; entropies and sums are
means over the heads."""


def maps_of_heads(profiled: xr.Dataset, heads: Heads) -> Iterator[Maps]:
    """Yields the maps of chosen heads from a profile store, one sample after another."""
    return (take_heads(one[None], heads)[0] for one in stored_maps(profiled))


def signals_of(samples: Sequence[Sample], maps: Iterable[Maps], window_of: WindowOf) -> pd.DataFrame:
    """Grounds samples with the chosen heads and computes every signal.

    Args:
        samples: With boxes, or without one where the object is not in the picture.
        maps: Maps of the chosen heads, one sample after another.
        window_of: The model's window of an image.

    Returns:
        One row per sample: `sample_id`, `image_id`, `expression`, `box_iou` (NaN without a true box), `hit`,
        and the signals.

    Raises:
        LocheadsError: A single head is chosen, which has nothing to agree with.
    """
    rows = []
    for sample, some in zip(samples, maps, strict=True):
        if len(some) < 2:
            raise LocheadsError(f"k = {len(some)}: agreement takes at least two heads; give k of 2 or more")
        found = ground(some, window_of(sample.size))
        row: dict[str, Any] = {"sample_id": sample.sample_id, "image_id": sample.image_id}
        row |= {"expression": sample.expression, "box_iou": _iou(sample, found)}
        rows.append(row | {name: signal(some, found) for name, signal in SIGNALS.items()})
    table = pd.DataFrame(rows)
    return table.assign(hit=table.box_iou >= 0.5)


def _iou(sample: Sample, found: Grounding) -> float:
    if sample.box is None:
        return float("nan")
    return float(box_iou(np.array([sample.box], float), found.box[None])[0])


def four_cases(
    samples: Sequence[Sample], maps: Sequence[Maps], window_of: WindowOf, table: pd.DataFrame
) -> list[Case]:
    """Returns the hits of most and least agreement, and the misses of least and most, as pictures with boxes.

    Args:
        samples: The samples of `table`, in its order.
        maps: Maps of the chosen heads.
        window_of: The model's window of an image.
        table: From `signals_of`.
    """
    order = table.sort_values(AGREEMENT, kind="stable", ascending=False)
    hits, misses = order.index[order.hit], order.index[~order.hit]
    cases = []
    for at in [*hits[:1], *hits[1:][-1:], *misses[1:][-1:], *misses[:1]]:
        sample, window = samples[at], window_of(samples[at].size)
        found = ground(maps[at], window)
        singles = np.array([window.clip(window.box_to_pixels(box)) for box in found.head_boxes])
        title = f"{sample.expression}\nagreement {found.confidence:.2f}, IoU {table.box_iou[at]:.2f}"
        cases.append((sample.image, title, singles, found.box, np.array(sample.box, float)))
    return cases


def aurocs(tables: Mapping[str, pd.DataFrame], names: Sequence[str], seed: int = 0) -> pd.DataFrame:
    """Computes how well each signal tells hits from misses.

    Args:
        tables: Data set → table of `signals_of`, with the columns `names`.
        names: The signals.
        seed: Of the resamples of pictures.

    Returns:
        Columns `dataset`, `signal`, `samples`, `misses`, and the AUROC `value` with its 95 % interval `low`,
        `high`, in [0, 1].
    """
    rows = []
    for dataset, table in tables.items():
        hit, pictures = table.hit.to_numpy(bool), table.image_id.to_numpy()
        for name in names:
            scores = table[name].to_numpy(float)
            row: dict[str, Any] = {"dataset": dataset, "signal": name, "samples": len(table)}
            row |= {"misses": int((~hit).sum()), "value": auroc(scores, hit)}
            rows.append(row | vars(auroc_interval(scores, hit, pictures, seed)))
    return pd.DataFrame(rows)


def gain(table: pd.DataFrame, one: str, other: str, seed: int = 0) -> dict[str, float]:
    """Computes how much more AUROC `one` has than `other`, paired over the same pictures.

    Returns:
        `value`, `low`, `high`, in [-1, 1].
    """
    hit, pictures = table.hit.to_numpy(bool), table.image_id.to_numpy()
    first, second = (table[name].to_numpy(float) for name in (one, other))
    drawn = [resampled_aurocs(scores, hit, pictures, seed=seed) for scores in (first, second)]
    return {"value": auroc(first, hit) - auroc(second, hit)} | vars(percentiles(drawn[0] - drawn[1]))


def within_sizes(table: pd.DataFrame, name: str, parts: int = 3) -> pd.DataFrame:
    """Computes the AUROC of a signal among boxes of like size: in each part of `parts`, smallest boxes first.

    Returns:
        By part, from 1: `boxes`, `misses` and `AUROC` (NaN where a part has only hits, or only misses).
    """
    rows = []
    for part in np.array_split(np.argsort(-table[SIZE].to_numpy(), kind="stable"), parts):
        some = table.iloc[part]
        hit = some.hit.to_numpy(bool)
        rows.append([len(some), int((~hit).sum()), auroc(some[name].to_numpy(float), hit)])
    index = pd.RangeIndex(1, parts + 1, name="boxes by size")
    return pd.DataFrame(rows, columns=["boxes", "misses", "AUROC"], index=index)


def random_aurocs(
    hit: Bool[np.ndarray, " n"], grid: tuple[int, int], k: int, draws: int, seed: int = 0
) -> Float[np.ndarray, " draw"]:
    """Computes the AUROC of the agreement of k random maps, which know nothing of the picture.

    Args:
        hit: Which boxes of the real heads are right.
        grid: Rows and columns of a map.
        k: Number of maps per expression.
        draws: How often all maps are drawn.
        seed: Of the draws.
    """
    rng, window = np.random.default_rng(seed), Window.stretch(grid[::-1], grid)
    drawn = [[ground(rng.random((k, *grid)), window).confidence for _ in hit] for _ in range(draws)]
    return np.array([auroc(np.array(scores), hit) for scores in drawn])


def verdicts(table: pd.DataFrame) -> list[str]:
    """Says of each row of `aurocs`, by its interval, whether the signal tells hits from misses."""
    said = []
    for row in table.itertuples():
        if np.isnan(row.value):
            said.append(
                f"{row.signal}: AUROC not defined, {row.misses} of {row.samples} miss ({row.dataset})"
            )
            continue
        what = "tells hits from misses" if row.low > 0.5 else "cannot be told from chance"
        what = "is higher for misses" if row.high < 0.5 else what
        interval = f"{100 * row.value:.1f} % [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        said.append(f"{row.signal} {what}: AUROC {interval} ({row.dataset})")
    return said


def points(difference: Mapping[str, float]) -> str:
    """Returns a difference of shares with its interval, as of `gain`, in words where it is not defined.

    Example:
        >>> points({"value": 0.05, "low": -0.01, "high": 0.12})
        '+5.0 points [-1.0, +12.0]'
    """
    value, low, high = (100 * difference[name] for name in ("value", "low", "high"))
    return "not defined" if np.isnan(value) else f"{value:+.1f} points [{low:+.1f}, {high:+.1f}]"
