"""Mini-Gemini: a CLIP for the tokens, and a ConvNeXt at a higher resolution whose details they take up.

Source: arXiv 2403.18814, section 3.1, and its code. The picture has 768 pixels. CLIP ViT-L sees it at 336
pixels and gives 24 × 24 tokens. ConvNeXt-L sees it whole; its four stages, at the size of the first, are
joined: 192 × 192 features, 8 × 8 of them within each token's cell. Every token attends to those of its cell
(patch info mining), and what it finds is added to it. Number and order of the tokens stay those of CLIP.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    ConvNextConfig,
    ConvNextModel,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import BaseModelOutput

from locheads.errors import LocheadsError
from locheads.model.original.towers import Tower, beside, fetched
from locheads.model.original.weights import Weights, read

_AUX = "model.vision_tower_aux."
_PARTS = {"query": "vlm_uni_query_projector", "aux": "vlm_uni_aux_projector", "val": "vlm_uni_val_projector"}
_CONVNEXT = (
    (r"^vision_stem\.0\.", "embeddings.patch_embeddings."),
    (r"^vision_stem\.1\.", "embeddings.layernorm."),
    (r"^vision_stages\.", "encoder.stages."),
    (r"\.downsample\.", ".downsampling_layer."),
    (r"\.blocks\.", ".layers."),
    (r"\.conv_dw\.", ".dwconv."),
    (r"\.norm\.", ".layernorm."),
    (r"\.mlp\.fc(\d)\.", r".pwconv\1."),
    (r"\.gamma$", ".layer_scale_parameter"),
)
"""Keys of timm's ConvNeXt, as published → keys of transformers'."""


class MiniGeminiVisionConfig(PreTrainedConfig):
    """Describes both encoders; `image_size` is the finer one's, `patch_size` the edge of a token's cell."""

    model_type = "locheads_mini_gemini_vision"
    sub_configs: ClassVar[dict[str, Any]] = {"clip": CLIPVisionConfig, "convnext": ConvNextConfig}

    clip: Any = None
    convnext: Any = None
    select: int = -2
    image_size: int = 768
    patch_size: int = 32
    hidden_size: int = 1024


class MiniGeminiVisionModel(PreTrainedModel):
    """Gives CLIP's tokens with the details that were mined for them, as its only hidden state."""

    config_class = MiniGeminiVisionConfig
    main_input_name = "pixel_values"
    _supports_sdpa = True

    def __init__(self, config: MiniGeminiVisionConfig) -> None:
        """Builds both encoders and the three projectors, without weights."""
        super().__init__(config)
        width, fine = config.clip.hidden_size, sum(config.convnext.hidden_sizes)
        self.clip = CLIPVisionModel(config.clip)
        self.convnext = ConvNextModel(config.convnext)
        self.convnext.layernorm = nn.Identity()  # of a classifier, which is not there
        self.query = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.aux = nn.Sequential(nn.LayerNorm(fine), nn.Linear(fine, width))
        self.val = nn.Sequential(nn.LayerNorm(fine), nn.Linear(fine, width))
        self.post_init()

    def forward(self, pixel_values: Float[torch.Tensor, "batch 3 side side"], **_: Any) -> BaseModelOutput:
        """Returns `batch × cells × width` as `last_hidden_state` and as the one of `hidden_states`."""
        side = self.config.clip.image_size
        small = nn.functional.interpolate(pixel_values, (side, side), mode="bilinear", align_corners=False)
        states = self.clip(small, output_hidden_states=True).hidden_states
        tokens = states[self.config.select][:, 1:]
        mined = tokens + self.mined(tokens, self.details(pixel_values))
        return BaseModelOutput(last_hidden_state=mined, hidden_states=(mined,))

    def details(
        self, pixels: Float[torch.Tensor, "batch 3 side side"]
    ) -> Float[torch.Tensor, "batch fine rows columns"]:
        """Returns the features of all four stages, at the size of the first."""
        features = self.convnext.embeddings(pixels)
        stages = []
        for stage in self.convnext.encoder.stages:
            features = stage(features)
            stages.append(features)
        size = stages[0].shape[-2:]
        larger = [
            nn.functional.interpolate(one.float(), size, mode="bilinear", align_corners=False).to(one.dtype)
            for one in stages[1:]
        ]
        return torch.cat([stages[0], *larger], 1)

    def mined(
        self,
        tokens: Float[torch.Tensor, "batch cells width"],
        details: Float[torch.Tensor, "batch fine rows columns"],
    ) -> Float[torch.Tensor, "batch cells width"]:
        """Returns for each token the values of its cell's details, weighted by their fit to its query."""
        edge = round(tokens.shape[1] ** 0.5)
        cells = details.unflatten(-1, (edge, -1)).unflatten(-3, (edge, -1))  # … row, y, column, x
        cells = cells.permute(0, 2, 4, 3, 5, 1).flatten(3, 4).flatten(1, 2)  # batch, cell, detail, fine
        keys, values = self.aux(cells), self.val(cells)
        scores = self.query(tokens)[:, :, None] @ keys.mT / keys.shape[-1] ** 0.5
        return (scores.softmax(-1) @ values)[:, :, 0]


AutoConfig.register(MiniGeminiVisionConfig.model_type, MiniGeminiVisionConfig)
AutoModel.register(MiniGeminiVisionConfig, MiniGeminiVisionModel)


def with_details(
    name: str,
    folder: Path,
    raw: Mapping[str, Any],
    weights: Weights,
    tower: Tower,
    where: Mapping[str, Any],
) -> Tower:
    """Returns the tower of both encoders; takes what belongs to the second out of `weights`.

    Args:
        name: Name of the model, for messages.
        folder: Folder of the checkpoint.
        raw: Its `config.json`.
        weights: Its weights; the second encoder's may lie apart, where `mm_vision_tower_aux` says.
        tower: Its CLIP.
        where: `local_files_only`, for the hub.

    Raises:
        LocheadsError: The picture is cut into tiles (the HD variants), or the second encoder is nowhere.
    """
    if raw.get("image_grid", 1) != 1 or raw.get("image_global"):
        raise LocheadsError(
            f"model '{name}': image_grid cuts pictures into tiles, which form no grid; take Mini-Gemini-2B"
        )
    aux = {key.removeprefix(_AUX): weights.pop(key) for key in list(weights) if key.startswith(_AUX)}
    aux = aux or _apart(name, folder, str(raw["mm_vision_tower_aux"]), where)
    joined = {f"clip.{key}": tensor for key, tensor in tower.weights.items()}
    joined |= {f"convnext.{_key(key)}": tensor for key, tensor in aux.items()}
    for part, published in _PARTS.items():
        for key in [key for key in weights if key.startswith(f"model.{published}.")]:
            joined[key.replace(f"model.{published}", part)] = weights.pop(key)
    side = int(raw.get("image_size_aux", 768))
    cells = tower.config.image_size // tower.config.patch_size
    config = MiniGeminiVisionConfig(
        clip=tower.config,
        convnext=_convnext(name, aux),
        select=raw.get("mm_vision_select_layer", -2),
        image_size=side,
        patch_size=side // cells,
        hidden_size=tower.config.hidden_size,
    )
    images = CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    return replace(tower, config=config, weights=joined, images=images, first=False, select=-1)


def _apart(name: str, folder: Path, named: str, where: Mapping[str, Any]) -> Weights:
    """Reads stem and stages of an OpenCLIP ConvNeXt out of its own folder or repository."""
    place = beside(folder, named) or fetched(name, named, where, key="mm_vision_tower_aux")
    found = re.compile(r"^visual\.trunk\.(?=stem|stages)")
    return {found.sub("vision_", key): one for key, one in read(place).items() if found.match(key)}


def _key(key: str) -> str:
    for pattern, replacement in _CONVNEXT:
        key = re.sub(pattern, replacement, key)
    return key


def _convnext(name: str, aux: Weights) -> ConvNextConfig:
    """Reads depths and widths of a ConvNeXt from its weights."""
    blocks = [re.match(r"vision_stages\.(\d+)\.blocks\.(\d+)\.gamma", key) for key in aux]
    places = [(int(found[1]), int(found[2])) for found in blocks if found]
    count = len({stage for stage, _ in places})
    if not count or "vision_stem.0.weight" not in aux:
        raise LocheadsError(f"model '{name}': its second encoder is no ConvNeXt; take Mini-Gemini-2B")
    return ConvNextConfig(
        num_stages=count,
        depths=[1 + max(block for of, block in places if of == stage) for stage in range(count)],
        hidden_sizes=[len(aux[f"vision_stages.{stage}.blocks.0.gamma"]) for stage in range(count)],
        patch_size=aux["vision_stem.0.weight"].shape[-1],
        hidden_act="gelu",
    )
