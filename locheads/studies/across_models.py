"""Compares models: their heads, the layers these lie in, and the correlation of frequency and IoU.

A head's number means nothing in another model, so what is compared is rank, depth, overlap, and which
expressions are missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Shaped
from scipy.stats import rankdata

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.evaluation.intervals import percentiles, resampled_ratios, resampled_sums
from locheads.evaluation.metrics import Correlation, spearman
from locheads.method.selection import Head, Selection, select_heads
from locheads.paper.tables import HEADS
from locheads.studies.across_datasets import Hits

PerHead = Float[np.ndarray, "layer head"]

NAMED_DEPTHS = {
    name: [layer / (layers - 1) for layer, _ in HEADS[name]]
    for name, layers in {"LLaVA-1.5-7B": 32, "LLaVA-1.5-13B": 40}.items()
}
"""Depth of the heads that the paper names: 0 is the first layer of the decoder, 1 the last."""


@dataclass(frozen=True, eq=False)
class Compared:
    """Describes one model's heads, and their overlap with objects on expressions they were not selected on.

    Attributes:
        name: Name of the model.
        samples: From how many expressions the heads were selected.
        selection: Its heads, chosen as in the paper.
        iou: Mean IoU of each head's own map with the object, over held-out expressions; the selection knows
            neither these nor any mask.
        often: Heads chosen in at least the least frequency that is asked for, by layer and head.
        correlation: Spearman's ρ between frequency and IoU over these.
    """

    name: str
    samples: int
    selection: Selection
    iou: Float[np.ndarray, "layer head"]
    often: tuple[Head, ...]
    correlation: Correlation

    @property
    def layers(self) -> int:
        """Returns the number of layers of the decoder."""
        return self.iou.shape[0]


def compared(
    name: str,
    profiled: xr.Dataset,
    measured: xr.Dataset,
    k: int = 3,
    least_frequency: float = 0.01,
    seed: int = 0,
) -> Compared:
    """Selects a model's heads on training expressions, and correlates frequency with held-out IoU.

    The paper's figures 6b and 12.

    Args:
        name: Name of the model.
        profiled: From `locheads.profiling.profile.profile`, of the training expressions.
        measured: The same of held-out samples with masks.
        k: Localization heads.
        least_frequency: Heads chosen in fewer samples are left out of the correlation (1 % in the paper).
        seed: Of trials and resamples.

    Raises:
        LocheadsError: No sample has a mask, so that there is no overlap.
    """
    if measured.iou.isnull().all():
        raise LocheadsError(f"{name}: its held-out profile is of samples without masks; overlap needs masks")
    selection = select_heads(profiled.attention_sum.values, profiled.spatial_entropy.values, k=k, seed=seed)
    iou = measured.iou.mean("sample").values
    often = tuple(Head(*map(int, place)) for place in np.argwhere(selection.frequency >= least_frequency))
    pairs = np.array([(selection.frequency[head], iou[head]) for head in often]).reshape(-1, 2)
    correlation = spearman(pairs[:, 0], pairs[:, 1], seed=seed)
    return Compared(name, profiled.sizes["sample"], selection, iou, often, correlation)


def overview(models: Sequence[Compared]) -> pd.DataFrame:
    """Returns one row per model: its size, its threshold, its localization heads and its ρ."""
    rows = [
        {
            "layers × heads": f"{one.layers} × {one.iou.shape[1]}",
            "expressions": one.samples,
            "threshold τ": round(one.selection.threshold.value, 2),
            "heads that pass": int(one.selection.passing.sum()),
            "heads found": ", ".join(f"{h} ({one.selection.frequency[h]:.0%})" for h in one.selection.heads),
            "ρ": round(one.correlation.rho, 2),
            "95 % interval": f"{one.correlation.low:.2f} to {one.correlation.high:.2f}",
            "over heads": one.correlation.n,
        }
        for one in models
    ]
    return pd.DataFrame(rows, index=pd.Index([one.name for one in models], name="model"))


def correlations(models: Sequence[Compared]) -> list[dict[str, str | int | float | None]]:
    """Returns each model's ρ with its 95 % interval, None where undefined, ready for `save_results`."""
    rows: list[dict[str, str | int | float | None]] = []
    for one in models:
        values = {name: getattr(one.correlation, name) for name in ("rho", "low", "high")}
        defined = {name: value if np.isfinite(value) else None for name, value in values.items()}
        rows.append({"model": one.name, "heads": one.correlation.n, **defined})
    return rows


def layer_shares(frequency: Float[np.ndarray, "layer head"]) -> Float[np.ndarray, " layer"]:
    """Returns the share of all selections that fall on each layer; the shares sum to 1.

    Raises:
        ValueError: When no head was ever chosen.
    """
    total = frequency.sum()
    if total == 0:
        raise ValueError("no head was ever chosen")
    return frequency.sum(axis=1) / total


def sameness(profiled: xr.Dataset, samples: Sequence[Sample]) -> Float[np.ndarray, "layer head"]:
    """Returns the mean correlation of each head's maps of one picture and two different objects.

    The mean correlation over cells of the maps of two expressions of one picture that mean different objects:
    near 1 for a head that looks at the picture whatever is asked, near 0 or below for one that follows the
    expression. Neither criterion of the paper looks at this.

    Args:
        profiled: With the maps of all heads; read one layer at a time.
        samples: Those of the profile, in its order.

    Returns:
        NaN where no two expressions of a picture mean different objects, or a map of the head there
        is uniform.
    """
    pairs = [
        (a, b)
        for a, b in combinations(range(len(samples)), 2)
        if samples[a].image_id == samples[b].image_id and samples[a].box != samples[b].box
    ]
    if not pairs:
        return np.full(profiled.iou.shape[1:], np.nan)
    first, second = np.array(pairs).T
    layers = (profiled.maps[:, layer].values.astype(np.float64) for layer in range(profiled.sizes["layer"]))
    return np.stack([map_correlation(maps[first], maps[second]).mean(axis=0) for maps in layers])


def map_correlation(
    a: Float[np.ndarray, "*batch row column"], b: Float[np.ndarray, "*batch row column"]
) -> Float[np.ndarray, "*batch"]:
    """Returns the correlation over the cells of each two maps; NaN where one is uniform."""
    centred = [maps - maps.mean(axis=(-2, -1), keepdims=True) for maps in (a, b)]
    norms = np.prod([np.sqrt((maps**2).sum(axis=(-2, -1))) for maps in centred], axis=0)
    dots = (centred[0] * centred[1]).sum(axis=(-2, -1))
    return np.divide(dots, norms, out=np.full_like(dots, np.nan), where=norms > 0)


def overrated(one: Compared, most: int = 3) -> tuple[Head, ...]:
    """Returns the heads whose rank by frequency exceeds their rank by IoU the most, in that order."""
    pairs = np.array([(one.selection.frequency[head], one.iou[head]) for head in one.often])
    gap = rankdata(pairs[:, 0]) - rankdata(pairs[:, 1])
    return tuple(one.often[place] for place in np.argsort(-gap, kind="stable")[:most])


def out_of_line(found: Mapping[str, Compared], alike: Mapping[str, PerHead]) -> pd.DataFrame:
    """Returns the localization heads of each model, and those that are chosen too often.

    Args:
        found: By model.
        alike: By model, from `sameness`.

    Returns:
        One row per head, indexed by `model`, `heads` and `head`: `frequency [%]`, `mean IoU [%]` and `alike`.
    """
    rows = []
    for name, one in found.items():
        for group, heads in {"localization": one.selection.heads, "chosen too often": overrated(one)}.items():
            for h in heads:
                percent = 100 * one.selection.frequency[h], 100 * one.iou[h]
                rows.append([name, group, str(h), *percent, alike[name][h]])
    columns = ["model", "heads", "head", "frequency [%]", "mean IoU [%]", "alike"]
    return pd.DataFrame(rows, columns=columns).set_index(["model", "heads", "head"])


def accuracies(outcomes: Mapping[str, Hits], seed: int = 0) -> pd.DataFrame:
    """Returns REC Acc@0.5 of every choice of heads of every model, in per cent.

    Args:
        outcomes: By model.
        seed: Of the bootstrap over pictures, and over draws where there are several.

    Returns:
        One row per model and choice, indexed by both: `value`, `low`, `high` (95 % interval).
    """
    rows = []
    for name, outcome in outcomes.items():
        for which, right in outcome.right.items():
            interval = percentiles(resampled_ratios(outcome.parts(which), outcome.pictures, seed=seed))
            rows.append([name, which, 100 * right.mean(), 100 * interval.low, 100 * interval.high])
    columns = ["model", "heads", "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns).set_index(["model", "heads"])


def shared_misses(
    right: Mapping[str, Float[np.ndarray, " sample"]], pictures: Shaped[np.ndarray, " sample"], seed: int = 0
) -> pd.DataFrame:
    """Measures whether each two models miss the same expressions.

    Args:
        right: By model, whether each sample's box is right (1) or not (0), the same samples in one order.
        pictures: Image id of each sample.
        seed: Of the bootstrap over pictures.

    Returns:
        One row per pair of models: shares in which `both`, `one` or `neither` is right, `by_chance` (the
        share in which neither would be, were they independent), and `phi` with its 95 % interval: the
        correlation of right and wrong, NaN where a model is always right or always wrong.
    """
    rows = []
    for (first, a), (second, b) in combinations(right.items(), 2):
        hits, other = np.asarray(a) > 0, np.asarray(b) > 0
        counts = np.stack([np.ones(len(hits)), hits, other, hits & other], axis=-1)
        interval = percentiles(_phi(resampled_sums(counts, pictures, np.random.default_rng(seed))))
        rows.append(
            {"first": first, "second": second, "both": (hits & other).mean(), "one": (hits ^ other).mean()}
            | {"neither": (~hits & ~other).mean(), "by_chance": (~hits).mean() * (~other).mean()}
            | {"phi": float(_phi(counts.sum(0)[None])[0])}
            | vars(interval)
        )
    columns = ["first", "second", "both", "one", "neither", "by_chance", "phi", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def _phi(counts: Float[np.ndarray, "resample 4"]) -> Float[np.ndarray, " resample"]:
    """Computes φ from the numbers of samples, hits of the first, hits of the second, and common hits."""
    n, a, b, both = counts.T
    spread = np.sqrt(a * (n - a) * b * (n - b))
    return np.divide(n * both - a * b, spread, out=np.full(len(n), np.nan), where=spread > 0)
