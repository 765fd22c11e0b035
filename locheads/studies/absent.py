"""Expressions whose object is not in the picture: does a signal notice?"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from locheads.data import Annotated
from locheads.data.samples import Sample
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.ranking import auroc, auroc_interval
from locheads.studies.calibration import threshold_keeping

Objects = Mapping[str, Sequence[Annotated]]
"""All annotated objects of each picture, by image id."""


def named_category(sample: Sample, objects: Objects) -> str | None:
    """Returns the category of a sample's object if the expression says its name, or else None.

    The object is found by its box; an object in two annotations of different categories has none.
    """
    mine = {one.category for one in objects.get(sample.image_id, ()) if one.box == sample.box}
    if len(mine) != 1:
        return None
    (category,) = mine
    word = rf"\b{re.escape(category)}\b"
    return category if category and re.search(word, sample.expression, re.IGNORECASE) else None


def absent_expressions(
    samples: Sequence[Sample], objects: Objects, limit: int, seed: int = 0
) -> list[Sample]:
    """Pairs pictures with expressions of other pictures whose object is not there.

    An expression qualifies if it says the name of its object's category, and no object of that category,
    crowds included, is annotated in the picture. Each picture gets one such expression, drawn at random.

    Args:
        samples: Samples with boxes, whose pictures and expressions are used.
        objects: All annotated objects.
        limit: At most so many.
        seed: Of the draws.

    Returns:
        Samples without box and mask, of the ids `absent-<id of the expression's own sample>-<image id>`.
    """
    rng, categories = np.random.default_rng(seed), [named_category(one, objects) for one in samples]
    pictures = {one.image_id: one for one in samples if one.image_id in objects}
    found: list[Sample] = []
    for name in rng.permutation(list(pictures)).tolist():
        there = {one.category for one in objects[name]}
        fitting = [i for i, category in enumerate(categories) if category and category not in there]
        if "" not in there and fitting and len(found) < limit:
            other = samples[fitting[rng.integers(len(fitting))]]
            own = replace(pictures[name], expression=other.expression, box=None, segmentation=None)
            found.append(replace(own, sample_id=f"absent-{other.sample_id}-{name}"))
    return found


def present_expressions(samples: Sequence[Sample], objects: Objects) -> list[int]:
    """Returns the positions of the samples that say the name of their object's category."""
    return [i for i, one in enumerate(samples) if named_category(one, objects)]


def detection(
    present: pd.DataFrame, absent: pd.DataFrame, training: pd.DataFrame, names: Sequence[str],
    share: float = 0.9, seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Judges how signals tell present objects from absent ones.

    Args:
        present: Signals of expressions whose object is there, with `image_id` and `hit`.
        absent: Signals of expressions whose object is not there, with `image_id`.
        training: Signals and hits from which thresholds are taken.
        names: The signals.
        share: Of the training hits that a threshold has to keep.
        seed: Of the resamples of pictures.

    Returns:
        By signal: `AUROC` with `low`, `high` (pictures resampled); at the threshold the shares `hits kept`,
        `misses refused` and `absent refused`, the last with `refused_low`, `refused_high`; these are NaN
        where no training expression is a hit.
    """
    both = pd.concat([present, absent], ignore_index=True)
    there = np.arange(len(both)) < len(present)
    rows = {}
    for name in names:
        scores = both[name].to_numpy(float)
        row = {"AUROC": auroc(scores, there)}
        row |= vars(auroc_interval(scores, there, both.image_id.to_numpy(), seed))
        at = threshold_keeping(training[name].to_numpy(float), training.hit.to_numpy(bool), share)
        row |= _refused(_below(present[name], at), present.hit.to_numpy(bool))
        refused = _below(absent[name], at)
        interval = mean_interval(refused, absent.image_id.to_numpy(), seed=seed)
        row |= {"absent refused": float(refused.mean())}
        rows[name] = row | {"refused_low": interval.low, "refused_high": interval.high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("signal")


def _below(scores: pd.Series, at: float) -> Float[np.ndarray, " n"]:
    """Returns 1 for each score below a threshold and 0 for the others; NaN for all if it is not defined."""
    below = (scores.to_numpy(float) < at).astype(float)
    return np.full_like(below, np.nan) if np.isnan(at) else below


def _refused(refused: Float[np.ndarray, " n"], hit: Bool[np.ndarray, " n"]) -> dict[str, float]:
    shares = {"hits kept": float(1 - refused[hit].mean()) if hit.any() else float("nan")}
    return shares | {"misses refused": float(refused[~hit].mean()) if (~hit).any() else float("nan")}
