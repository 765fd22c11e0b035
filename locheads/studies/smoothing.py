"""Grounds with other smoothing: σ and kernel (Table 8), and σ together with the level of the mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr
from PIL import Image

from locheads import paper
from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Heads, Variant, boxes_of, stored_maps
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import box_iou
from locheads.model.lvlm import Lvlm

PAPER = "sigma1.0_kernel7"
"""Name of the paper's setting among the variants."""

Case = tuple[Image.Image, str, np.ndarray, np.ndarray, float]
"""Picture, title, true box, found box, IoU."""


def smoothing_variants(heads: Heads, sigmas: Sequence[float], kernels: Sequence[int]) -> dict[str, Variant]:
    """Returns the variants of Table 8: each σ with a kernel of 7 cells, each kernel with σ = 1.

    Args:
        heads: The localization heads.
        sigmas: Standard deviations in cells.
        kernels: Widths in cells, odd.

    Returns:
        Variants named as in `"sigma1.0_kernel7"`, which is always among them.
    """
    pairs = [*((sigma, 7) for sigma in sigmas), (1.0, 7), *((1.0, kernel) for kernel in kernels)]
    return {f"sigma{s:.1f}_kernel{n}": Variant(heads, kernel=n, sigma=float(s)) for s, n in pairs}


def along(table: pd.DataFrame, variants: Mapping[str, Variant], setting: str) -> pd.DataFrame:
    """Returns the scores along one of the two settings, the other being the paper's.

    Args:
        table: From `evaluation.scores.scores`, by variant.
        variants: From `smoothing_variants`.
        setting: `"sigma"` (with a kernel of 7) or `"kernel"` (with σ = 1).

    Returns:
        The rows of `table` on that line, with the column `setting`.
    """
    fixed = {"sigma": ("kernel", 7), "kernel": ("sigma", 1.0)}[setting]
    on = {name: getattr(v, setting) for name, v in variants.items() if getattr(v, fixed[0]) == fixed[1]}
    some = table[table.variant.isin(on)]
    return some.assign(setting=some.variant.map(on)).sort_values("setting", kind="stable")


def by_level(
    lvlm: Lvlm,
    samples: Sequence[Sample],
    profiled: xr.Dataset,
    heads: Heads,
    sigmas: Sequence[float],
    levels: Sequence[float],
    seed: int = 0,
) -> pd.DataFrame:
    """Scores boxes for each σ with each level, with a kernel of 7 cells.

    Args:
        lvlm: The model that gave the maps.
        samples: Samples with a box.
        profiled: Their profile, in the same order, with maps.
        heads: The localization heads.
        sigmas: Standard deviations in cells.
        levels: The summed map is binarised above these multiples of its mean.
        seed: Of the bootstrap.

    Returns:
        Columns `sigma`, `level`, `value` (REC Acc@0.5), `low`, `high` (95 %, over pictures), in [0, 1],
        and `area`: the median area of the box over that of the object.
    """
    true = np.array([sample.box for sample in samples], float)
    pictures = np.array([sample.image_id for sample in samples])
    windows = [lvlm.window(sample.size) for sample in samples]
    maps = [one[tuple(np.array(heads).T)][None] for one in stored_maps(profiled)]  # 1 × k × row × column
    taken = tuple(type(heads[0])(0, number) for number in range(len(heads)))
    rows = []
    for sigma, level in product(sigmas, levels):
        boxes = boxes_of(Variant(taken, sigma=float(sigma), level=level), maps, windows)
        hits = (box_iou(boxes, true) >= 0.5).astype(float)
        interval = vars(mean_interval(hits, pictures, seed=seed))
        area = float(np.median(_areas(boxes) / _areas(true)))
        rows.append({"sigma": sigma, "level": level, "value": hits.mean()} | interval | {"area": area})
    return pd.DataFrame(rows)


def best_of(grid: pd.DataFrame) -> pd.Series:
    """Returns the row of `by_level` with the highest score; of equal ones the first."""
    return grid.loc[grid.value.idxmax()]


def box_areas(outcomes: pd.DataFrame, samples: Sequence[Sample]) -> pd.Series:
    """Returns the median area of the boxes of each variant, that of the object being 1."""
    true = {sample.sample_id: _areas(np.array([sample.box], float))[0] for sample in samples}
    areas = _areas(np.stack(outcomes.box.to_numpy())) / outcomes.sample_id.map(true)
    return areas.groupby(outcomes.variant, sort=False).median()


def extremes(
    outcomes: pd.DataFrame,
    samples: Sequence[Sample],
    variants: Mapping[str, Variant],
    compared: Sequence[str],
) -> list[Case]:
    """Returns the samples that the middle variant helps most, and harms most, against the first one.

    Args:
        outcomes: From `evaluate_variants`.
        samples: The samples.
        variants: The variants by name.
        compared: Names of the variants to show.

    Returns:
        One case per sample and compared variant, as `plotting.grounding_grid` takes them.
    """
    iou, boxes = (outcomes.pivot(index="sample_id", columns="variant", values=v) for v in ("box_iou", "box"))
    change = iou[compared[len(compared) // 2]] - iou[compared[0]]
    by_id = {sample.sample_id: sample for sample in samples}
    cases = []
    for name, variant in product((change.idxmax(), change.idxmin()), compared):
        sample = by_id[name]
        title = f"σ = {variants[variant].sigma:g}: {sample.expression}"
        true, found = np.array(sample.box, float), np.array(boxes[variant][name])
        cases.append((sample.image, title, true, found, iou[variant][name]))
    return cases


def beside_table8(table: pd.DataFrame, variants: Mapping[str, Variant], name: str) -> pd.DataFrame:
    """Puts scores beside those of Table 8 (LLaVA-1.5-13B, RefCOCO val), in per cent.

    Args:
        table: From `evaluation.scores.scores`, by variant.
        variants: From `smoothing_variants`.
        name: Name of the model that has these scores.

    Returns:
        One row per variant; the paper's columns are empty for settings that it did not try.
    """
    frame = paper.frame()
    printed = frame[frame.table == "Table 8"].pivot(index="setting", columns="task", values="value")
    value = 100 * table.pivot(index="variant", columns="metric", values="value")
    rows = []
    for variant, one in variants.items():
        sigma = "sigma=0" if one.sigma == 0 else f"sigma={one.sigma:.1f}"
        theirs = printed.reindex([sigma if one.kernel == 7 else f"kernel={one.kernel}"]).iloc[0]
        mine = value.loc[variant]
        rows.append([one.sigma, one.kernel, theirs.rec, theirs.res, mine.rec_acc50, mine.res_ciou])
    columns = ["paper REC [%]", "paper RES [%]", f"{name} REC [%]", f"{name} RES [%]"]
    return pd.DataFrame(rows, columns=["σ", "kernel", *columns]).set_index(["σ", "kernel"])


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.asarray((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), float)
