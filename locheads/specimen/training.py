"""What the trainings of the specimen share: a pool of scenes and a resumable loop."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from locheads.data.scenes.scenes import SHAPES, Scene, Thing, draw_scene
from locheads.files import replacing
from locheads.model.devices import keep_freed_memory

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


def make_pool(
    folder: Path,
    count: int,
    side: int,
    seed: int,
    least: int = 2,
    most: int = 5,
    draw: Callable[..., Scene] = draw_scene,
) -> ScenePool:
    """Draws `count` scenes, or reopens them where `folder` has them already.

    Args:
        folder: Where they are kept.
        count: How many.
        side: Edge of a picture in pixels.
        seed: Of the scenes.
        least: Things in a scene, at least.
        most: Things in a scene, at most.
        draw: Draws one scene, as `draw_scene`; workers of their own import it by name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = folder / f"scenes-{seed}-{least}to{most}-{count}-{side}"
    images, things = name.with_suffix(".npy"), name.with_suffix(".pt")
    if not things.exists():
        store = np.lib.format.open_memmap(images, "w+", np.uint8, (count, side, side, 3))
        drawn: list[tuple[Thing, ...]] = []
        with get_context("spawn").Pool(os.cpu_count()) as workers:  # a forked copy of threads may hang
            one = partial(_draw, seed=seed, side=side, least=least, most=most, draw=draw)
            for i, (image, thing) in enumerate(tqdm(workers.imap(one, range(count), 64), "scenes", count)):
                store[i] = image
                drawn.append(thing)
            workers.close()
            workers.join()
        store.flush()
        torch.save(drawn, things)
    return ScenePool(np.load(images, mmap_mode="r"), torch.load(things, weights_only=False))


def _draw(
    index: int, seed: int, side: int, least: int, most: int, draw: Callable[..., Scene]
) -> tuple[np.ndarray, tuple[Thing, ...]]:
    from PIL import Image

    scene = draw(np.random.default_rng([TRAINING_STREAM, seed, index]), most, tuple(SHAPES), least)
    small = Image.fromarray(scene.image).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small), scene.things


def train(
    modules: nn.Module,
    batches: Dataset[Batch],
    loss_of: Callable[[Batch], tuple[torch.Tensor, dict[str, float]]],
    rate: float,
    checkpoint: Path,
    seed: int = 0,
    device: str = "cpu",
    warm_up: int = 200,
    save_every: int = 100,
    watch: Callable[[int], None] | None = None,
) -> list[dict[str, float]]:
    """Minimises a loss with AdamW, warm-up and cosine decay; resumes from `checkpoint`.

    Args:
        modules: What is trained: its parameters that require a gradient.
        batches: One per step; a batch depends on its number alone, so that resuming repeats nothing.
        loss_of: From a batch, the loss and figures to log.
        rate: Peak learning rate.
        checkpoint: Written, then renamed, as training goes.
        seed: Of the chance inside `loss_of`, together with the step.
        device: Where the batches go.
        warm_up: Steps until the learning rate has its peak.
        save_every: Steps between two checkpoints; the curve has one entry for each.
        watch: Called with the number of steps done, before the first and after each; after resuming,
            again for the steps since the checkpoint.

    Returns:
        Figures averaged over `save_every` steps each: the training curve.
    """
    if device == "cpu":
        keep_freed_memory()
    steps = len(batches)  # type: ignore[arg-type]
    learners = [p for p in modules.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learners, weight_decay=0.05, betas=(0.9, 0.98))
    start, curve = _resume(modules, optimizer, checkpoint)
    loader = DataLoader(batches, None, sampler=range(start, steps), num_workers=1, prefetch_factor=4)
    recent: list[dict[str, float]] = []
    bar = tqdm(loader, checkpoint.stem, initial=start, total=steps, mininterval=10)
    if watch and not start:
        watch(0)
    for step, batch in enumerate(bar, start):
        torch.manual_seed(seed * 1_000_003 + step)
        loss, figures = loss_of({name: tensor.to(device) for name, tensor in batch.items()})
        _descend(optimizer, learners, loss, rate * _schedule(step, steps, warm_up))
        recent.append({"loss": loss.item(), **figures})
        if watch:
            watch(step + 1)
        if (step + 1) % save_every == 0 or step + 1 == steps:
            curve.append({"step": float(step + 1), **_means(recent)})
            recent = []
            _save(modules, optimizer, curve, checkpoint)
            bar.write(" ".join(f"{name} {value:.4g}" for name, value in curve[-1].items()))
    return curve


def _schedule(step: int, steps: int, warm_up: int) -> float:
    """Share of the peak learning rate: linear warm-up, then a cosine down to 1 %."""
    return min(1.0, (step + 1) / warm_up) * (0.505 + 0.495 * math.cos(math.pi * step / steps))


def _descend(
    optimizer: torch.optim.Optimizer, learners: list[nn.Parameter], loss: torch.Tensor, rate: float
) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(learners, 1.0)
    optimizer.step()


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of every figure over the rows that have it."""
    names = sorted({name for row in rows for name in row})
    return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}


def _save(
    modules: nn.Module, optimizer: torch.optim.Optimizer, curve: list[dict[str, float]], checkpoint: Path
) -> None:
    """Write, then rename: an interrupted write leaves the checkpoint before it."""
    state = {"modules": modules.state_dict(), "optimizer": optimizer.state_dict(), "curve": curve}
    with replacing(checkpoint) as part:
        torch.save(state, part)


def _resume(
    modules: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path
) -> tuple[int, list[dict[str, float]]]:
    """Loads a checkpoint where there is one; returns the next step and the curve so far."""
    if not checkpoint.exists():
        return 0, []
    state = torch.load(checkpoint, weights_only=True)
    modules.load_state_dict(state["modules"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["curve"][-1]["step"]), state["curve"]
