"""Selects localization heads from the criteria: candidates, frequency, top-k; greedy.

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
from locheads.method.frequency import trial_frequencies

# An average taken by another library, or in single precision, must not shut out the head that set the
# threshold.
_ROUNDING = 1e-6

Criterion = Literal["both", "attention_sum", "entropy"]


class Head(NamedTuple):
    """Names one attention head by its layer and its number, both counted from 0."""

    layer: int
    head: int

    def __str__(self) -> str:
        return f"L{self.layer} H{self.head}"


@dataclass(frozen=True, eq=False)
class Selection:
    """Holds what head profiling finds.

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
    """Runs the paper's whole selection: threshold, candidates of each sample, frequency, the top `k`.

    Args:
        sums: Attention sums.
        entropies: Spatial entropies.
        k: How many localization heads.
        kept: Candidates per sample.
        skipped_layers: First layers left out.
        trials: Random subsets over which the frequency is averaged.
        trial_share: Size of a subset, as a share of the samples.
        seed: Of the subsets.

    Returns:
        The heads, most frequent first, and every step that led to them.

    Raises:
        ValueError: When fewer than `k` heads were ever chosen.

    Example:
        Two samples of one layer with three heads; the first head is below tau, the second less scattered:

        >>> sums = np.array([[[0.1, 0.8, 0.9]], [[0.1, 0.8, 0.9]]])
        >>> entropies = np.array([[[0.0, 0.2, 1.0]], [[0.0, 0.3, 1.0]]])
        >>> found = select_heads(sums, entropies, k=1, kept=1, skipped_layers=0)
        >>> found.threshold.value, str(found.heads[0]), found.frequency.tolist()
        (0.8, 'L0 H1', [[0.0, 1.0, 0.0]])
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
    """Marks the heads whose attention sum, averaged over samples, reaches `threshold`.

    Args:
        sums: Attention sums.
        threshold: The threshold tau; equal up to one part in a million counts as reached.
        skipped_layers: The first layers, whose heads never pass.

    Returns:
        True for the heads that pass.

    Example:
        >>> sums = np.array([[[0.2, 0.6]], [[0.4, 0.8]]])
        >>> passing_heads(sums, threshold=0.7, skipped_layers=0).tolist()
        [[False, True]]
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
    """Marks the candidates: the `kept` best heads of each sample.

    Args:
        sums: Attention sums.
        entropies: Spatial entropies; a head whose entropy is infinite or NaN is never chosen by entropy.
        threshold: The least attention sum, tau; a head equal to it (to one part in a million) passes.
        kept: How many heads each sample keeps; fewer where fewer are eligible.
        skipped_layers: How many of the first layers are left out.
        use: `both` is the paper; `attention_sum` keeps the largest sums among those that pass; `entropy`
            keeps the lowest entropies of all heads, passing or not (Table 5).
        threshold_on: Compare the threshold with the sums averaged over samples (`mean`, the paper), or with
            each sample's own (`sample`, the release; `threshold` may then be one value per sample).

    Returns:
        True for each sample's candidates; ties as in the module's description.

    Raises:
        ValueError: When one threshold per sample is to be compared with the averaged sums.

    Example:
        Of three heads the last is below tau; the other two tie at entropy 0, and the larger sum wins:

        >>> sums, entropies = np.array([[[0.5, 0.6, 0.1]]]), np.zeros((1, 1, 3))
        >>> candidates(sums, entropies, 0.5, kept=1, skipped_layers=0).tolist()
        [[[False, True, False]]]
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
    """Selects the `k` best heads of each sample itself: Table 5's greedy selection.

    The arguments are those of `candidates`.

    Returns:
        (layer, head), best first. Where a sample has fewer than `k` eligible heads, the rest is (-1, -1), for
        which `take_heads` gives an empty map.

    Raises:
        ValueError: When `candidates` does.

    Example:
        >>> sums, entropies = np.array([[[0.5, 0.6, 0.1]]]), np.array([[[0.0, 0.7, 0.0]]])
        >>> greedy_heads(sums, entropies, 0.5, k=3, skipped_layers=0).tolist()
        [[[0, 0], [0, 1], [-1, -1]]]
    """
    order, eligible = _ranking(sums, entropies, threshold, skipped_layers, use, threshold_on)
    best = order[:, :k]  # [sample k] flat numbers; fewer than k where the model has fewer heads
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
    """Ranks each sample's heads from best to worst, with the eligible ones first.

    Returns:
        The order of the heads by flat number, `layer * heads + head`, and which are eligible, in flat order.
    """
    if threshold_on == "mean" and np.ndim(threshold) > 0:
        raise ValueError("one threshold per sample needs threshold_on='sample'")
    eligible = np.ones(sums.shape, dtype=bool)  # [sample layer head]

    # Criterion 1: the sum reaches tau, [layer head] against one tau or [sample layer head] against each own.
    if use != "entropy":
        compared = sums.mean(axis=0, dtype=np.float64) if threshold_on == "mean" else sums
        eligible &= compared >= np.reshape(threshold, (-1, 1, 1)) * (1 - _ROUNDING)
    # Criterion 2: a map without a component has no entropy. The first layers are left out in any case.
    if use != "attention_sum":
        eligible &= np.isfinite(entropies)
    eligible[:, :skipped_layers] = False

    # Sort by eligibility, then entropy, then sum; equal ones keep their order: lower layer, then lower head.
    # lexsort takes the key that counts most last.
    flat = (len(sums), -1)  # [sample, layer * head]
    keys = [-sums.reshape(flat), ~eligible.reshape(flat)]
    if use != "attention_sum":
        keys.insert(1, np.round(entropies.reshape(flat).astype(np.float64), 12))
    return np.lexsort(keys, axis=-1), eligible.reshape(flat)


def top_heads(frequency: Float[np.ndarray, "layer head"], k: int = 3) -> tuple[Head, ...]:
    """Selects the `k` heads chosen most often, the localization heads.

    Args:
        frequency: The selection frequency of each head.
        k: How many heads.

    Returns:
        The heads, most frequent first; ties go to the lower layer, then to the lower head.

    Raises:
        ValueError: When fewer than `k` heads were ever chosen.

    Example:
        >>> [str(head) for head in top_heads(np.array([[0.0, 0.5], [0.5, 0.9]]), k=2)]
        ['L1 H1', 'L0 H1']
    """
    chosen = int(np.count_nonzero(frequency))
    if k > chosen:
        raise ValueError(f"only {chosen} heads were ever chosen, {k} asked for")
    return _heads(np.argsort(-frequency, axis=None, kind="stable")[:k], frequency.shape[1])


def random_heads(
    passing: Bool[np.ndarray, "layer head"], k: int, rng: np.random.Generator
) -> tuple[Head, ...]:
    """Draws `k` different heads from those that pass: the baseline for choosing by entropy.

    Args:
        passing: The heads to draw from.
        k: How many heads.
        rng: Source of the draw.

    Returns:
        The heads in the order drawn.

    Raises:
        ValueError: When fewer than `k` heads pass.

    Example:
        >>> random_heads(np.array([[False, True], [False, False]]), 1, np.random.default_rng(0))
        (Head(layer=0, head=1),)
    """
    pool = np.flatnonzero(passing)
    if k > len(pool):
        raise ValueError(f"only {len(pool)} heads pass, {k} asked for")
    return _heads(rng.choice(pool, k, replace=False), passing.shape[1])


def take_heads(
    maps: Float[np.ndarray, "sample layer head rows columns"],
    heads: Sequence[Head] | Int[np.ndarray, "sample k 2"],
) -> Float[np.ndarray, "sample k rows columns"]:
    """Takes the maps of the chosen heads out of those of all heads.

    Args:
        maps: Attention maps of all heads.
        heads: The same heads for all samples, or what `greedy_heads` returns, each sample its own.

    Returns:
        The k maps of each sample, in the heads' order; an empty map for (-1, -1).

    Example:
        >>> maps = np.array([[[[[1.0]], [[2.0]]], [[[3.0]], [[4.0]]]]])  # one sample, 2 layers, 2 heads
        >>> take_heads(maps, [Head(1, 0), Head(0, 1)]).ravel().tolist()
        [3.0, 2.0]
    """
    index = np.asarray(heads)  # [k 2] or [sample k 2]
    layer, head = index[..., 0], index[..., 1]
    taken = maps[np.arange(len(maps))[:, None], layer, head]
    return np.where((layer >= 0)[..., None, None], taken, 0.0)  # (-1, -1) stands for no head


def _heads(flat: Int[np.ndarray, " k"], heads_per_layer: int) -> tuple[Head, ...]:
    """Returns the heads of flat numbers, `layer * heads_per_layer + head`."""
    return tuple(Head(*divmod(int(index), heads_per_layer)) for index in flat)


def name_of(heads: Sequence[Head]) -> str:
    """Writes a set of heads as text, sorted by layer and head.

    Example:
        >>> name_of([Head(4, 1), Head(3, 2)])
        'L3 H2, L4 H1'
    """
    return ", ".join(map(str, sorted(heads)))


def parse_heads(text: str) -> tuple[Head, ...]:
    """Reads heads written as `"L3H2,L4H1"`; blanks and case do not matter, layers and heads count from 0.

    Returns:
        The heads in the order written.

    Raises:
        LocheadsError: The text is written otherwise.

    Example:
        >>> parse_heads("L3H2, l4 h1")
        (Head(layer=3, head=2), Head(layer=4, head=1))
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
