"""Vision towers in plain PyTorch, from published keys: independent of the classes of transformers."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

Weights = dict[str, torch.Tensor]


def linear(weights: Weights, key: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, weights[f"{key}.weight"], weights.get(f"{key}.bias"))


def norm(weights: Weights, key: str, x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], weights[f"{key}.weight"], weights[f"{key}.bias"], eps)


def rms(weights: Weights, key: str, x: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weights[f"{key}.weight"]


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int) -> torch.Tensor:
    q, k, v = (one.unflatten(-1, (heads, -1)).transpose(1, 2) for one in (q, k, v))
    scores = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)
    return (scores @ v).transpose(1, 2).flatten(2)


def tokens(pixels: torch.Tensor, weights: Weights) -> torch.Tensor:
    kernel = weights["embeddings.patch_embedding.weight"]
    patches = F.conv2d(
        pixels, kernel, weights.get("embeddings.patch_embedding.bias"), stride=kernel.shape[-1]
    )
    first = weights["embeddings.class_embedding"].reshape(1, 1, -1).expand(len(pixels), -1, -1)
    return torch.cat([first, patches.flatten(2).mT], 1)


def clip(
    pixels: torch.Tensor,
    weights: Weights,
    heads: int,
    layers: int,
    act: Callable[[torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """A CLIP tower after `layers` layers, without the class token."""
    x = tokens(pixels, weights) + weights["embeddings.position_embedding.weight"]
    x = norm(weights, "pre_layrnorm", x)
    for layer in range(layers):
        at = f"encoder.layers.{layer}"
        y = norm(weights, f"{at}.layer_norm1", x)
        q, k, v = (linear(weights, f"{at}.self_attn.{one}_proj", y) for one in "qkv")
        x = x + linear(weights, f"{at}.self_attn.out_proj", attend(q, k, v, heads))
        y = act(linear(weights, f"{at}.mlp.fc1", norm(weights, f"{at}.layer_norm2", x)))
        x = x + linear(weights, f"{at}.mlp.fc2", y)
    return x[:, 1:]


def intern_vit(pixels: torch.Tensor, weights: Weights, heads: int, layers: int, cells: int) -> torch.Tensor:
    """An InternViT after `layers` layers, without the class token."""
    positions = weights["embeddings.position_embedding"]
    edge = int((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].mT.unflatten(-1, (edge, edge))
    grid = F.interpolate(grid, (cells, cells), mode="bicubic", align_corners=False).flatten(2).mT
    x = tokens(pixels, weights) + torch.cat([positions[:, :1], grid], 1)
    for layer in range(layers):
        at = f"encoder.layers.{layer}"
        q, k, v = linear(weights, f"{at}.attn.qkv", rms(weights, f"{at}.norm1", x)).chunk(3, -1)
        q, k = rms(weights, f"{at}.attn.q_norm", q), rms(weights, f"{at}.attn.k_norm", k)
        x = x + linear(weights, f"{at}.attn.proj", attend(q, k, v, heads)) * weights[f"{at}.ls1"]
        y = F.gelu(linear(weights, f"{at}.mlp.fc1", rms(weights, f"{at}.norm2", x)))
        x = x + linear(weights, f"{at}.mlp.fc2", y) * weights[f"{at}.ls2"]
    return x[:, 1:]


def convnext(pixels: torch.Tensor, weights: Weights) -> torch.Tensor:
    """All stages of a ConvNeXt at the size of the first, joined: batch × features × rows × columns."""

    def planes(key: str, x: torch.Tensor) -> torch.Tensor:
        return norm(weights, key, x.movedim(1, -1), 1e-6).movedim(-1, 1)

    def conv(key: str, x: torch.Tensor, **how: int) -> torch.Tensor:
        return F.conv2d(x, weights[f"{key}.weight"], weights[f"{key}.bias"], **how)

    x = planes("vision_stem.1", conv("vision_stem.0", pixels, stride=4))
    stages: list[torch.Tensor] = []
    while f"vision_stages.{len(stages)}.blocks.0.gamma" in weights:
        at = f"vision_stages.{len(stages)}"
        if stages:
            x = conv(f"{at}.downsample.1", planes(f"{at}.downsample.0", x), stride=2)
        block = 0
        while f"{at}.blocks.{block}.gamma" in weights:
            here = f"{at}.blocks.{block}"
            y = conv(f"{here}.conv_dw", x, padding=3, groups=x.shape[1]).movedim(1, -1)
            y = F.gelu(linear(weights, f"{here}.mlp.fc1", norm(weights, f"{here}.norm", y, 1e-6)))
            y = linear(weights, f"{here}.mlp.fc2", y) * weights[f"{here}.gamma"]
            x, block = x + y.movedim(-1, 1), block + 1
        stages.append(x)
    size = stages[0].shape[-2:]
    return torch.cat([F.interpolate(one, size, mode="bilinear") for one in stages], 1)
