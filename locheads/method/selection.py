"""From criteria to localization heads: candidates, selection frequency, top-k; fixed and greedy.

Layers and heads count from 0. Of every sample, the heads that pass the threshold on the attention sum are
ranked by spatial entropy, lowest first, and the first ten are its candidates; a head's selection frequency is
the share of samples in which it is one.

Ties are common, since every map with a single component has an entropy of exactly 0. They go to the larger
attention sum, then to the lower layer, then to the lower head. Entropies count as equal when they agree to 12
decimals, so that the same areas summed in another order stay a tie.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from locheads.errors import LocheadsError
from locheads.method.criteria import Threshold, curvature_threshold

# An average taken by another library, or in single precision, must not shut out the head that set the
# threshold.
_ROUNDING = 1e-6

Criterion = Literal["both", "attention_sum", "entropy"]


class Head(NamedTuple):
    """One attention head, both counted from 0."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer} H{self.head}"


@dataclass(frozen=True, eq=False)
class Selection:
    """What head profiling finds.

    Attributes:
        threshold: The bend of the sorted attention sums, with its value τ.
        passing: Heads whose averaged sum reaches τ, the first layers left out.
        chosen: The candidates of each sample.
        frequency: How often each head is one, in [0, 1], mean over the trials.
        heads: The localization heads, most frequent first.
    """

    threshold: Threshold
    passing: Bool[np.ndarray, "layer head"]
    chosen: Bool[np.ndarray, "sample layer head"]
    frequency: Float[np.ndarray, "layer head"]
    heads: tuple[Head, ...]


def select_heads(
    sums: Float[np.ndarray, "sample layer head"],
    entropies: Float[np.ndarray, "sample layer head"],
    k: int = 3,
    kept: int = 10,
    skipped_layers: int = 2,
    trials: int = 5,
    trial_share: float = 0.8,
    seed: int = 0,
) -> Selection:
    """The paper's whole selection: threshold, candidates of each sample, frequency, the top `k`.

    Args:
        sums: Attention sums.
        entropies: Spatial entropies.
        k: How many localization heads.
        kept: Candidates a sample.
        skipped_layers: First layers left out.
        trials: Random subsets over which the frequency is averaged.
        trial_share: Size of a subset, as a share of the samples.
        seed: Of the subsets.

    Raises:
        ValueError: When fewer than `k` heads were ever chosen.
    """
    threshold = curvature_threshold(sums.mean(axis=0, dtype=np.float64))
    chosen = candidates(sums, entropies, threshold.value, kept, skipped_layers)
    trial_size = max(1, round(trial_share * len(chosen)))
    frequency = trial_frequencies(chosen, trial_size, trials, seed).mean(axis=0)
    passing = passing_heads(sums, threshold.value, skipped_layers)
    return Selection(threshold, passing, chosen, frequency, top_heads(frequency, k))


def passing_heads(
    sums: Float[np.ndarray, "sample layer head"], threshold: float, skipped_layers: int = 2
) -> Bool[np.ndarray, "layer head"]:
    """The heads whose attention sum, averaged over samples, reaches `threshold`, but for the first layers.

    Equal up to one part in a million counts as reached.
    """
    passing = sums.mean(axis=0, dtype=np.float64) >= threshold * (1 - _ROUNDING)
    passing[:skipped_layers] = False
    return passing


def candidates(
    sums: Float[np.ndarray, "sample layer head"],
    entropies: Float[np.ndarray, "sample layer head"],
    threshold: float | Float[np.ndarray, " sample"],
    kept: int = 10,
    skipped_layers: int = 2,
    use: Criterion = "both",
    threshold_on: Literal["mean", "sample"] = "mean",
) -> Bool[np.ndarray, "sample layer head"]:
    """Which heads are among the `kept` best of each sample.

    Args:
        sums: Attention sums.
        entropies: Spatial entropies; a head whose entropy is infinite or NaN is never chosen by entropy.
        threshold: The least attention sum, tau; a head equal to it (to one part in a million) passes.
        kept: How many heads a sample keeps; fewer where fewer are eligible.
        skipped_layers: How many of the first layers are left out.
        use: `both` is the paper; `attention_sum` keeps the largest sums among those that pass; `entropy`
            keeps the lowest entropies of all heads, passing or not (Table 5).
        threshold_on: Compare the threshold with the sums averaged over samples (`mean`, the paper), or with
            each sample's own (`sample`, the release; `threshold` may then be one value a sample).

    Raises:
        ValueError: When one threshold a sample is to be compared with the averaged sums.
    """
    order, eligible = _ranking(sums, entropies, threshold, skipped_layers, use, threshold_on)
    chosen = np.zeros_like(eligible)
    np.put_along_axis(chosen, order[:, :kept], True, axis=1)
    return (chosen & eligible).reshape(sums.shape)


def greedy_heads(
    sums: Float[np.ndarray, "sample layer head"],
    entropies: Float[np.ndarray, "sample layer head"],
    threshold: float | Float[np.ndarray, " sample"],
    k: int = 3,
    skipped_layers: int = 2,
    use: Criterion = "both",
    threshold_on: Literal["mean", "sample"] = "mean",
) -> Int[np.ndarray, "sample k 2"]:
    """The `k` best heads of each sample itself, best first, as (layer, head): Table 5's greedy selection.

    The arguments are those of `candidates`. Where a sample has fewer than `k` eligible heads, the rest is
    (-1, -1), for which `take_heads` gives an empty map.
    """
    order, eligible = _ranking(sums, entropies, threshold, skipped_layers, use, threshold_on)
    best = order[:, :k]
    heads = np.full((len(sums), k, 2), -1)
    found = np.take_along_axis(eligible, best, axis=1)[..., None]
    heads[:, : best.shape[1]] = np.where(found, np.stack(np.divmod(best, sums.shape[2]), axis=-1), -1)
    return heads


def _ranking(
    sums: Float[np.ndarray, "sample layer head"],
    entropies: Float[np.ndarray, "sample layer head"],
    threshold: float | Float[np.ndarray, " sample"],
    skipped_layers: int,
    use: Criterion,
    threshold_on: Literal["mean", "sample"],
) -> tuple[Int[np.ndarray, "sample flat"], Bool[np.ndarray, "sample flat"]]:
    """Each sample's heads, flat, from best to worst with the eligible ones first; and which are eligible."""
    if threshold_on == "mean" and np.ndim(threshold) > 0:
        raise ValueError("one threshold a sample needs threshold_on='sample'")
    eligible = np.ones(sums.shape, dtype=bool)
    if use != "entropy":
        compared = sums.mean(axis=0, dtype=np.float64) if threshold_on == "mean" else sums
        eligible &= compared >= np.reshape(threshold, (-1, 1, 1)) * (1 - _ROUNDING)
    if use != "attention_sum":
        eligible &= np.isfinite(entropies)
    eligible[:, :skipped_layers] = False

    flat = (len(sums), -1)
    keys = [-sums.reshape(flat), ~eligible.reshape(flat)]  # lexsort: the last key counts most; stable
    if use != "attention_sum":
        keys.insert(1, np.round(entropies.reshape(flat).astype(np.float64), 12))
    return np.lexsort(keys, axis=-1), eligible.reshape(flat)


def selection_frequency(chosen: Bool[np.ndarray, "sample layer head"]) -> Float[np.ndarray, "layer head"]:
    """The share of samples, in [0, 1], in which each head is a candidate.

    Raises:
        ValueError: When there is no sample.
    """
    if len(chosen) == 0:
        raise ValueError("a selection frequency needs at least one sample")
    return chosen.mean(axis=0)


def trial_frequencies(
    chosen: Bool[np.ndarray, "sample layer head"], trial_size: int, trials: int = 5, seed: int = 0
) -> Float[np.ndarray, "trials layer head"]:
    """The selection frequency in each of several random subsets of the samples.

    The paper reports the mean of five trials: `trial_frequencies(...).mean(axis=0)`. A trial draws its
    samples without replacement, independently of the others; the threshold is that of all samples.

    Raises:
        ValueError: When a trial asks for more samples than there are, or for none.
    """
    if trial_size > len(chosen):
        raise ValueError(f"a trial of {trial_size} samples cannot be drawn from {len(chosen)}")
    rng = np.random.default_rng(seed)
    subsets = [rng.choice(len(chosen), trial_size, replace=False) for _ in range(trials)]
    return np.stack([selection_frequency(chosen[subset]) for subset in subsets])


def top_heads(frequency: Float[np.ndarray, "layer head"], k: int = 3) -> tuple[Head, ...]:
    """The `k` heads chosen most often, the localization heads; ties go to the lower layer, then lower head.

    Raises:
        ValueError: When fewer than `k` heads were ever chosen.
    """
    chosen = int(np.count_nonzero(frequency))
    if k > chosen:
        raise ValueError(f"only {chosen} heads were ever chosen, {k} asked for")
    return _heads(np.argsort(-frequency, axis=None, kind="stable")[:k], frequency.shape[1])


def random_heads(
    passing: Bool[np.ndarray, "layer head"], k: int, rng: np.random.Generator
) -> tuple[Head, ...]:
    """`k` different heads drawn from those that pass: the baseline for choosing by entropy.

    Raises:
        ValueError: When fewer than `k` heads pass.
    """
    pool = np.flatnonzero(passing)
    if k > len(pool):
        raise ValueError(f"only {len(pool)} heads pass, {k} asked for")
    return _heads(rng.choice(pool, k, replace=False), passing.shape[1])


def take_heads(
    maps: Float[np.ndarray, "sample layer head rows columns"],
    heads: Sequence[Head] | Int[np.ndarray, "sample k 2"],
) -> Float[np.ndarray, "sample k rows columns"]:
    """The maps of the chosen heads: fixed ones for all samples, or `greedy_heads`, each sample its own."""
    index = np.asarray(heads)  # [k 2] or [sample k 2]
    layer, head = index[..., 0], index[..., 1]
    taken = maps[np.arange(len(maps))[:, None], layer, head]
    return np.where((layer >= 0)[..., None, None], taken, 0.0)  # (-1, -1) stands for no head


def _heads(flat: Int[np.ndarray, " k"], heads_per_layer: int) -> tuple[Head, ...]:
    return tuple(Head(*divmod(int(index), heads_per_layer)) for index in flat)


def name_of(heads: Sequence[Head]) -> str:
    """A set of heads in words; the order of frequency does not count."""
    return ", ".join(map(str, sorted(heads)))


def frequency_over_trials(
    chosen: Bool[np.ndarray, "sample layer head"], seed: int
) -> Float[np.ndarray, "layer head"]:
    """The mean of five trials of four fifths of the samples, as in `selection.select_heads`."""
    return trial_frequencies(chosen, max(1, round(0.8 * len(chosen))), seed=seed).mean(axis=0)


def parse_heads(text: str) -> tuple[Head, ...]:
    """Reads heads written as `"L3H2,L4H1"`; blanks and case do not matter, layers and heads count from 0.

    Raises:
        LocheadsError: The text is written otherwise.
    """
    parts = [re.fullmatch(r"L(\d+)H(\d+)", re.sub(r"\s", "", part).upper()) for part in text.split(",")]
    heads = tuple(Head(int(part[1]), int(part[2])) for part in parts if part)
    if len(heads) < len(parts):
        raise LocheadsError(f"heads '{text}': write them as in L3H2,L4H1 (layer, head, both from 0)")
    return heads


def check_heads(heads: Iterable[tuple[int, int]], layers: int, heads_per_layer: int, model: str) -> None:
    """Checks that a model has all of these heads.

    Args:
        heads: As (layer, head), both from 0.
        layers: Number of layers of the model.
        heads_per_layer: Number of heads in each of them.
        model: Name of the model, for the error.

    Raises:
        LocheadsError: A head does not exist; the first such head is named.
    """
    for layer, head in heads:
        if not (0 <= layer < layers and 0 <= head < heads_per_layer):
            raise LocheadsError(
                f"no head L{layer}H{head}: {model} has {layers} layers of {heads_per_layer} heads; "
                f"give layers 0 to {layers - 1} and heads 0 to {heads_per_layer - 1}"
            )
