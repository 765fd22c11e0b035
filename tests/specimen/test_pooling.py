"""Projectors that pool: which patches a token is made of, and the positions of what is read."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from locheads.method.carried_back import block_shares
from locheads.specimen.pooling import BLOCKS, LEARNED, PROJECTORS, attentions
from locheads.studies.pooled import ARMS

WIDTH = 8


@pytest.fixture
def features() -> torch.Tensor:
    torch.manual_seed(0)
    return torch.randn(2, 576, WIDTH)


@pytest.mark.parametrize("arm", PROJECTORS)
def test_every_arm_makes_its_number_of_tokens(arm: str, features: torch.Tensor) -> None:
    torch.manual_seed(1)
    assert PROJECTORS[arm](nn.Identity(), WIDTH)(features).shape == (2, ARMS[arm], WIDTH)


@pytest.mark.parametrize("arm", ["grid", "average", "cls"])
def test_a_token_is_the_average_of_its_shares(arm: str, features: torch.Tensor) -> None:
    shares = torch.from_numpy(block_shares((24, 24), BLOCKS[arm])).float()
    torch.testing.assert_close(PROJECTORS[arm](nn.Identity(), WIDTH)(features), shares @ features)


def test_a_shuffled_token_depends_on_its_block_alone(features: torch.Tensor) -> None:
    projector = PROJECTORS["shuffle"](nn.Identity(), WIDTH)
    changed = features.clone()
    changed[:, 30] += 1.0  # row 1, column 6: the block of row 0, column 3
    differs = (projector(changed) - projector(features)).abs().sum(-1)[0]
    assert differs.nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize(
    ("arm", "kinds"), [("perceiver", ["patches"] * 2), ("qformer", ["own", "patches"] * 2)]
)
def test_learned_queries_begin_as_poolings_that_differ(
    arm: str, kinds: list[str], features: torch.Tensor
) -> None:
    torch.manual_seed(2)
    projector = PROJECTORS[arm](nn.Identity(), WIDTH)
    looks = attentions(projector)
    assert [kind for _, kind in looks] == kinds
    seen: list[torch.Tensor] = []
    cross = next(module for module, kind in looks if kind == "patches")
    hook = cross.register_forward_hook(lambda module, given, found: seen.append(found[1]))
    tokens = projector(features) - projector.queries
    hook.remove()
    weights = seen[0]  # batch × head × query × patch
    np.testing.assert_allclose(weights.sum(-1).detach(), 1.0, atol=1e-5)
    pooled = torch.stack(
        [w @ part for w, part in zip(weights.unbind(1), features.split(2, -1), strict=True)], 2
    )
    biases = sum(feed[-1].bias for feed in projector.feed)
    torch.testing.assert_close(tokens, pooled.flatten(2) + biases, atol=1e-5, rtol=1e-4)
    assert len(torch.unique(weights[0, 0].argmax(-1))) > LEARNED // 8
