"""Varies one setting of head selection at a time, and measures how stable the chosen heads are.

Threshold and heads kept per sample (figures 13 and 14), samples, trials. All of it works on the attention
sums and spatial entropies of a profile; `evaluation.evaluate` grounds with the result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy import stats

from locheads.errors import LocheadsError
from locheads.evaluation.evaluate import Variant
from locheads.evaluation.intervals import corrected
from locheads.evaluation.metrics import bootstrap_interval
from locheads.method.criteria import curvature_threshold
from locheads.method.frequency import frequency_over_trials
from locheads.method.selection import Head, candidates, name_of, passing_heads, select_heads, top_heads


@dataclass(frozen=True)
class Stability:
    """Says over which settings the same heads are the most frequent ones.

    Attributes:
        share: Share of the settings with a choice at which they are; None where there is none.
        share_in_span: The same within the range that the paper examines.
        first, last: Least and largest such setting; None where there is none.
        passing: Most and fewest heads that pass τ in the paper's range; None where no setting is in it.
    """

    share: float | None
    share_in_span: float | None
    first: float | None
    last: float | None
    passing: tuple[int, int] | None

    @property
    def reach(self) -> str:
        """Returns the least and the largest setting at which the heads are the same, in words."""
        if self.first is None or self.last is None:
            return "nowhere"
        return f"{self.first:.2f} to {self.last:.2f}"

    def words(self, heads: int, span: tuple[float, float]) -> str:
        """Says the same in words; what no setting tells is left out."""
        lines = []
        if self.share is not None:
            lines.append(f"the same {heads} heads at {self.share:.0%} of these: {self.reach}")
        if self.share_in_span is not None:
            lines.append(f"in the paper's range, {span[0]} to {span[1]}: at {self.share_in_span:.0%}")
        if self.passing is not None:
            lines.append(
                f"there {self.passing[0]} heads pass at the lower end, {self.passing[1]} at the upper one"
            )
        return "\n".join(lines or ["no setting leaves a choice"])


@dataclass(frozen=True, eq=False)
class Sweep:
    """Describes the result of head selection for each value of one setting.

    Attributes:
        values: Values of the setting.
        frequency: Selection frequency of every head, in [0, 1].
        passing: How many heads pass the threshold.
        kept: How many of them a sample keeps.
        heads: The most frequent heads, most frequent first; none where fewer than asked for were ever chosen.
    """

    values: Float[np.ndarray, " setting"]
    frequency: Float[np.ndarray, "setting layer head"]
    passing: Int[np.ndarray, " setting"]
    kept: Int[np.ndarray, " setting"]
    heads: tuple[tuple[Head, ...], ...]

    @property
    def has_choice(self) -> Bool[np.ndarray, " setting"]:
        """Returns where more heads pass than a sample keeps; elsewhere entropy has no effect."""
        return self.passing > self.kept

    @property
    def variants(self) -> dict[str, Variant]:
        """Returns one variant per distinct set of heads, named by `name_of`."""
        return {name_of(heads): Variant(heads) for heads in self.heads if heads}

    def same(self, heads: Sequence[Head]) -> Bool[np.ndarray, " setting"]:
        """Returns where these heads, in any order, are the most frequent."""
        return np.array([set(found) == set(heads) for found in self.heads])

    def stability(self, heads: Sequence[Head], span: tuple[float, float]) -> Stability:
        """Summarises where these heads are the most frequent, over the settings that leave a choice.

        Args:
            heads: The heads.
            span: The range that the paper examines, both ends included.
        """
        within = (self.values >= span[0] - 1e-9) & (self.values <= span[1] + 1e-9)
        same, choice = self.same(heads), self.has_choice
        found, inside, passing = self.values[same & choice], choice & within, self.passing[within]
        return Stability(
            share=float(same[choice].mean()) if choice.any() else None,
            share_in_span=float(same[inside].mean()) if inside.any() else None,
            first=float(found.min()) if len(found) else None,
            last=float(found.max()) if len(found) else None,
            passing=(int(passing.max()), int(passing.min())) if passing.size else None,
        )

    def found(self, table: pd.DataFrame) -> pd.DataFrame:
        """Lists the distinct sets of heads with their scores.

        Args:
            table: From `evaluation.scores.scores`, by variant, for `variants`.

        Returns:
            One row per set, in the order of the settings: `first`, `last` and `settings` (how many), and the
            scores in per cent, one column per metric.
        """
        values = 100 * table.pivot(index="variant", columns="metric", values="value")
        grouped = self._named().groupby("variant", sort=False).setting
        counted = grouped.agg(first="min", last="max", settings="size")
        return counted.join(values.rename_axis(columns=None), how="inner").rename_axis("heads")

    def curve(self, table: pd.DataFrame) -> pd.DataFrame:
        """Returns the scores, in [0, 1], at each setting: the columns of `table`, and `setting`."""
        return self._named().merge(table, on="variant")

    def _named(self) -> pd.DataFrame:
        pairs = zip(self.values, self.heads, strict=True)
        chosen = [(value, name_of(heads)) for value, heads in pairs if heads]
        return pd.DataFrame(chosen, columns=["setting", "variant"])


def sweep_threshold(
    profiled: xr.Dataset, thresholds: Sequence[float], k: int = 3, kept: int = 10, seed: int = 0
) -> Sweep:
    """Selects heads with each of several thresholds τ, not the one at the maximum curvature (figure 13)."""
    return _sweep(profiled, thresholds, [(tau, kept) for tau in thresholds], k, seed)


def sweep_kept(profiled: xr.Dataset, kept: Sequence[int], k: int = 3, seed: int = 0) -> Sweep:
    """Selects heads with each of several numbers of lowest-entropy heads kept per sample (figure 14)."""
    tau = curvature_threshold(profiled.attention_sum.values.mean(0)).value
    return _sweep(profiled, kept, [(tau, number) for number in kept], k, seed)


def _sweep(
    profiled: xr.Dataset,
    values: Sequence[float] | Sequence[int],
    settings: Sequence[tuple[float, int]],
    k: int,
    seed: int,
) -> Sweep:
    sums, entropies = profiled.attention_sum.values, profiled.spatial_entropy.values
    frequency = np.stack(
        [frequency_over_trials(candidates(sums, entropies, tau, kept), seed) for tau, kept in settings]
    )
    heads = [top_heads(one, k) if np.count_nonzero(one) >= k else () for one in frequency]
    passing = np.array([passing_heads(sums, tau).sum() for tau, _ in settings])
    kept = np.array([kept for _, kept in settings])
    return Sweep(np.array(values, float), frequency, passing, kept, tuple(heads))


def rank_agreement(frequency: Float[np.ndarray, "draw layer head"]) -> Float[np.ndarray, " pair"]:
    """Returns Spearman's ρ between the selection frequencies of each two draws.

    Heads that neither of the two ever chose are left out: they would agree on nothing but being left out.
    """
    flat = frequency.reshape(len(frequency), -1)
    agreement = []
    for a, b in combinations(flat, 2):
        either = (a > 0) | (b > 0)
        agreement.append(stats.spearmanr(a[either], b[either]).statistic)
    return np.array(agreement)


def found_again(
    profiled: xr.Dataset, sizes: Sequence[int], k: int = 3, kept: int = 10, draws: int = 20, seed: int = 0
) -> pd.DataFrame:
    """Compares the heads selected from a few samples with those selected from the others.

    Every draw selects heads from a random subset, with a threshold of its own, and again from the samples
    outside of the subset.

    Args:
        profiled: The profile.
        sizes: Sizes of the subset, each smaller than the number of samples.
        k: How many heads.
        kept: Candidates per sample.
        draws: Random subsets of each size.
        seed: Of the subsets.

    Returns:
        Columns `samples`, `draw`, `shared` (the share of the `k` heads that both find) and `same` (whether
        they find the same ones).

    Raises:
        LocheadsError: A subset is empty or leaves no sample.
        ValueError: When no head was ever chosen.
    """
    sums, entropies = profiled.attention_sum.values, profiled.spatial_entropy.values
    for size in sizes:
        if not 0 < size < len(sums):
            raise LocheadsError(f"sizes: {size} of {len(sums)} samples leave no two groups to compare")
    rng = np.random.default_rng(seed)
    rows = []
    for size in sizes:
        for draw in range(draws):
            parts = np.split(rng.permutation(len(sums)), [size])
            few, rest = (_most_frequent(sums[part], entropies[part], k, kept, seed) for part in parts)
            shared = len(few & rest) / k
            rows.append({"samples": size, "draw": draw, "shared": shared, "same": shared == 1})
    return pd.DataFrame(rows)


def _most_frequent(
    sums: Float[np.ndarray, "sample layer head"],
    entropies: Float[np.ndarray, "sample layer head"],
    k: int,
    kept: int,
    seed: int,
) -> set[Head]:
    """Returns the `k` heads chosen most often, or fewer where fewer were ever chosen."""
    frequency = select_heads(sums, entropies, 1, kept, seed=seed).frequency
    return set(top_heads(frequency, min(k, int(np.count_nonzero(frequency)))))


def over_draws(again: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Averages `found_again` over its draws.

    Returns:
        Columns `samples`, `metric` (`shared` and `same`), `value`, and `low` and `high` of the 95 % interval
        over draws, in [0, 1].
    """
    rows = []
    for size, group in again.groupby("samples"):
        for metric in ("shared", "same"):
            values = group[metric].to_numpy(float)
            interval = bootstrap_interval(values, seed=seed)
            rows.append({"samples": size, "metric": metric, "value": values.mean()} | vars(interval))
    return pd.DataFrame(rows)


def verdicts(gains: pd.DataFrame) -> pd.DataFrame:
    """Says which differences from a reference stand out, after Holm's correction among those of a metric.

    Args:
        gains: From `evaluation.scores.differences`; variants that change nothing are left out.

    Returns:
        One row per variant and metric: `points` with `low` and `high` (95 %), in percentage points, and
        `verdict`: better, worse, or no clear difference.
    """
    others = gains[(gains.value != 0) | (gains.low != 0) | (gains.high != 0)]
    judged = corrected(others)
    clear = np.where(judged.value > 0, "better", "worse")
    table = judged[["variant", "metric"]].assign(
        points=100 * judged.value,
        low=100 * judged.low,
        high=100 * judged.high,
        verdict=np.where(judged.survives, clear, "no clear difference"),
    )
    return table.sort_values("metric", kind="stable").set_index(["metric", "variant"]).round(1)
