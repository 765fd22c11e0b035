"""Turns a signal into a probability of a hit, and checks the probabilities on other expressions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.optimize import minimize
from scipy.special import expit

from locheads.evaluation.intervals import mean_interval

RIDGE = 1e-3
"""Weight of the squared slopes: keeps them finite where a signal separates hits from misses."""


@dataclass(frozen=True, eq=False)
class Logistic:
    """A logistic regression of hits on one or several signals.

    Attributes:
        names: The signals.
        centre, scale: Their mean and standard deviation where it was fitted.
        weights: Intercept, then one slope per standardised signal.
    """

    names: tuple[str, ...]
    centre: Float[np.ndarray, " d"]
    scale: Float[np.ndarray, " d"]
    weights: Float[np.ndarray, " d_and_1"]

    def probability(self, table: pd.DataFrame) -> Float[np.ndarray, " n"]:
        """Returns the probability of a hit for each row of a table with the signals."""
        values = (table[list(self.names)].to_numpy(float) - self.centre) / self.scale
        return np.asarray(expit(self.weights[0] + values @ self.weights[1:]))


def fit(table: pd.DataFrame, names: Sequence[str]) -> Logistic:
    """Fits the probability of a hit to signals, by maximum likelihood.

    Args:
        table: With the signals `names` and `hit`.
        names: The signals that are used.
    """
    values, hit = table[list(names)].to_numpy(float), table.hit.to_numpy(float)
    centre, scale = values.mean(axis=0), np.maximum(values.std(axis=0), 1e-12)
    inputs = np.column_stack([np.ones(len(values)), (values - centre) / scale])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        logits = inputs @ weights
        slopes = np.concatenate([[0.0], weights[1:]])
        value = np.logaddexp(0, logits).mean() - (hit * logits).mean() + RIDGE * (slopes**2).sum() / 2
        return float(value), inputs.T @ (expit(logits) - hit) / len(hit) + RIDGE * slopes

    weights = minimize(loss, np.zeros(inputs.shape[1]), jac=True, method="BFGS").x
    return Logistic(tuple(names), centre, scale, weights)


def reliability(
    probabilities: Float[np.ndarray, " n"], table: pd.DataFrame, bins: int = 5, seed: int = 0
) -> pd.DataFrame:
    """Compares predicted probabilities with the share of hits, in bins of equally many expressions.

    Args:
        probabilities: Of a hit, one per row of the table.
        table: With `hit` and `image_id`.
        bins: Number of bins.
        seed: Of the resamples of pictures.

    Returns:
        One row per bin, lowest first: `samples`, `predicted`, `value` (hits), and `low`, `high` (95 %).
    """
    rows = []
    for part in np.array_split(np.argsort(probabilities, kind="stable"), bins):
        hit, pictures = table.hit.to_numpy(float)[part], table.image_id.to_numpy()[part]
        row = {"samples": len(part), "predicted": probabilities[part].mean(), "value": hit.mean()}
        rows.append(row | vars(mean_interval(hit, pictures, seed=seed)))
    return pd.DataFrame(rows)


def calibration_error(bins: pd.DataFrame) -> float:
    """Returns the expected calibration error of `reliability`: the mean gap of the bins, by their samples."""
    return float(np.average((bins.predicted - bins.value).abs(), weights=bins.samples))


def brier_gain(
    probabilities: Float[np.ndarray, " n"], base: float, table: pd.DataFrame, seed: int = 0
) -> dict[str, float]:
    """Computes how much lower the Brier score is than that of a constant, paired over pictures.

    Args:
        probabilities: Of a hit, one per row of the table.
        base: The constant: the share of hits where the probabilities were fitted.
        table: With `hit` and `image_id`.
        seed: Of the resamples of pictures.

    Returns:
        `brier`, `constant` (their Brier scores) and the gain `value` with its 95 % interval `low`, `high`.
    """
    hit = table.hit.to_numpy(float)
    ours, plain = (probabilities - hit) ** 2, (base - hit) ** 2
    found = {"brier": float(ours.mean()), "constant": float(plain.mean())}
    interval = mean_interval(plain - ours, table.image_id.to_numpy(), seed=seed)
    return found | {"value": found["constant"] - found["brier"]} | vars(interval)


def threshold_keeping(scores: Float[np.ndarray, " n"], hit: Bool[np.ndarray, " n"], share: float) -> float:
    """Returns the highest threshold at which at least `share` of the hits score no less; NaN without hits.

    Example:
        >>> threshold_keeping(np.array([0.1, 0.5, 0.7, 0.9]), np.array([False, True, True, True]), 0.6)
        0.7
    """
    ordered = np.sort(scores[hit])[::-1]
    if not ordered.size:
        return float("nan")
    return float(ordered[int(np.ceil(share * len(ordered))) - 1])
