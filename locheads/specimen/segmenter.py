"""A small Segment Anything model, trained on the scenes.

It is `segment_anything.modeling.Sam` with an image of 128 pixels and an encoder of four blocks; the
two-way mask decoder, three ambiguous masks and one single mask, and the IoU head are SAM's own. A
`SamPredictor` drives it exactly as it drives a published checkpoint.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import locheads._torchvision  # noqa: F401

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset
from tqdm import tqdm

# isort: split
from segment_anything import SamPredictor
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.specimen.prompts import Batch, draw_batch, loose_box, loss_of_batch
from locheads.specimen.scenes import SIDE, draw_scene
from locheads.specimen.training import train
from locheads.specimen.weights import WEIGHTS, load_weights, save_weights

SEGMENTER = WEIGHTS / "sam"
"""Where the shipped segmenter lies."""
TRAINING, HELD_OUT = 1_001, 1_002
"""First words of the seeds of the scenes it learns from and of those it is judged on."""


@dataclass(frozen=True)
class SegmenterConfig:
    """The architecture; the defaults are the shipped model (about 0.7 M parameters)."""

    image_size: int = 128
    patch_size: int = 8
    encoder_dim: int = 96
    encoder_depth: int = 4
    encoder_heads: int = 4
    global_blocks: tuple[int, ...] = (1, 3)
    window: int = 8
    prompt_dim: int = 64
    decoder_mlp_dim: int = 256


def build_sam(config: SegmenterConfig = SegmenterConfig()) -> Sam:
    """An untrained model, with SAM's own pixel mean and deviation."""
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
    """Write `model.safetensors`, its hash and `config.json`; returns the hash."""
    digest = save_weights(folder, sam.state_dict())
    with replacing(folder / "config.json") as part:
        part.write_text(json.dumps(asdict(config), indent=2) + "\n", encoding="utf-8")
    return digest


def load_sam(folder: Path = SEGMENTER) -> Sam:
    """The model of a folder that `save_segmenter` wrote, on the CPU, in evaluation mode.

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


class PromptedScenes(Dataset):
    """Batch `step` of the training: its scenes are drawn from the seed and their numbers, each seen once."""

    def __init__(self, side: int, steps: int, scenes: int, seed: int) -> None:
        self.side, self.steps, self.scenes, self.seed = side, steps, scenes, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        numbers = range(step * self.scenes, (step + 1) * self.scenes)
        batch = draw_batch(self.side, [[TRAINING, self.seed, i] for i in numbers])
        return {"step": torch.tensor(step), **vars(batch)}


def prompt_loss(sam: Sam, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
    """`loss_of_batch` of an item of `PromptedScenes`."""
    prompted = {name: tensor for name, tensor in batch.items() if name != "step"}
    return loss_of_batch(sam, Batch(**prompted), int(batch["step"]))


def train_segmenter(
    steps: int,
    checkpoint: Path,
    config: SegmenterConfig = SegmenterConfig(),
    scenes: int = 12,
    seed: int = 0,
    device: str = "cpu",
    save_every: int = 100,
) -> tuple[Sam, list[dict[str, float]]]:
    """Train from scratch, or from `checkpoint` on where there is one.

    Args:
        steps: Of the whole schedule.
        checkpoint: File with model, optimiser and curve, written and renamed as training goes.
        config: The architecture.
        scenes: In a step.
        seed: Decides the first weights and every scene and prompt.
        device: Where to train.
        save_every: Steps between two checkpoints; the curve has one entry for each.

    Returns:
        The model, on the CPU and in evaluation mode, and its training curve.
    """
    torch.manual_seed(seed)
    sam = build_sam(config).to(device).train()
    batches = PromptedScenes(config.image_size, steps, scenes, seed)
    loss = partial(prompt_loss, sam)
    curve = train(sam, batches, loss, 1e-3, checkpoint, seed, device, warm_up=100, save_every=save_every)
    return sam.cpu().eval(), curve


@torch.no_grad()
def held_out_ious(sam: Sam, scenes: int = 200, seed: int = 0, loose: bool = False) -> np.ndarray:
    """IoU of the single-mask output with each object's mask, from its box, on scenes never trained on.

    Args:
        sam: The model, driven through `SamPredictor`.
        scenes: How many; scene `i` is drawn from the seed `(HELD_OUT, seed, i)`.
        seed: Of the scenes.
        loose: Prompt with `loose_box` of the ground-truth box instead of the box itself.

    Returns:
        One IoU per object, in the pixels of the original scene.
    """
    predictor, ious = SamPredictor(sam), []
    for i in tqdm(range(scenes), "held-out scenes", mininterval=10):
        rng = np.random.default_rng([HELD_OUT, seed, i])
        scene = draw_scene(rng)
        predictor.set_image(scene.image)
        for box, mask in zip(scene.boxes, scene.masks, strict=True):
            prompt = np.clip(loose_box(box, rng), 0, SIDE) if loose else box
            seen = predictor.predict(box=prompt, multimask_output=False)[0][0]
            ious.append((seen & mask).sum() / (seen | mask).sum())
    return np.array(ious)
