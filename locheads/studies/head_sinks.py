"""Takes the sink cells of the picture out of all maps: what does it change in heads and boxes?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float

from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Variant, boxes_of, stored_maps
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import box_iou
from locheads.method.criteria import attention_sum, spatial_entropy
from locheads.method.selection import Head, Selection, select_heads
from locheads.model.lvlm import Lvlm
from locheads.studies.head_kinds import without

WAYS = {
    "as they are": False,
    "sink cells out, same heads": True,
    "sink cells out, heads chosen anew": True,
    "all that pass, as they are": False,
    "all that pass, sink cells out": True,
}
"""Ways to a box, and whether the sink cells are taken out. The last two combine all heads that pass τ."""
AGAINST = {
    "sink cells out, same heads": "as they are",
    "sink cells out, heads chosen anew": "as they are",
    "all that pass, sink cells out": "all that pass, as they are",
}
"""With what each way without the sink cells is compared."""


def selected_without(
    profiled: xr.Dataset, cells: Bool[np.ndarray, "row column"], k: int = 3, seed: int = 0
) -> Selection:
    """Selects heads as `select_heads` does, from maps in which the sink cells get nothing.

    Args:
        profiled: With the maps of all heads; read a block of samples at a time.
        cells: From `head_kinds.sink_cells`.
        k: Localization heads.
        seed: Of the selection's trials.
    """
    sums, entropies = [], []
    for maps in stored_maps(profiled):
        kept = without(maps, cells)
        sums.append(attention_sum(kept))
        entropies.append(spatial_entropy(kept))
    return select_heads(np.stack(sums), np.stack(entropies), k=k, seed=seed)


@dataclass(frozen=True, eq=False)
class Boxes:
    """Whether each sample's box is right, `sample`, for each of `WAYS`, and which heads made it."""

    heads: dict[str, tuple[Head, ...]]
    right: dict[str, Float[np.ndarray, " sample"]]
    pictures: np.ndarray


def boxes_without(
    lvlm: Lvlm,
    samples: Sequence[Sample],
    profiled: xr.Dataset,
    cells: Bool[np.ndarray, "row column"],
    before: Selection,
    after: Selection,
) -> Boxes:
    """Grounds with maps as they are and with the sink cells taken out; boxes only.

    Args:
        lvlm: The model.
        samples: Samples with a box.
        profiled: Their profile, with all maps.
        cells: From `head_kinds.sink_cells`.
        before: What is chosen from maps as they are.
        after: What is chosen from maps without the sink cells.
    """
    windows, true = [lvlm.window(s.size) for s in samples], np.array([s.box for s in samples], float)
    passing = tuple(Head(*map(int, place)) for place in np.argwhere(before.passing))
    heads = dict(zip(WAYS, (before.heads, before.heads, after.heads, passing, passing), strict=True))
    right = {}
    for way, out in WAYS.items():
        maps = (without(one, cells) if out else one for one in stored_maps(profiled))
        right[way] = (box_iou(true, boxes_of(Variant(heads[way]), maps, windows)) >= 0.5).astype(float)
    return Boxes(heads, right, np.array([sample.image_id for sample in samples]))


def scores(boxes: Boxes, seed: int = 0) -> pd.DataFrame:
    """Computes Acc@0.5 of each way, with its 95 % interval over pictures, in %.

    Returns:
        One row per way: `heads` (how many), `value`, `low`, `high`.
    """
    rows = {}
    for way, right in boxes.right.items():
        interval = mean_interval(100 * right, boxes.pictures, seed=seed)
        rows[way] = {"heads": len(boxes.heads[way]), "value": 100 * right.mean(), **vars(interval)}
    return pd.DataFrame.from_dict(rows, orient="index")


def gains(boxes: Boxes, seed: int = 0) -> pd.DataFrame:
    """Computes what taking the sink cells out gains, paired by sample, in points.

    Returns:
        One row per way of `AGAINST`: `value`, `low`, `high` (95 %, over pictures), and `changed`, the number
        of samples whose box becomes right or wrong.
    """
    rows = {}
    for way, plain in AGAINST.items():
        gain = 100 * (boxes.right[way] - boxes.right[plain])
        interval = mean_interval(gain, boxes.pictures, seed=seed)
        rows[way] = {"value": gain.mean(), **vars(interval), "changed": int((gain != 0).sum())}
    return pd.DataFrame.from_dict(rows, orient="index")


def verdict(gained: pd.DataFrame, way: str) -> str:
    """Says whether taking the sink cells out costs or gains, from a row of `gains`."""
    row = gained.loc[way]
    if not row.changed:
        return f"{way}: no box becomes right or wrong"
    said = "gains" if row.low > 0 else "costs" if row.high < 0 else "neither costs nor gains for sure"
    return f"{way}: {row.value:+.1f} points [{row.low:.1f}, {row.high:.1f}]: {said}"


def named(table: pd.DataFrame, gained: pd.DataFrame) -> dict[str, float]:
    """Names scores and gains as fractions, for `save_results`: `rec_acc50_` or `gain_`, and the way."""
    found: dict[str, float] = {}
    for stem, rows in (("rec_acc50", table), ("gain", gained)):
        for way, row in rows.iterrows():
            name = f"{stem}_{str(way).replace(', ', '_').replace(' ', '_')}"
            found |= {name: row.value / 100, f"{name}_low": row.low / 100, f"{name}_high": row.high / 100}
    return found
