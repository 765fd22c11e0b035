"""Computes how often each head is a candidate: over all samples, or as a mean over random trials."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def selection_frequency(chosen: Bool[np.ndarray, "sample layer head"]) -> Float[np.ndarray, "layer head"]:
    """Computes the share of samples, in [0, 1], in which each head is a candidate.

    Args:
        chosen: The candidates of each sample.

    Returns:
        The selection frequency of each head.

    Raises:
        ValueError: When there is no sample.

    Example:
        >>> selection_frequency(np.array([[[True, False]], [[True, True]]])).tolist()
        [[1.0, 0.5]]
    """
    if len(chosen) == 0:
        raise ValueError("a selection frequency needs at least one sample")
    return chosen.mean(axis=0)


def trial_frequencies(
    chosen: Bool[np.ndarray, "sample layer head"], trial_size: int, trials: int = 5, seed: int = 0
) -> Float[np.ndarray, "trials layer head"]:
    """Computes the selection frequency in each of several random subsets of the samples.

    The paper reports the mean of five trials: `trial_frequencies(...).mean(axis=0)`. A trial draws its
    samples without replacement, independently of the others; the threshold is that of all samples.

    Args:
        chosen: The candidates of each sample.
        trial_size: Samples in one subset.
        trials: How many subsets.
        seed: Of the draws; same seed, same subsets.

    Returns:
        One selection frequency per trial.

    Raises:
        ValueError: When a trial asks for more samples than there are, or for none.

    Example:
        >>> trial_frequencies(np.array([[[True, False]], [[True, True]]]), trial_size=2, trials=2).tolist()
        [[[1.0, 0.5]], [[1.0, 0.5]]]
    """
    if trial_size > len(chosen):
        raise ValueError(f"a trial of {trial_size} samples cannot be drawn from {len(chosen)}")
    rng = np.random.default_rng(seed)
    subsets = [rng.choice(len(chosen), trial_size, replace=False) for _ in range(trials)]
    return np.stack([selection_frequency(chosen[subset]) for subset in subsets])


def frequency_over_trials(
    chosen: Bool[np.ndarray, "sample layer head"], seed: int
) -> Float[np.ndarray, "layer head"]:
    """Computes the mean selection frequency of five trials of four fifths of the samples.

    Args:
        chosen: The candidates of each sample.
        seed: Of the draws.

    Returns:
        What `select_heads` ranks the heads by, with its defaults.

    Example:
        >>> frequency_over_trials(np.array([[[True, False]]] * 5), seed=0).tolist()
        [[1.0, 0.0]]
    """
    return trial_frequencies(chosen, max(1, round(0.8 * len(chosen))), seed=seed).mean(axis=0)
