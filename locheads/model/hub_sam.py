"""Adapts transformers' SAM to the predictor of segment_anything.

Resizing, padding, thresholds and the coordinates of prompts are then those of a published checkpoint; only
the weights, and the layers that hold them, are transformers'.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

# isort: split
from segment_anything.modeling import Sam
from transformers import SamModel
from transformers.utils.logging import disable_progress_bar

from locheads.errors import LocheadsError, first_line


def load_hub_sam(name: str) -> Sam:
    """Loads a `SamModel` of transformers behind the interface that SAM's own predictor expects.

    Args:
        name: A hub name, or a folder in transformers' layout.

    Raises:
        LocheadsError: There is no such model, or it is not a SAM.
    """
    disable_progress_bar()
    try:
        model, report = SamModel.from_pretrained(name, output_loading_info=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise LocheadsError(
            f"segmenter '{name}' cannot be loaded ({first_line(error)}); give 'specimen', a folder "
            "of weights, a .pth checkpoint of SAM, or a hub name"
        ) from error
    if any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")) or not (
        isinstance(model, SamModel) and model.config.model_type == "sam"
    ):
        raise LocheadsError(f"segmenter '{name}': not the weights of a SAM; choose another")
    return Sam(_Encoder(model), _Prompts(model), _Decoder(model)).eval()


class _Encoder(nn.Module):
    """A `SamModel`'s image encoder, called as SAM's own."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model, self.img_size = model, model.config.vision_config.image_size

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.model.get_image_embeddings(image)


class _Prompts(nn.Module):
    """A `SamModel`'s prompt encoder, called as SAM's own, with one prompt at a time."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        points: tuple[torch.Tensor, torch.Tensor] | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        coords, labels = (None, None) if points is None else (points[0][None], points[1][None])
        return self.model.prompt_encoder(coords, labels, None if boxes is None else boxes[None], masks)

    def get_dense_pe(self) -> torch.Tensor:
        return self.model.get_image_wide_positional_embeddings()


class _Decoder(nn.Module):
    """A `SamModel`'s mask decoder, called as SAM's own, with one prompt at a time."""

    def __init__(self, model: SamModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, image_pe: torch.Tensor, **others: Any) -> tuple[torch.Tensor, torch.Tensor]:
        masks, ious = self.model.mask_decoder(image_positional_embeddings=image_pe, **others)
        return masks[:, 0], ious[:, 0]
