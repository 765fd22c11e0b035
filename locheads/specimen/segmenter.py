"""Training of the small Segment Anything model on the scenes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from locheads.model.small_sam import SegmenterConfig, build_sam

# isort: split
from segment_anything import SamPredictor
from segment_anything.modeling import Sam

from locheads.data.scenes.scenes import SIDE, draw_scene
from locheads.specimen.segmenter_lessons import Batch, draw_batch, loose_box, loss_of_batch
from locheads.specimen.training import train

TRAINING, HELD_OUT = 1_001, 1_002
"""First words of the seeds of the scenes it learns from and of those it is judged on."""


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
    config: SegmenterConfig,
    scenes: int = 12,
    seed: int = 0,
    device: str = "cpu",
    save_every: int = 100,
) -> tuple[Sam, list[dict[str, float]]]:
    """Trains from scratch, or from `checkpoint` on where there is one.

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
