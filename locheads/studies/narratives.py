"""Grounds the phrases of captions (Panoptic Narrative Grounding): several objects, background, context."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image

from locheads import paper
from locheads.data.samples import Sample, true_mask
from locheads.evaluation.evaluate import Variant, evaluate_variants
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.scores import differences, scores
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import Segmenter
from locheads.profiling.profile import BATCH, maps_of

GROUPS: Mapping[str, Callable[[Sample], bool]] = {
    "all": lambda one: True,
    "things": lambda one: bool(one.is_thing),
    "stuff": lambda one: not one.is_thing,
    "singular": lambda one: not one.is_plural,
    "plural": lambda one: bool(one.is_plural),
}
LARGEST, ALL = "largest", "all"
IN_CAPTION, ALONE = "in its caption", "phrase alone"
FIRST = "first of a caption"
PLACES = (FIRST, "later: singular things", "later: plural things", "later: stuff")

Case = tuple[Image.Image, str, np.ndarray, np.ndarray, np.ndarray]
"""Picture, phrase, box of all cells, box of the largest component, true box."""


def sizes(phrases: Sequence[Sample]) -> pd.DataFrame:
    """Returns the number of phrases and pictures of each group, and its first phrase."""
    rows = {}
    for name, belongs in GROUPS.items():
        some = [one for one in phrases if belongs(one)]
        pictures = len({one.image_id for one in some})
        example = some[0].expression if some else ""
        rows[name] = {"phrases": len(some), "pictures": pictures, "for example": example}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")


def ground_phrases(
    lvlm: Lvlm, segmenter: Segmenter, phrases: Sequence[Sample], ways: Mapping[str, Variant],
    batch: int = BATCH,
) -> pd.DataFrame:  # fmt: skip
    """Returns the rows of `evaluate_variants` with `covered`: the share of the mask in the box."""
    outcomes = evaluate_variants(lvlm, segmenter, phrases, maps_of(lvlm, phrases, batch), ways)
    by_id = {one.sample_id: one for one in phrases}
    return outcomes.assign(covered=[_covered(by_id[row.sample_id], row.box) for row in outcomes.itertuples()])


def _covered(sample: Sample, box: tuple[float, float, float, float]) -> float:
    mask, (x0, y0, x1, y1) = true_mask(sample), (round(side) for side in box)
    return float(mask[y0:y1, x0:x1].sum() / mask.sum())


def by_group(outcomes: pd.DataFrame, phrases: Sequence[Sample]) -> dict[str, pd.DataFrame]:
    """Returns the outcomes of each of `GROUPS` that has a phrase."""
    members = {n: [one.sample_id for one in phrases if belongs(one)] for n, belongs in GROUPS.items()}
    return {name: outcomes[outcomes.sample_id.isin(ids)] for name, ids in members.items() if ids}


def recalls(outcomes: pd.DataFrame, phrases: Sequence[Sample], seed: int = 0) -> pd.DataFrame:
    """Computes the average recall of each group and way to a box.

    Returns:
        Columns `group`, `variant`, `value`, `low`, `high` (in [0, 1]) and `samples`.
    """
    groups = by_group(outcomes, phrases)
    rows = pd.concat([some.assign(group=name) for name, some in groups.items()])
    table = scores(rows, seed=seed, by=["group", "variant"], metrics=["res_giou"])
    return table.assign(samples=table["group"].map(rows.groupby("group").sample_id.nunique()))


def mask_ious(outcomes: pd.DataFrame) -> pd.Series:
    """Returns the IoU of each mask with the true one, indexed by `sample_id`."""
    return pd.Series((outcomes.intersection / outcomes.union).to_numpy(float), outcomes.sample_id)


def ious_by_kind(outcomes: pd.DataFrame, phrases: Sequence[Sample]) -> dict[str, Float[np.ndarray, " n"]]:
    """Returns the mask IoUs of singular things, plural things and stuff, with the way of the paper."""
    ious = mask_ious(outcomes[outcomes.variant == LARGEST])
    kinds: dict[str, list[float]] = {}
    for one in phrases:
        kind = f"things, {'plural' if one.is_plural else 'singular'}" if one.is_thing else "stuff"
        kinds.setdefault(kind, []).append(ious[one.sample_id])
    order = ("things, singular", "things, plural", "stuff")
    return {kind: np.array(kinds[kind]) for kind in order if kind in kinds}


def one_box(outcomes: pd.DataFrame, phrases: Sequence[Sample], seed: int = 0) -> pd.DataFrame:
    """Compares the box of all cells with that of the largest component, for singular and plural phrases.

    Returns:
        By group, in [0, 1]: the share of the phrase's pixels that each box covers, and the `gain` in average
        recall of all cells over the largest component with its interval (`low`, `high`).
    """
    rows = {}
    for name, some in by_group(outcomes, phrases).items():
        if name in ("singular", "plural"):
            gain = differences(some, LARGEST, seed=seed, metrics=["res_giou"]).set_index("variant").loc[ALL]
            covered = some.groupby("variant").covered.mean()
            rows[name] = {"covered, largest": covered[LARGEST], "covered, all": covered[ALL]}
            rows[name] |= {"gain": gain.value, "low": gain.low, "high": gain.high}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("phrases")


def examples(outcomes: pd.DataFrame, phrases: Sequence[Sample]) -> list[Case]:
    """Returns the first four plural phrases, two later singular things and two of stuff, with three boxes."""
    boxes = outcomes.pivot(index="sample_id", columns="variant", values="box")
    plural = [one for one in phrases if one.is_plural][:4]
    things = [one for one in phrases if one.is_thing and not one.is_plural and not is_first(one)][:2]
    stuff = [one for one in phrases if not one.is_thing and not one.is_plural][:2]
    return [
        (
            one.image,
            f"… {one.phrase}",
            np.array(boxes.loc[one.sample_id, ALL], float),
            np.array(boxes.loc[one.sample_id, LARGEST], float),
            np.array(one.box, float),
        )
        for one in plural + things + stuff
    ]


def is_first(phrase: Sample) -> bool:
    """Returns whether a phrase begins its caption, so that nothing stands before it."""
    return phrase.phrase is not None and _plain(phrase.expression) == _plain(phrase.phrase)


def _plain(text: str) -> str:
    return text.strip().removesuffix(".").lower()


def place(phrase: Sample) -> str:
    """Returns which of `PLACES` a phrase has in its caption."""
    if is_first(phrase):
        return FIRST
    number = "plural" if phrase.is_plural else "singular"
    return f"later: {number} things" if phrase.is_thing else "later: stuff"


def without_caption(
    lvlm: Lvlm, segmenter: Segmenter, phrases: Sequence[Sample], outcomes: pd.DataFrame, way: Variant,
    batch: int = BATCH,
) -> pd.DataFrame:  # fmt: skip
    """Grounds each phrase as an expression of its own, beside its outcome in the caption.

    Returns:
        Rows of `evaluate_variants` with `reading` (in its caption, phrase alone) and `place` (of `PLACES`).
    """
    alone = [replace(one, expression=one.phrase or one.expression) for one in phrases]
    again = evaluate_variants(lvlm, segmenter, alone, maps_of(lvlm, alone, batch), {LARGEST: way})
    before = outcomes[outcomes.variant == LARGEST]
    both = pd.concat([before.assign(reading=IN_CAPTION), again.assign(reading=ALONE)])
    places = {one.sample_id: place(one) for one in phrases}
    return both.assign(place=pd.Categorical(both.sample_id.map(places), PLACES, ordered=True))


def context_table(readings: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Computes the average recall in the caption and alone, and their paired difference.

    Args:
        readings: From `without_caption`.
        seed: Of the bootstrap over pictures.

    Returns:
        By place, in [0, 1]: `phrases`, the recall of both readings, and `gain` (alone − in its caption) with
        its 95 % interval (`low`, `high`).
    """
    rows = {}
    for where, some in readings.groupby("place", observed=True):
        ious = {name: mask_ious(part) for name, part in some.groupby("reading")}
        gain = ious[ALONE] - ious[IN_CAPTION]
        pictures = some.drop_duplicates("sample_id").set_index("sample_id").image_id[gain.index].to_numpy()
        rows[where] = {"phrases": len(gain), IN_CAPTION: ious[IN_CAPTION].mean(), ALONE: ious[ALONE].mean()}
        rows[where] |= {"gain": gain.mean()} | vars(mean_interval(gain.to_numpy(), pictures, seed=seed))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("place")


def beside_the_paper(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Returns Table 9 and this model's average recall, in %: one row per model and way, one column per group.

    Args:
        table: From `recalls`.
        name: Of this model.
    """
    models = ("DeepSeek-VL-7B", "F-LMM (DeepSeek-VL-7B)")
    rows = {f"{one}, paper": {"all": paper.reported("png", one, "png", "").value} for one in models}
    for way, some in table.groupby("variant", sort=False):
        rows[f"{name}, {way} cells" if way == ALL else f"{name}, largest component"] = dict(
            zip(some["group"], 100 * some["value"], strict=True)
        )
    return pd.DataFrame.from_dict(rows, orient="index")
