"""Carries maps over visual tokens back to patches, where a projector has pooled the grid.

A map says how much attention each visual token gets. Each token is made of patches, in shares that sum to 1,
and its attention is dealt out to them in these shares; so a map keeps its sum, and where every token is one
patch it stays as it is. For pooling and pixel shuffle the shares are known: those of a block's patches are
equal. Where learned queries look at the patches (a Q-Former, a Perceiver resampler), the shares are the
weights of that cross-attention, averaged over its heads, and over several layers attention rollout (Abnar and
Zuidema 2020). The paper leaves open whether its method reaches such models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import nnls

ROUNDING = 1e-3
"""How far the shares of a token may be from 1 in sum: half precision."""


def carry_back(
    maps: Float[np.ndarray, "*batch tokens"],
    shares: Float[np.ndarray, "*leading tokens patches"],
    grid: tuple[int, int],
) -> Float[np.ndarray, "*batch rows columns"]:
    """Deals out each token's attention to the patches it was made of: `a_patch = Σ a_token · share`.

    Args:
        maps: Attention to the visual tokens.
        shares: Share of each patch in each token, rows that sum to 1; with leading axes, the first ones of
            `maps` (one matrix per sample), the others share a matrix.
        grid: Rows and columns of the patches, in raster order.

    Raises:
        ValueError: A share is negative, those of a token do not sum to 1, or the grid does not fit.

    Example:
        The first token is the left patch alone, the second both patches alike:

        >>> carry_back(np.array([0.5, 0.25]), np.array([[1.0, 0.0], [0.5, 0.5]]), (1, 2)).tolist()
        [[0.625, 0.125]]
    """
    if shares.min() < 0 or np.abs(shares.sum(-1) - 1).max() > ROUNDING:
        raise ValueError("the shares of the patches in a token must not be negative, and must sum to 1")
    if shares.shape[-1] != grid[0] * grid[1]:
        raise ValueError(f"{shares.shape[-1]} patches are no grid of {grid[0]} × {grid[1]}")
    between = maps.ndim - shares.ndim + 1  # axes of the maps that share a matrix, such as layer and head
    spread = shares.reshape(*shares.shape[:-2], *(1,) * between, *shares.shape[-2:])
    carried = (maps[..., None, :] @ spread)[..., 0, :]
    return carried.reshape(*maps.shape[:-1], *grid)


def block_shares(grid: tuple[int, int], block: int) -> Float[np.ndarray, "tokens patches"]:
    """Returns the shares of patches in tokens that each stand for a square block: average or pixel shuffle.

    Args:
        grid: Rows and columns of the patches.
        block: Patches along the edge of a block; tokens are the blocks in raster order.

    Raises:
        ValueError: The block does not divide the grid.

    Example:
        >>> block_shares((2, 4), 2).tolist()
        [[0.25, 0.25, 0.0, 0.0, 0.25, 0.25, 0.0, 0.0], [0.0, 0.0, 0.25, 0.25, 0.0, 0.0, 0.25, 0.25]]
    """
    rows, columns = grid
    if rows % block or columns % block:
        raise ValueError(f"blocks of {block} × {block} do not tile a grid of {rows} × {columns}")
    row, column = np.divmod(np.arange(rows * columns), columns)
    token = row // block * (columns // block) + column // block  # of each patch
    return (token == np.arange(token.max() + 1)[:, None]) / block**2


@dataclass(frozen=True, eq=False)
class Look:
    """One attention of a resampler, averaged over its heads; axes of a batch may come first.

    Attributes:
        patches: Weights of the patches, `tokens × patches`; None: it does not look at them.
        states: Weights of the resampler's own states, `states × states`, the tokens first (a Q-Former may
            read words behind them); None: it does not look at them.
    """

    patches: Float[np.ndarray, "... tokens patches"] | None = None
    states: Float[np.ndarray, "... states states"] | None = None


def rollout(looks: Sequence[Look], tokens: int) -> Float[np.ndarray, "*batch tokens patches"]:
    """Combines the attentions of a resampler: at each, half of a state stays and half is what it looks at.

    States hold nothing of the picture before the first look at it. What the tokens hold in the end is scaled
    to sum to 1, so that the shares of a single look are its weights.

    Args:
        looks: In the order in which they are computed.
        tokens: How many of the states are visual tokens.

    Raises:
        ValueError: No look is at the patches.

    Example:
        Of two looks at the patches, the second counts twice as much:

        >>> looks = [Look(np.array([[1.0, 0.0]])), Look(np.array([[0.0, 1.0]]))]
        >>> rollout(looks, 1).round(3).tolist()
        [[0.333, 0.667]]
    """
    seen = [look.patches for look in looks if look.patches is not None]
    if not seen:
        raise ValueError("a rollout needs at least one look at the patches")
    states = max((look.states.shape[-1] for look in looks if look.states is not None), default=tokens)
    held = np.zeros((*seen[0].shape[:-2], states, seen[0].shape[-1]))
    for look in looks:
        among = np.zeros_like(held) if look.states is None else look.states @ held
        if look.patches is None:
            held = (held + among) / 2
        else:  # only the tokens look at the patches
            held[..., :tokens, :] = (held + among)[..., :tokens, :] / 2 + look.patches / 2
    return np.asarray(held[..., :tokens, :] / held[..., :tokens, :].sum(-1, keepdims=True))


def dealt_out(
    shares: Float[np.ndarray, "*batch tokens patches"], first: int
) -> Float[np.ndarray, "*batch tokens rest"]:
    """Deals the shares of the `first` inputs, which stand for no place (a class token), out to all patches.

    Example:
        >>> dealt_out(np.array([[0.5, 0.5, 0.0]]), 1).tolist()
        [[0.75, 0.25]]
    """
    patches = shares[..., first:]
    return patches + shares[..., :first].sum(-1, keepdims=True) / patches.shape[-1]


def gathered(
    coverage: Float[np.ndarray, "*batch rows columns"], shares: Float[np.ndarray, "*leading tokens patches"]
) -> Float[np.ndarray, "*batch tokens"]:
    """Returns the share of each token that an object covers: the attention of a head that knows just this.

    Args:
        coverage: Share of each patch, in [0, 1], that the object covers.
        shares: As in `carry_back`.

    Example:
        >>> gathered(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
        [1.0, 0.5]
    """
    flat = coverage.reshape(*coverage.shape[:-2], -1)
    return (shares @ flat[..., None])[..., 0]


def fitted(
    coverage: Float[np.ndarray, "rows columns"], shares: Float[np.ndarray, "tokens patches"]
) -> Float[np.ndarray, " tokens"]:
    """Returns the attention to the tokens that, carried back, comes closest to an object: the ceiling.

    Closest in least squares over all patches, among attentions that are not negative. Attention to what a
    token holds (`gathered`) is one of them; where tokens are blocks, both are the same up to a factor.

    Args:
        coverage: Share of each patch, in [0, 1], that the object covers.
        shares: As in `carry_back`.

    Example:
        The second token is not needed for the left patch:

        >>> fitted(np.array([[1.0, 0.0]]), np.array([[1.0, 0.0], [0.5, 0.5]])).tolist()
        [1.0, 0.0]
    """
    weights, _ = nnls(shares.T, coverage.ravel())
    return np.asarray(weights)
