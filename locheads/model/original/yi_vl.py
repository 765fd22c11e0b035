"""Yi-VL: LLaVA with a layer norm behind either layer of the projector.

`mm_projector_type` is `mlp2x_gelu_Norm` (github.com/01-ai/Yi, folder VL): Linear, LayerNorm, GELU, Linear,
LayerNorm.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import nn
from transformers import LlavaConfig, LlavaForConditionalGeneration

KIND = "mlp2x_gelu_Norm"
NAMES = {"0": "linear_1", "1": "norm_1", "3": "linear_2", "4": "norm_2"}
"""Place in the published `mm_projector` → name here."""


class NormedProjector(nn.Module):
    """The projector of Yi-VL, from the tower's width to the decoder's."""

    def __init__(self, config: LlavaConfig) -> None:
        """Builds the layers, without weights."""
        super().__init__()
        width = config.text_config.hidden_size
        self.linear_1 = nn.Linear(config.vision_config.hidden_size, width)
        self.norm_1 = nn.LayerNorm(width)
        self.linear_2 = nn.Linear(width, width)
        self.norm_2 = nn.LayerNorm(width)

    def forward(
        self, features: Float[torch.Tensor, "batch cells tower"]
    ) -> Float[torch.Tensor, "batch cells decoder"]:
        """Projects the tower's features."""
        inner = nn.functional.gelu(self.norm_1(self.linear_1(features)))
        out: torch.Tensor = self.norm_2(self.linear_2(inner))
        return out


class YiVL(LlavaForConditionalGeneration):
    """LLaVA of transformers with Yi-VL's projector."""

    def __init__(self, config: LlavaConfig) -> None:
        """Builds the model, without weights."""
        super().__init__(config)
        self.model.multi_modal_projector = NormedProjector(config)
