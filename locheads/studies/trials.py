"""Measures how sure the ranking of the heads is: from trial to trial, and from sample to sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import Interval
from locheads.method.frequency import trial_frequencies
from locheads.method.selection import Head, Selection
from locheads.studies.ablation import rank_agreement


@dataclass(frozen=True, eq=False)
class Trials:
    """Holds the selection frequencies of the most frequent heads.

    Attributes:
        heads: The heads, most frequent first.
        frequency: In each trial, in [0, 1].
        intervals: 95 % intervals of the frequency over pictures.
        agreement: Least Spearman's ρ between the rankings of two trials.
        lead: By how much the last localization head is chosen more often than the next, in [-1, 1].
        lead_interval: Its 95 % interval, paired by sample.
    """

    heads: tuple[Head, ...]
    frequency: Float[np.ndarray, "trial n"]
    intervals: tuple[Interval, ...]
    agreement: float
    lead: float
    lead_interval: Interval

    @property
    def settled(self) -> bool:
        """Returns whether the last localization head leads the next by more than the choice of samples."""
        return self.lead_interval.low > 0


def trials_of(
    selection: Selection, pictures: Sequence[str], most: int = 12, trial_share: float = 0.8, seed: int = 0
) -> Trials:
    """Repeats the five trials of a selection, and measures the lead of the last localization head.

    Args:
        selection: The selection.
        pictures: The picture of each sample; intervals resample pictures.
        most: How many of the most frequent heads are described; more than the localization heads.
        trial_share: Size of a trial, as a share of the samples.
        seed: Of the trials and resamples.
    """
    k, width, shown = len(selection.heads), selection.frequency.shape[1], np.array(pictures)
    ranked = np.argsort(-selection.frequency, axis=None, kind="stable")[: max(most, k + 1)]
    heads = tuple(Head(*divmod(int(i), width)) for i in ranked if selection.frequency.flat[i] > 0)
    votes = [selection.chosen[:, h.layer, h.head].astype(float) for h in heads]
    each = trial_frequencies(selection.chosen, round(trial_share * len(selection.chosen)), seed=seed)
    last, following = votes[k - 1], votes[k] if len(votes) > k else np.zeros_like(votes[k - 1])
    return Trials(
        heads=heads,
        frequency=np.stack([each[:, h.layer, h.head] for h in heads], axis=1),
        intervals=tuple(mean_interval(vote, shown, seed=seed) for vote in votes),
        agreement=float(rank_agreement(each).min()),
        lead=float((last - following).mean()),
        lead_interval=mean_interval(last - following, shown, seed=seed),
    )
