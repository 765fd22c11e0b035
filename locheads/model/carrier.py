"""Carries captured rows back to patches where a projector has pooled these into tokens of no place.

While the model runs, hooks keep the attention weights of its resampler (`families.Resampler`), of the very
pass whose rows are captured. Elsewhere rows are folded into the grid as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from locheads.errors import LocheadsError
from locheads.method.carried_back import Look, dealt_out, rollout
from locheads.model.lvlm import Lvlm

Grid = tuple[int, int]


class Carrier:
    """Listens to the resampler within a `with` block, and turns rows into maps after it."""

    def __init__(self, lvlm: Lvlm) -> None:
        self._lvlm = lvlm
        self._resampler = lvlm.family.resampler if lvlm.family else None
        self._seen: list[tuple[str, torch.Tensor]] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Carrier:
        if self._resampler is not None:
            for module, kind in self._resampler.looks(self._lvlm.model):
                self._hooks.append(module.register_forward_hook(partial(self._keep, kind)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def _keep(self, kind: str, module: torch.nn.Module, inputs: Any, outputs: Any) -> None:
        if outputs[1] is None:
            raise LocheadsError(
                f"{self._lvlm.name}: {type(module).__name__} gives no weights; load it with eager attention"
            )
        self._seen.append((kind, outputs[1].detach().float().mean(1)))

    def maps(
        self, rows: Float[torch.Tensor, "batch *heads cells"], grids: Sequence[Grid]
    ) -> list[Float[torch.Tensor, "*heads row column"]]:
        """Returns the maps of each text: its row of cells folded, or carried back to patches and folded.

        Args:
            rows: Captured rows; those of shorter texts are filled up behind their cells.
            grids: Rows and columns of each picture's grid.
        """
        if self._resampler is None:
            return [
                one[..., : down * across].unflatten(-1, (down, across))
                for one, (down, across) in zip(rows, grids, strict=True)
            ]
        return [
            (one.float() @ shares.to(one.device)).unflatten(-1, grid)
            for one, shares, grid in zip(rows, self.shares(grids), grids, strict=True)
        ]

    def shares(self, grids: Sequence[Grid]) -> list[Float[torch.Tensor, "tokens patches"]]:
        """Computes the share of each patch in each token, of every text; texts may share a picture.

        Raises:
            LocheadsError: The model's image tokens are cells.
        """
        if self._resampler is None:
            raise LocheadsError(f"{self._lvlm.name}: its image tokens are cells, nothing is carried back")
        if self._resampler.exact is not None:
            return [torch.from_numpy(self._resampler.exact(grid)).float() for grid in grids]
        tokens = self._resampler.tokens(self._lvlm.model.config)
        looks = [_look(kind, weights, tokens) for kind, weights in self._seen]
        shares = dealt_out(rollout(looks, tokens), self._resampler.first)
        # Pictures of a batch are padded to the largest, whose patches are in raster order.
        largest = tuple(max(edges) for edges in zip(*grids, strict=True))
        padded = shares.reshape(*shares.shape[:2], *largest)
        padded = np.broadcast_to(padded, (len(grids), *padded.shape[1:]))
        cut = [one[:, :down, :across] for one, (down, across) in zip(padded, grids, strict=True)]
        return [torch.tensor(one.reshape(tokens, -1), dtype=torch.float32) for one in cut]


def _look(kind: str, weights: torch.Tensor, tokens: int) -> Look:
    """Returns what an attention looks at: its own states, the patches, or patches with its states behind."""
    found = weights.cpu().double().numpy()
    if kind == "own":
        return Look(states=found)
    if kind == "patches":
        return Look(patches=found)
    return Look(patches=found[..., :-tokens], states=found[..., -tokens:])
