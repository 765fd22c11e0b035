"""Reads what was measured of the decoders of `specimen.arms`; compares arms, seeds and steps of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import spearmanr

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.evaluation.intervals import percentiles, resampled_ratios
from locheads.method.boxes import box_iou
from locheads.model.own_answer import parse_numbers, parse_place, region_box
from locheads.model.shipped import WEIGHTS

RECORDS = WEIGHTS.with_name("records") / "arms"
"""A file for each decoder and each step after which it was measured: `<arm>-<seed>-<step>.npz`."""
STEPS = 1_500
"""Steps of training of a finished decoder."""
BINS = 24
"""Steps of a coordinate in an answer: patches along a side of the picture."""
EVER = 0.01
"""A head is ever chosen where it is in this share of the samples."""
FEWEST = 4
"""Heads that a rank correlation needs at least."""
TEXT = "text"
"""The arm that has read texts before."""
IN_WORDS = {
    "words": "looks alone",
    "places": "looks and place",
    "boxes": "looks and box",
    "text": "text first",
}
"""What the answers of an arm say; the last says what `places` says, and has read texts before."""


@dataclass(frozen=True, eq=False)
class Measured:
    """What was measured of one decoder after some steps; `found` is as `specimen.arms.measured` gives it."""

    arm: str
    seed: int
    step: int
    found: Mapping[str, np.ndarray]

    def figures(self) -> dict[str, float]:
        """Returns its numbers, shares in [0, 1]; `rho` is NaN where fewer than `FEWEST` heads are chosen."""
        found = self.found
        ever = found["frequency"] >= EVER
        best = np.unravel_index(found["iou_train"].argmax(), ever.shape)
        rho = (
            spearmanr(found["frequency"][ever], found["iou"][ever]).statistic
            if ever.sum() >= FEWEST
            else np.nan
        )
        return {
            "answers": float(found["answers"].mean()),
            "best head's IoU": float(found["iou"][best]),
            "three heads": float((found["box_iou"] >= 0.5).mean()),
            "best head": float((found["box_iou_best"] >= 0.5).mean()),
            "ρ": float(rho),
            "chosen heads": int(ever.sum()),
            "median attention sum": float(np.median(found["attention_sum"])),
            "threshold": float(found["threshold"]),
        }


def read(folder: Path | str = RECORDS) -> list[Measured]:
    """Reads the records of all finished decoders, by arm, seed and step.

    Raises:
        LocheadsError: There are none.
    """
    folder = Path(folder)
    last = sorted(folder.glob(f"*-*-{STEPS:05}.npz"))
    files = [file for one in last for file in folder.glob(one.name.replace(f"{STEPS:05}", "*"))]
    if not files:
        raise LocheadsError(f"{folder}: no records; `locheads train arms` makes them, in hours")
    records = []
    for file in files:
        arm, seed, step = file.stem.split("-")
        with np.load(file) as found:
            records.append(Measured(arm, int(seed), int(step), dict(found)))
    return sorted(records, key=lambda one: (list(IN_WORDS).index(one.arm), one.seed, one.step))


def table(records: Sequence[Measured]) -> pd.DataFrame:
    """Returns one row per record: `arm`, `seed`, `step` and its figures."""
    return pd.DataFrame([{"arm": r.arm, "seed": r.seed, "step": r.step, **r.figures()} for r in records])


def finished(records: Sequence[Measured], arm: str) -> list[Measured]:
    """Returns the records of an arm's finished decoders, one per seed."""
    return [one for one in records if one.arm == arm and one.step == STEPS]


def half_way(
    steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"], start: float | None = None
) -> float:
    """Returns the step, interpolated, at which a figure is half way from its start to its last value.

    The start is the first value, or `start` where it is given.
    Where it passes the half several times, the last time counts: from there on it stays above.

    Example:
        >>> half_way(np.array([0.0, 100, 200, 400]), np.array([0.0, 0.2, 0.6, 0.8]))
        150.0
    """
    half = ((values[0] if start is None else start) + values[-1]) / 2
    above = (values >= half) == (values[-1] >= half)
    after = int(np.flatnonzero(~above)[-1]) + 1 if not above.all() else 0
    if after == 0:
        return float(steps[0])
    share = (half - values[after - 1]) / (values[after] - values[after - 1])
    return float(steps[after - 1] + share * (steps[after] - steps[after - 1]))


def half_ways(rows: pd.DataFrame, starts: Mapping[str, float | None]) -> pd.DataFrame:
    """Returns the step half way for some figures, one row per seed.

    Args:
        rows: From `table`, of one arm.
        starts: The figures, and from which value on each counts; None: from its first.
    """
    found = {
        seed: {
            name: half_way(some.step.to_numpy(float), some[name].to_numpy(float), start)
            for name, start in starts.items()
        }
        for seed, some in rows.sort_values("step").groupby("seed")
    }
    return pd.DataFrame(found).T.rename_axis("seed")


def which_first(half: pd.DataFrame, one: str, other: str) -> str:
    """Says in how many seeds one figure is half way before another, as a sentence.

    Args:
        half: From `half_ways`.
        one: The figure that may come first.
        other: That it may precede.
    """
    before = int((half[one] < half[other]).sum())
    steps = [" ".join(f"{value:.0f}" for value in half[name]) for name in (one, other)]
    return (
        f"{one} is half way before {other} in {before} of {len(half)} seeds "
        f"(after {steps[0]} steps against {steps[1]})"
    )


def likeness(records: Sequence[Measured], name: str = "iou") -> pd.DataFrame:
    """Returns Spearman's ρ, over all heads, between a value at each step and the last, by step and seed."""
    last = {one.seed: one for one in records if one.step == STEPS}
    rows = [
        (one.step, one.seed, spearmanr(one.found[name], last[one.seed].found[name], axis=None).statistic)
        for one in records
        if one.seed in last
    ]
    return pd.DataFrame(rows, columns=["step", "seed", "ρ"]).pivot(index="step", columns="seed", values="ρ")


def own_ious(one: Measured, samples: Sequence[Sample]) -> Float[np.ndarray, " n"]:
    """Returns the IoU of the box that each answer states with the true box; 0 where it states none.

    Args:
        one: A finished decoder; four numbers count patches from the left and top, two words name a region.
        samples: Those that it was measured on, in order.

    Raises:
        LocheadsError: They are others.
    """
    if [str(sample.image_id) for sample in samples] != list(one.found["image"].astype(str)):
        raise LocheadsError(f"records of arm '{one.arm}': they are of other samples than those given")
    boxes = np.array([_stated(str(text), s.size) for text, s in zip(one.found["said"], samples, strict=True)])
    return box_iou(boxes, np.array([sample.box for sample in samples], float))


def _stated(text: str, size: tuple[int, int]) -> Float[np.ndarray, "4"]:
    """Returns the box of an answer, in pixels; an empty one where there is none."""
    if numbers := parse_numbers(text):
        return np.array(numbers) * np.tile(size, 2) / BINS
    if place := parse_place(text):
        return np.asarray(region_box(place, size), float)
    return np.zeros(4)


def compared(
    hits: Mapping[str, Float[np.ndarray, "seed n"]], pictures: np.ndarray, against: str, seed: int = 0
) -> pd.DataFrame:
    """Compares shares of hits between arms; intervals resample pictures, the same in all arms, and seeds.

    Args:
        hits: Arm → a value in [0, 1] by seed and sample.
        pictures: The picture of each sample.
        against: The arm that the others are compared with.
        seed: Of the resamples.

    Returns:
        One row per arm: `value`, `low`, `high`, and of the difference to `against` `difference`, `from`,
        `to`.
    """
    draws = {arm: resampled_ratios(_parts(values), pictures, seed=seed) for arm, values in hits.items()}
    rows = {}
    for arm, values in hits.items():
        own, apart = percentiles(draws[arm]), percentiles(draws[arm] - draws[against])
        difference = values.mean() - hits[against].mean()
        rows[arm] = [values.mean(), own.low, own.high, difference, apart.low, apart.high]
    columns = ["value", "low", "high", "difference", "from", "to"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def _parts(values: Float[np.ndarray, "seed n"]) -> Float[np.ndarray, "n seed 2"]:
    """Returns numerator and denominator of a mean, by sample and seed."""
    return np.stack([values.T, np.ones_like(values.T)], -1).astype(float)
