"""What both training stages of the specimen share: a pool of scenes and a resumable loop."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from locheads.specimen.scenes import SHAPES, Scene, Thing, draw_scene

Batch = dict[str, torch.Tensor]

TRAINING_STREAM = 1_000
"""First word of the seeds of training scenes; those of the data set's splits are smaller."""


@dataclass(frozen=True)
class ScenePool:
    """Scenes as the vision tower sees them.

    Attributes:
        images: Unsigned bytes, `scenes × side × side × 3`, on disk.
        things: What each scene shows, from far to near.
    """

    images: np.ndarray
    things: list[tuple[Thing, ...]]

    @cached_property
    def mean_and_std(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Of CLIP's image processor, per channel."""
        from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

        return torch.tensor(OPENAI_CLIP_MEAN).view(3, 1, 1), torch.tensor(OPENAI_CLIP_STD).view(3, 1, 1)

    def pixels(self, indices: np.ndarray) -> torch.Tensor:
        """Normalised `scenes × 3 × side × side`, as the image processor gives them."""
        mean, std = self.mean_and_std
        images = torch.from_numpy(self.images[np.sort(indices)]).permute(0, 3, 1, 2).float() / 255
        return (images - mean) / std

    def scene(self, index: int) -> Scene:
        """What the scene shows, without its picture."""
        empty = np.empty(0)
        return Scene(self.things[index], empty, empty)


def make_pool(folder: Path, count: int, side: int, seed: int, least: int = 2, most: int = 5) -> ScenePool:
    """Draw `count` scenes, or reopen them where `folder` has them already."""
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / f"scenes-{seed}-{least}to{most}-{count}-{side}"
    images, things = name.with_suffix(".npy"), name.with_suffix(".pt")
    if not things.exists():
        store = np.lib.format.open_memmap(images, "w+", np.uint8, (count, side, side, 3))
        drawn: list[tuple[Thing, ...]] = []
        with Pool(os.cpu_count()) as workers:
            draw = partial(_draw, seed=seed, side=side, least=least, most=most)
            for i, (image, thing) in enumerate(tqdm(workers.imap(draw, range(count), 64), "scenes", count)):
                store[i] = image
                drawn.append(thing)
        store.flush()
        torch.save(drawn, things)
    return ScenePool(np.load(images, mmap_mode="r"), torch.load(things, weights_only=False))


def _draw(index: int, seed: int, side: int, least: int, most: int) -> tuple[np.ndarray, tuple[Thing, ...]]:
    from PIL import Image

    scene = draw_scene(np.random.default_rng([TRAINING_STREAM, seed, index]), most, tuple(SHAPES), least)
    small = Image.fromarray(scene.image).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small), scene.things


def train(
    modules: nn.Module,
    batches: Dataset[Batch],
    loss_of: Callable[[Batch], tuple[torch.Tensor, dict[str, float]]],
    rate: float,
    checkpoint: Path,
    device: str = "cpu",
) -> list[dict[str, float]]:
    """Minimise a loss with AdamW, warm-up and cosine decay; resume from `checkpoint`.

    Args:
        modules: What is trained: its parameters that require a gradient.
        batches: One a step; a batch depends on its number alone, so that resuming repeats nothing.
        loss_of: From a batch, the loss and figures to log.
        rate: Peak learning rate.
        checkpoint: Written every 200 steps (to a temporary name, then renamed).
        device: Where the batches go.

    Returns:
        Figures averaged over each hundred steps: the training curve.
    """
    steps = len(batches)  # type: ignore[arg-type]
    parameters = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.05, betas=(0.9, 0.98))
    curve: list[dict[str, float]] = []
    start = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        modules.load_state_dict(state["modules"])
        optimizer.load_state_dict(state["optimizer"])
        start, curve = state["step"], state["curve"]
    recent: list[dict[str, float]] = []
    loader = DataLoader(batches, None, sampler=range(start, steps), num_workers=1, prefetch_factor=4)
    bar = tqdm(loader, checkpoint.stem, initial=start, total=steps, mininterval=10)
    for step, batch in enumerate(bar, start):
        for group in optimizer.param_groups:
            group["lr"] = (
                rate * min(1.0, (step + 1) / 200) * (0.5 + 0.5 * math.cos(math.pi * step / steps) + 0.01)
            )
        loss, figures = loss_of({name: tensor.to(device) for name, tensor in batch.items()})
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        recent.append({"loss": loss.item(), **figures})
        if (step + 1) % 100 == 0:
            keys = sorted({k for row in recent for k in row})
            means = {k: float(np.mean([row[k] for row in recent if k in row])) for k in keys}
            curve.append({"step": step + 1, **means})
            bar.write(" ".join(f"{k} {v:.4g}" for k, v in curve[-1].items()))
            recent = []
        if (step + 1) % 200 == 0 or step + 1 == steps:
            state = {
                "modules": modules.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "curve": curve,
            }
            torch.save(state, checkpoint.with_suffix(".part"))
            os.replace(checkpoint.with_suffix(".part"), checkpoint)
    return curve
