"""Projectors that destroy the grid: between the patches and the visual tokens something is pooled.

Each is a module from a picture's features, `batch × patches × width`, to its visual tokens, `batch × tokens ×
width`, and ends in the projector that the decoder knows. Those with learned queries begin as 64 random soft
poolings of the patches.
"""

from __future__ import annotations

from collections.abc import Callable
from math import isqrt
from typing import Any

import torch
from torch import nn

from locheads.model.families import Kind

LEARNED, HEADS, LAYERS = 64, 4, 2
"""Queries, heads and layers of the projectors that learn what to look at."""
SHARP = 4.0
"""Factor of the queries' first weights, without which every query would see the mean of the picture."""


class Attention(nn.Module):
    """Attention of queries to what is seen: returns what is added to them, and the weights of its heads.

    Scores are of normalised states, values of the states themselves.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.about = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        nn.init.orthogonal_(self.query.weight, SHARP)
        nn.init.orthogonal_(self.key.weight)

    def forward(self, queries: torch.Tensor, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns `batch × queries × width` and `batch × head × queries × keys`."""
        projected = (self.query(self.before(queries)), self.key(self.about(seen)), self.value(seen))
        q, k, v = (one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in projected)
        weights = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).flatten(2)), weights

    @torch.no_grad()
    def begin(self, gain: float) -> None:
        """Initialises the value and output projections to the identity, the latter times `gain`."""
        for linear, diagonal in ((self.value, 1.0), (self.out, gain)):
            linear.weight.copy_(diagonal * torch.eye(len(linear.weight)))
            linear.bias.zero_()


class Blocks(nn.Module):
    """Pools square blocks of patches: their average, or all their channels one after another."""

    def __init__(self, known: nn.Module, width: int, block: int, shuffled: bool = False) -> None:
        super().__init__()
        self.block, self.known = block, known
        self.mix = nn.Linear(width * block**2, width) if shuffled else None
        if self.mix is not None:
            average = torch.eye(width).repeat(1, block**2) / block**2
            self.mix.weight.data.mul_(0.3).add_(average)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Returns one token per block, in raster order."""
        side = isqrt(features.shape[1]) // self.block
        blocks = features.unflatten(1, (side, self.block, side, self.block)).transpose(2, 3)
        pooled = blocks.mean((3, 4)) if self.mix is None else self.mix(blocks.flatten(3))
        return self.known(pooled.flatten(1, 2))


class Resampler(nn.Module):
    """Learned queries look at all patches, in a Q-Former also at one another; then the known projector."""

    def __init__(self, known: nn.Module, width: int, talking: bool) -> None:
        super().__init__()
        self.queries = nn.Parameter(0.02 * torch.randn(LEARNED, width))
        self.cross = nn.ModuleList(Attention(width) for _ in range(LAYERS))
        self.own = nn.ModuleList(Attention(width) for _ in range(LAYERS)) if talking else None
        self.feed = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
            )
            for _ in range(LAYERS)
        )
        self.known = known
        # At first only the first look at the patches adds anything.
        looks: list[Any] = list(zip(self.cross, self.feed, strict=True))
        for layer, (cross, feed) in enumerate(looks):
            cross.begin(float(layer == 0))
            nn.init.zeros_(feed[-1].weight)
        talks: list[Any] = [] if self.own is None else list(self.own)
        for own in talks:
            own.begin(0.0)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Returns one token per query."""
        tokens = self.queries.expand(len(features), -1, -1)
        for layer in range(LAYERS):
            if self.own is not None:
                tokens = tokens + self.own[layer](tokens, tokens)[0]
            tokens = tokens + self.cross[layer](tokens, features)[0]
            tokens = tokens + self.feed[layer](tokens)
        return self.known(tokens)


BLOCKS = {"grid": 1, "average": 2, "shuffle": 2, "cls": 24}
"""Edge in patches of the block that a token is made of, where no queries are learned."""
PROJECTORS: dict[str, Callable[[nn.Module, int], nn.Module]] = {
    "grid": lambda known, width: known,
    "average": lambda known, width: Blocks(known, width, BLOCKS["average"]),
    "shuffle": lambda known, width: Blocks(known, width, BLOCKS["shuffle"], shuffled=True),
    "perceiver": lambda known, width: Resampler(known, width, talking=False),
    "qformer": lambda known, width: Resampler(known, width, talking=True),
    "cls": lambda known, width: Blocks(known, width, BLOCKS["cls"]),
}
"""By arm: makes the projector from the known one, and the width of the patches' features."""


def attentions(projector: Resampler) -> list[tuple[Any, Kind]]:
    """Returns the attentions of learned queries in their order, as `families.Resampler.looks` wants them."""
    looks: list[tuple[Any, Kind]] = []
    for layer, cross in enumerate(projector.cross):
        if projector.own is not None:
            looks.append((projector.own[layer], "own"))
        looks.append((cross, "patches"))
    return looks
