"""Varies one setting of head selection at a time, and measures how stable the chosen heads are.

Criteria, threshold and heads kept per sample (Table 5, figures 13 and 14); samples; trials. All of it works
on the attention sums and spatial entropies of a profile; `evaluation.evaluate` grounds with the result.
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
from locheads.method.criteria import curvature_threshold
from locheads.method.selection import (
    Criterion,
    Head,
    candidates,
    frequency_over_trials,
    greedy_heads,
    name_of,
    passing_heads,
    select_heads,
    top_heads,
)

CRITERIA: tuple[Criterion, ...] = ("attention_sum", "entropy", "both")
"""The columns of Table 5."""


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


def criteria_variants(
    profiled: xr.Dataset, held_out: xr.Dataset, k: int = 3, kept: int = 10, seed: int = 0
) -> dict[str, Variant]:
    """Returns the variants of Table 5: heads fixed or greedy, by attention sum alone, entropy alone, or both.

    Args:
        profiled: The profile from which the threshold and the fixed heads come.
        held_out: The profile of the samples to ground; greedy selection takes each one's own best heads.
        k: How many heads.
        kept: Candidates a sample, for the fixed heads.
        seed: Of the five trials.

    Returns:
        Variants by name, as in `"fixed_both"` and `"greedy_attention_sum"`.

    Raises:
        ValueError: When fewer than `k` heads were ever chosen.
    """
    own_sums, own_entropies = held_out.attention_sum.values, held_out.spatial_entropy.values
    sums, entropies = profiled.attention_sum.values, profiled.spatial_entropy.values
    tau = curvature_threshold(sums.mean(0)).value
    variants = {}
    for use in CRITERIA:
        chosen = candidates(sums, entropies, tau, kept, use=use)
        variants[f"greedy_{use}"] = Variant(greedy_heads(own_sums, own_entropies, tau, k, use=use))
        variants[f"fixed_{use}"] = Variant(top_heads(frequency_over_trials(chosen, seed), k))
    return variants


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
        ValueError: When fewer than `k` heads were ever chosen.
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
            few, rest = (
                set(select_heads(sums[part], entropies[part], k, kept, seed=seed).heads) for part in parts
            )
            shared = len(few & rest) / k
            rows.append({"samples": size, "draw": draw, "shared": shared, "same": shared == 1})
    return pd.DataFrame(rows)
