"""The vision tower, CLIP's in small: it learns on coarse pictures and ends on finer ones.

CLIP's ViT-L learned at 224 pixels and had its last epoch at 336, the 24 × 24 patches that LLaVA-1.5 reads.
Here most of the training sees 18 × 18 patches and the end 24 × 24.
"""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate
from transformers import CLIPVisionConfig, CLIPVisionModel

VISION = CLIPVisionConfig(
    hidden_size=96,
    intermediate_size=384,
    num_hidden_layers=4,
    num_attention_heads=4,
    image_size=192,
    patch_size=8,
    projection_dim=96,
)
"""The tower as it is shipped."""
COARSE = CLIPVisionConfig(**{**VISION.to_dict(), "image_size": 144})
"""The tower while it learns tags and, at first, questions."""


def patch_count(config: CLIPVisionConfig) -> int:
    """Patches of a picture."""
    return int((config.image_size // config.patch_size) ** 2)


@torch.no_grad()
def enlarged(tower: CLIPVisionModel, config: CLIPVisionConfig = VISION) -> CLIPVisionModel:
    """A tower for larger pictures: the same weights, position embeddings interpolated to the finer grid."""
    larger, state = CLIPVisionModel(config), tower.state_dict()
    name = "embeddings.position_embedding.weight"
    first, grid = state[name][:1], state[name][1:]
    old, new = (int(patch_count(c) ** 0.5) for c in (tower.config, config))
    planes = grid.T.reshape(1, -1, old, old)
    finer = interpolate(planes, size=(new, new), mode="bicubic", align_corners=False)
    larger.load_state_dict(state | {name: torch.cat([first, finer.flatten(2)[0].T])})
    return larger
