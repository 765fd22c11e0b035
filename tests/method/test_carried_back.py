"""Maps over visual tokens carried back to patches: mass kept, exact for blocks, known where planted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from locheads.method.carried_back import Look, block_shares, carry_back, dealt_out, fitted, gathered, rollout


def rows(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.dirichlet(np.full(shape[-1], 0.3), shape[:-1])


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 5), st.integers(1, 5))
@settings(max_examples=50, deadline=None)
def test_the_sum_of_a_map_stays(seed: int, tokens: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    maps, shares = rng.random((2, 3, tokens)), rows(rng, tokens, height * width)
    carried = carry_back(maps, shares, (height, width))
    assert carried.shape == (2, 3, height, width) and carried.min() >= 0
    np.testing.assert_allclose(carried.sum((-2, -1)), maps.sum(-1))


def test_one_patch_a_token_is_the_map_itself_in_the_order_of_the_tokens() -> None:
    rng = np.random.default_rng(0)
    maps, order = rng.random((4, 6)), rng.permutation(6)
    np.testing.assert_array_equal(carry_back(maps, np.eye(6), (2, 3)), maps.reshape(4, 2, 3))
    moved = carry_back(maps, np.eye(6)[order], (2, 3)).reshape(4, 6)
    np.testing.assert_array_equal(moved[:, order], maps)


def test_every_sample_has_its_own_shares() -> None:
    rng = np.random.default_rng(1)
    maps, shares = rng.random((3, 2, 5, 4)), rows(rng, 3, 4, 6)
    together = carry_back(maps, shares, (2, 3))
    for sample in range(3):
        for layer, head in np.ndindex(2, 5):
            expected = sum(maps[sample, layer, head, t] * shares[sample, t] for t in range(4))
            np.testing.assert_allclose(together[sample, layer, head].ravel(), expected)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_blocks_are_averages_and_come_back_as_their_means(down: int, across: int, block: int) -> None:
    grid = (down * block, across * block)
    shares = block_shares(grid, block)
    values = np.random.default_rng(0).random(grid)
    means = values.reshape(down, block, across, block).mean((1, 3))
    np.testing.assert_allclose(shares @ values.ravel(), means.ravel())
    np.testing.assert_allclose(shares.sum(0), 1 / block**2)
    back = carry_back(means.ravel(), shares, grid)
    np.testing.assert_allclose(back, np.kron(means, np.ones((block, block))) / block**2)


def test_a_planted_resampler_gives_the_known_map() -> None:
    """Queries that each look at one known patch, whatever the other layers mix among equals."""
    rng = np.random.default_rng(2)
    patch = rng.permutation(20)[:6]  # of each of six tokens
    hard = np.eye(20)[patch]
    maps = rng.random((2, 6))
    known = np.zeros((2, 20))
    known[:, patch] = maps
    for looks in (
        [Look(hard)],
        [Look(hard), Look(hard)],
        [Look(states=rows(rng, 6, 6)), Look(hard), Look(states=np.eye(6)), Look(hard)],
    ):
        shares = rollout(looks, 6)
        np.testing.assert_allclose(shares, hard)
        np.testing.assert_allclose(carry_back(maps, shares, (4, 5)).reshape(2, 20), known)


def test_what_one_query_tells_another_moves_by_a_half() -> None:
    """Two queries look at one patch each, then the first listens to the second alone."""
    first, swap = Look(np.eye(2)), Look(states=np.array([[0.0, 1.0], [0.0, 1.0]]))
    np.testing.assert_allclose(rollout([first, swap], 2), [[0.5, 0.5], [0.0, 1.0]])


def test_words_in_a_q_former_pass_on_what_they_have_read() -> None:
    """A word (state 2) reads the second query, then the first query reads the word."""
    read = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    tell = np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    shares = rollout([Look(np.eye(2)), Look(states=read), Look(states=tell)], 2)
    # query 0 holds 1/2 of patch 0; the word holds 1/4 of patch 1 after reading; told: (1/2, 1/4) / 2
    np.testing.assert_allclose(shares, [[2 / 3, 1 / 3], [0.0, 1.0]])


def test_rollout_keeps_rows_at_one_and_of_one_look_is_the_look() -> None:
    rng = np.random.default_rng(3)
    looks = [Look(rows(rng, 2, 4, 9), None), Look(None, rows(rng, 2, 4, 4)), Look(rows(rng, 2, 4, 9))]
    np.testing.assert_allclose(rollout(looks, 4).sum(-1), 1.0)
    np.testing.assert_allclose(rollout(looks[:1], 4), looks[0].patches)


def test_the_class_token_is_dealt_out_evenly() -> None:
    shares = dealt_out(rows(np.random.default_rng(4), 3, 10), 1)
    assert shares.shape == (3, 9)
    np.testing.assert_allclose(shares.sum(-1), 1.0)
    np.testing.assert_allclose(dealt_out(np.eye(10)[:1], 1), np.full((1, 9), 1 / 9))


def test_tokens_gather_what_an_object_covers() -> None:
    covered = np.zeros((4, 4))
    covered[:2, :3] = 1.0
    np.testing.assert_allclose(gathered(covered, block_shares((4, 4), 2)), [1.0, 0.5, 0.0, 0.0])
    np.testing.assert_allclose(gathered(covered, block_shares((4, 4), 4)), [6 / 16])


def test_the_fitted_attention_is_the_planted_one_and_of_blocks_what_they_hold() -> None:
    rng = np.random.default_rng(5)
    shares, planted = rows(rng, 6, 20), np.array([0.0, 2.0, 0.0, 0.5, 0.0, 1.0])
    object_ = carry_back(planted, shares, (4, 5))
    np.testing.assert_allclose(fitted(object_, shares), planted, atol=1e-8)
    covered = rng.random((4, 6))
    blocks = block_shares((4, 6), 2)
    np.testing.assert_allclose(fitted(covered, blocks), 4 * gathered(covered, blocks))


def test_no_attention_comes_closer_than_the_fitted_one() -> None:
    rng = np.random.default_rng(6)
    shares, covered = rows(rng, 5, 12), (rng.random((3, 4)) > 0.6).astype(float)

    def distance(weights: np.ndarray) -> float:
        return float(((carry_back(weights, shares, (3, 4)) - covered) ** 2).sum())

    best = distance(fitted(covered, shares))
    assert all(best <= distance(rng.random(5) * scale) for scale in (0.1, 1.0, 4.0) for _ in range(50))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="sum to 1"):
        carry_back(np.ones(2), np.ones((2, 4)), (2, 2))
    with pytest.raises(ValueError, match="no grid of 2 × 3"):
        carry_back(np.ones(2), np.full((2, 4), 0.25), (2, 3))
    with pytest.raises(ValueError, match="do not tile"):
        block_shares((3, 4), 2)
    with pytest.raises(ValueError, match="at least one look"):
        rollout([Look(states=np.eye(2))], 2)
