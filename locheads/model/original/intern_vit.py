"""Brings InternViT, the tower of InternVL-6B, into transformers' `InternVLVisionModel`.

InternViT-6B-224px (arXiv 2312.14238) has 48 layers of 25 heads with 128 channels, RMS norms, normalised
queries and keys, and scaled residuals. InternVL-Chat shows it pictures of 336 pixels: 24 × 24 patches of 14
pixels.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from transformers import CLIPImageProcessor, InternVLVisionConfig
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from locheads.errors import LocheadsError
from locheads.model.original.weights import Weights

SIDE = 336
"""Edge in pixels of the pictures that a tower trained on 224 pixels gets."""

_RENAMED = (
    ("embeddings.class_embedding", "embeddings.cls_token"),
    ("embeddings.patch_embedding.", "embeddings.patch_embeddings.projection."),
    ("embeddings.position_embedding", "embeddings.position_embeddings"),
    ("encoder.layers.", "encoder.layer."),
    (".attn.proj.", ".attention.projection_layer."),
    (".attn.", ".attention."),
    (".norm1.", ".layernorm_before."),
    (".norm2.", ".layernorm_after."),
    (".ls1", ".lambda_1"),
    (".ls2", ".lambda_2"),
)


def config_of(name: str, own: Weights, settings: Mapping[str, Any]) -> InternVLVisionConfig:
    """Returns the configuration of a tower; what its `config.json` does not say is read from the weights.

    Raises:
        LocheadsError: The number of heads is not known.
    """
    width, _, patch, _ = own["embeddings.patch_embedding.weight"].shape
    trained = round((own["embeddings.position_embedding"].shape[1] - 1) ** 0.5) * patch
    side = settings.get("crop_size", SIDE if trained == 224 else trained)
    layers = {int(found[1]) for key in own if (found := re.match(r"encoder\.layers\.(\d+)\.", key))}
    if "num_attention_heads" not in settings:
        raise LocheadsError(f"model '{name}': the config.json of its InternViT has no num_attention_heads")
    return InternVLVisionConfig(
        hidden_size=width,
        num_hidden_layers=int(settings.get("num_hidden_layers", len(layers))),
        num_attention_heads=int(settings["num_attention_heads"]),
        intermediate_size=own["encoder.layers.0.mlp.fc1.weight"].shape[0],
        image_size=[side, side],
        patch_size=[patch, patch],
        attention_bias="encoder.layers.0.attn.qkv.bias" in own,
        use_qk_norm="encoder.layers.0.attn.q_norm.weight" in own,
        norm_type="layer_norm" if "encoder.layers.0.norm1.bias" in own else "rms_norm",
        hidden_act=str(settings.get("hidden_act", "gelu")),
        layer_norm_eps=float(settings.get("layer_norm_eps", 1e-6)),
    )


def renamed(own: Weights, config: InternVLVisionConfig) -> Weights:
    """Returns the weights by the keys of the class: `qkv` in three, positions on the new grid."""
    weights: Weights = {}
    for key, tensor in own.items():
        new = key
        for old, replacement in _RENAMED:
            new = new.replace(old, replacement)
        if ".qkv." in new:
            for part, third in zip("qkv", tensor.chunk(3), strict=True):
                weights[new.replace(".qkv.", f".{part}_proj.")] = third
        else:
            weights[new] = tensor
    cells = config.image_size[0] // config.patch_size[0]
    positions = "embeddings.position_embeddings"
    weights[positions] = _on_grid(weights[positions], cells)
    return weights


def processor(config: InternVLVisionConfig) -> CLIPImageProcessor:
    """Returns what InternVL-Chat does to pictures: their size, and ImageNet's mean and deviation."""
    side = config.image_size[0]
    return CLIPImageProcessor(
        size={"shortest_edge": side},
        crop_size={"height": side, "width": side},
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )


def _on_grid(
    positions: Float[torch.Tensor, "1 tokens width"], cells: int
) -> Float[torch.Tensor, "1 others width"]:
    """Interpolates the positions of the patches, behind the class token's, to a grid of `cells` × `cells`."""
    edge = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].float().reshape(1, edge, edge, -1).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(cells, cells), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], grid.flatten(2).mT.to(positions.dtype)], 1)
