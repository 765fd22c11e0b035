"""Measures what heads found on another data set cost, pair by pair and on average."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from locheads.evaluation.intervals import corrected, expected_by_chance, percentiles, resampled_ratios
from locheads.evaluation.metrics import Interval
from locheads.studies.across_datasets import RANDOM, Hits


@dataclass(frozen=True, eq=False)
class Costs:
    """What heads of another set, and random heads, change against a set's own heads.

    Attributes:
        foreign: Rows of `transfer` for two different sets, with `survives` (Holm's correction over the pairs
            that differ on any expression; `p` of the others, mostly of equal heads, is NaN).
        foreign_mean, random_mean: Mean differences over all pairs, in [-1, 1].
        foreign_interval, random_interval: 95 % intervals of these means, over pictures and draws.
    """

    foreign: pd.DataFrame
    foreign_mean: float
    foreign_interval: Interval
    random_mean: float
    random_interval: Interval

    def __str__(self) -> str:
        some, compared = self.foreign, self.foreign.dropna(subset="p")
        alone = (compared["gain_low"] > 0) | (compared["gain_high"] < 0)
        lines = [
            f"{len(some)} pairs of sets, {len(compared)} differ on some expression; by chance "
            f"{expected_by_chance(len(compared)):.1f} of these would stand out; {alone.sum()} do, "
            f"{some.survives.sum()} survive Holm's correction"
        ]
        for what, mean, ends in (
            ("heads of another set", self.foreign_mean, self.foreign_interval),
            ("random heads that pass τ", self.random_mean, self.random_interval),
        ):
            lines.append(f"{what}: mean difference {_points(mean, ends.low, ends.high)}")
        if len(some):
            for word, row in (
                ("worst", some.loc[some.gain.idxmin()]),
                ("best", some.loc[some.gain.idxmax()]),
            ):
                difference = _points(row.gain, row.gain_low, row.gain_high)
                lines.append(f"{word} pair: {row.found} used on {row.used}, {difference}")
        return "\n".join(lines)

    def numbers(self) -> dict[str, float | int | None]:
        """Returns the named numbers to save; costs are differences with the sign turned."""
        least = self.foreign.loc[self.foreign.gain.idxmin()] if len(self.foreign) else None
        return {
            "pairs_of_sets": len(self.foreign),
            "pairs_that_differ": int(self.foreign.p.notna().sum()),
            "pairs_that_survive": int(self.foreign.survives.sum()),
            "mean_cost_of_foreign_heads": -self.foreign_mean if len(self.foreign) else None,
            "mean_cost_of_random_heads": -self.random_mean,
            "mean_cost_of_random_heads_low": -self.random_interval.high,
            "mean_cost_of_random_heads_high": -self.random_interval.low,
            "mean_cost_of_foreign_heads_low": -self.foreign_interval.high if len(self.foreign) else None,
            "mean_cost_of_foreign_heads_high": -self.foreign_interval.low if len(self.foreign) else None,
            "largest_cost_of_foreign_heads": None if least is None else -float(least.gain),
        }


def _points(value: float, low: float, high: float) -> str:
    return f"{100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"


def costs(used_on: Mapping[str, Hits], table: pd.DataFrame, seed: int = 0) -> Costs:
    """Compares foreign and random heads with a set's own, pair by pair and on average.

    Args:
        used_on: `hits` by data set, with those of `RANDOM` heads.
        table: `transfer` of the same.
        seed: Of the bootstrap; the pictures of each set are resampled independently.
    """
    foreign = table[(table.found != table.used) & (table.found != RANDOM)].assign(metric="rec_acc50")
    alike = [(used_on[u].right[f] == used_on[u].right[u]).all() for f, u in foreign[["found", "used"]].values]
    foreign["p"] = foreign["p"].mask(alike)
    means = {}
    for kind in (False, True):
        gains, values = [], []
        for number, (used, outcome) in enumerate(used_on.items()):
            own = resampled_ratios(outcome.parts(used), outcome.pictures, seed=seed + number)
            for found in (name for name in outcome.right if name != used and (name == RANDOM) is kind):
                other = resampled_ratios(outcome.parts(found), outcome.pictures, seed=seed + number)
                gains.append(other - own)
                values.append(outcome.right[found].mean() - outcome.right[used].mean())
        interval = percentiles(np.mean(gains, axis=0)) if gains else Interval(np.nan, np.nan)
        means[kind] = (float(np.mean(values)) if values else float("nan"), interval)
    return Costs(corrected(foreign).drop(columns="metric"), *means[False], *means[True])


def mean_cost(foreign: pd.DataFrame) -> pd.DataFrame:
    """Returns mean differences in points: of foreign heads used on a set, and of its heads used elsewhere."""
    by = {"foreign heads used on it": "used", "its heads used elsewhere": "found"}
    return pd.DataFrame({name: 100 * foreign.groupby(key).gain.mean() for name, key in by.items()})
