"""Moves the attention of chosen heads to other cells: does the model go on as if it had looked there?

A head's attention to the picture keeps its total, the attention sum, but is spread over given cells; what it
pays to the text stays. Its output, a weighted sum of values, then changes by

    S · Σ_c t_c v_c − Σ_c a_c v_c

where a is the attention to the cells, S its sum, t the target and v the values. Queries, keys and all other
heads are as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int

from locheads.model.attention_layer import Layer, after_attention
from locheads.model.lvlm import Lvlm


@dataclass(frozen=True)
class Steer:
    """Where the heads of each row are made to look.

    Attributes:
        heads: Which heads of each row, from `interventions.chosen`.
        target: Weights of the cells for each row; they sum to 1.
        image_tokens: Positions of the cells among the keys. Only tokens behind the last are steered.
    """

    heads: Bool[torch.Tensor, "row layer head"]
    target: Float[torch.Tensor, "row cells"]
    image_tokens: Int[torch.Tensor, "batch cells"]

    def moved(self, heads: Bool[torch.Tensor, "row head"], layer: Layer) -> torch.Tensor:
        """Returns a layer's outputs, `batch × tokens × head × dim`, with its chosen heads steered."""
        outputs = layer.outputs
        batch, tokens = outputs.shape[:2]
        # Attention to the cells, and the values there, of every head.
        every = torch.arange(batch, device=outputs.device)[:, None]
        image = self.image_tokens.to(outputs.device).expand(batch, -1)
        seen = layer.attention()[every, :, :, image].permute(0, 2, 3, 1)  # batch × head × tokens × cells
        values = layer.each(layer.value)[every, :, image].transpose(1, 2)  # batch × head × cells × dim
        # What the picture contributes, Σ a v: batch × tokens × head × dim.
        now = (seen.to(values) @ values).transpose(1, 2)
        # What it would contribute, S · Σ t v. Rows may stand one after another in one sequence: row and token
        # are counted together.
        times = batch * tokens // len(heads)
        target = self.target.to(values).repeat_interleave(times, 0).view(batch, tokens, -1)
        there = torch.einsum("btc,bhcd->bthd", target, values)
        mass = seen.sum(-1).transpose(1, 2)[..., None].to(values)
        # Only tokens behind the picture, and only the chosen heads.
        position = layer.key.shape[2] - layer.query.shape[2] + torch.arange(tokens, device=outputs.device)
        behind = position > image.max(-1, keepdim=True).values
        wanted = heads.to(outputs.device).repeat_interleave(times, 0).view(batch, tokens, -1)
        return torch.where((wanted & behind[..., None])[..., None], outputs + mass * there - now, outputs)


@contextmanager
def steered(lvlm: Lvlm, steer: Steer) -> Iterator[None]:
    """Steers the heads in every pass within the block; other threads and later passes are not affected."""

    def move(layer: Layer) -> torch.Tensor:
        if layer.number not in lvlm.attending:
            return layer.outputs
        heads = steer.heads[:, lvlm.attending.index(layer.number)]
        return steer.moved(heads, layer) if heads.any() else layer.outputs

    with after_attention(move):
        yield
