"""Applies the rules of the paper's two releases that are not the paper's: who passes, who is taken.

Both releases threshold each sample's own sums and ground it with its own heads of lowest entropy; there is no
selection frequency. The first release (June 2025) lets heads pass by their number, the later rewrite (August
2025) by their sum. Their entropy is `criteria.spatial_entropy` by `mass` with a floor of 0.001; the rewrite's
box is `grounding.ground` with nine reflecting taps, all cells above the mean and whole pixels.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from locheads.method.criteria import Elbow, bends
from locheads.method.selection import greedy_heads

PerHead = Float[np.ndarray, "sample layer head"]


def passing_by_number(sums: PerHead, elbow: Elbow = "chord") -> Bool[np.ndarray, "sample layer head"]:
    """Marks the heads that pass in the first release: by their number, whatever their sum.

    Heads are numbered through all layers, `layer * heads + head`. Of each sample the head at the bend of the
    sorted sums is found, and the heads whose number is at least *its number* pass (the release's issue 12).

    Args:
        sums: Attention sums, all finite.
        elbow: As in `criteria.curvature_threshold`; equal sums are sorted by number.

    Returns:
        True for the heads that pass.

    Raises:
        ValueError: When there is no head, or a sum is not finite.

    Example:
        Sorted, the sums 3, 0, 10, 1 bend at 3, which is head 0: all pass. Of 0, 10, 3, 1 it is head 2:

        >>> sums = np.array([[[3.0, 0.0], [10.0, 1.0]], [[0.0, 10.0], [3.0, 1.0]]])
        >>> passing_by_number(sums).reshape(2, 4).tolist()
        [[True, True, True, True], [False, False, True, True]]
    """
    flat = sums.astype(np.float64).reshape(len(sums), -1)  # [sample, layer * head]
    order = np.argsort(flat, axis=-1, kind="stable")
    bend = bends(np.take_along_axis(flat, order, axis=-1), elbow).argmax(axis=-1)
    number = np.take_along_axis(order, bend[:, None], axis=-1)
    return (np.arange(flat.shape[1]) >= number).reshape(sums.shape)


def keeping_one(
    eligible: Bool[np.ndarray, "sample layer head"],
    sums: PerHead,
    barred: Bool[np.ndarray, "sample layer head"],
) -> Bool[np.ndarray, "sample layer head"]:
    """Adds a head where a sample has none: the one of largest sum that is not barred (`min_keep` 1).

    Args:
        eligible: The heads of each sample that pass every rule.
        sums: Attention sums.
        barred: Heads that are not taken even so: those with a bottom-row value above 0.05.

    Returns:
        The eligible heads, or where there is none and not all are barred, that one; of equal sums the lowest.

    Example:
        >>> sums = np.array([[[0.1, 0.3, 0.9]]])
        >>> keeping_one(np.zeros((1, 1, 3), bool), sums, sums > 0.5).tolist()
        [[[False, True, False]]]
    """
    flat = (len(sums), -1)
    best = np.where(barred, -np.inf, sums).reshape(flat).argmax(axis=-1)
    added = np.zeros_like(eligible).reshape(flat)
    np.put_along_axis(added, best[:, None], ~eligible.reshape(flat).any(axis=-1, keepdims=True), axis=-1)
    return eligible | (added.reshape(sums.shape) & ~barred)


def lowest_entropies(
    entropies: PerHead,
    eligible: Bool[np.ndarray, "sample layer head"],
    k: int,
    sums: PerHead | None = None,
) -> Int[np.ndarray, "sample k 2"]:
    """Takes the `k` eligible heads of lowest entropy of each sample itself, as both releases do.

    Args:
        entropies: Spatial entropies.
        eligible: The heads of each sample that may be taken.
        k: How many heads: 5, or 3 in the rewrite's second settings file.
        sums: Equal entropies go to the larger of these; None: to the lower number, as in the releases.

    Returns:
        (layer, head), lowest first, as `selection.greedy_heads`.

    Example:
        >>> lowest_entropies(np.array([[[0.5, 0.0, 0.5]]]), np.array([[[True, False, True]]]), 3).tolist()
        [[[0, 0], [0, 2], [-1, -1]]]
    """
    order = np.zeros_like(entropies) if sums is None else sums
    # A head that is kept although no cell is above the level is the only one of its sample.
    known = np.where(np.isfinite(entropies), entropies, 0.0)
    barred = np.where(eligible, known, np.inf)
    return greedy_heads(order, barred, -np.inf, k, skipped_layers=0, threshold_on="sample")
