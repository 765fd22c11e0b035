"""A small Segment Anything model: architecture, saving, loading.

It is `segment_anything.modeling.Sam` with an image of 128 pixels and an encoder of four blocks; the
two-way mask decoder, three ambiguous masks and one single mask, and the IoU head are SAM's own. A
`SamPredictor` drives it exactly as it drives a published checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.model.shipped import WEIGHTS, load_weights, save_weights

SEGMENTER = WEIGHTS / "sam"
"""Folder of the shipped segmenter."""


@dataclass(frozen=True)
class SegmenterConfig:
    """Configuration of the architecture; the defaults are the shipped model (about 0.7 M parameters)."""

    image_size: int = 128
    patch_size: int = 8
    encoder_dim: int = 96
    encoder_depth: int = 4
    encoder_heads: int = 4
    global_blocks: tuple[int, ...] = (1, 3)
    window: int = 8
    prompt_dim: int = 64
    decoder_mlp_dim: int = 256


def build_sam(config: SegmenterConfig) -> Sam:
    """Builds an untrained model, with SAM's own pixel mean and standard deviation."""
    grid = config.image_size // config.patch_size
    encoder = ImageEncoderViT(
        img_size=config.image_size,
        patch_size=config.patch_size,
        embed_dim=config.encoder_dim,
        depth=config.encoder_depth,
        num_heads=config.encoder_heads,
        out_chans=config.prompt_dim,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=config.window,
        global_attn_indexes=config.global_blocks,
    )
    prompts = PromptEncoder(config.prompt_dim, (grid, grid), (config.image_size, config.image_size), 16)
    decoder = MaskDecoder(
        transformer_dim=config.prompt_dim,
        transformer=TwoWayTransformer(2, config.prompt_dim, 4, config.decoder_mlp_dim),
        iou_head_hidden_dim=config.prompt_dim,
    )
    return Sam(encoder, prompts, decoder).eval()


def save_segmenter(sam: Sam, config: SegmenterConfig, folder: Path) -> str:
    """Writes `model.safetensors`, its hash and `config.json`; returns the hash."""
    digest = save_weights(folder, sam.state_dict())
    with replacing(folder / "config.json") as part:
        part.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    return digest


def load_sam(folder: Path = SEGMENTER) -> Sam:
    """Loads a model that `save_segmenter` wrote, on the CPU and in evaluation mode.

    Raises:
        LocheadsError: The weights are missing or have the wrong hash, or the configuration does not fit them.
    """
    tensors = load_weights(folder)
    path = folder / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        config = SegmenterConfig(**{**values, "global_blocks": tuple(values["global_blocks"])})
        sam = build_sam(config)
        sam.load_state_dict(tensors)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError):
        raise LocheadsError(
            f"{path}: missing, or not the configuration of its weights; fetch it again"
        ) from None
    return sam.eval()
