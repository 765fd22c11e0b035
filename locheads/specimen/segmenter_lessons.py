"""Draws the scenes and prompts that the specimen's segmenter learns from, and computes its loss.

Prompts and loss follow the recipe of Segment Anything (Kirillov et al., ICCV 2023, appendix A): a
box with a little noise, or a point; then a second round with the first round's mask as a prompt,
and often a point where that mask was wrong. Two things are added because localization heads give
rough prompts: half of the boxes are loose, and some mask prompts are as coarse as a patch grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch.nn import functional as F

# isort: split
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide

from locheads.data.scenes.scenes import SIDE, Scene, draw_scene

BOXED = 0.8
"""Share of the first prompts that are a box; the others are a point."""
PROMPTS = 3
"""Objects prompted for in a scene: so many, or all where there are fewer."""


@dataclass(frozen=True)
class Batch:
    """Scenes and one prompt for each of several of their objects; boxed prompts come first.

    Coordinates are pixels of the model's input, as `SamPredictor` hands them on.

    Attributes:
        images: `scenes × 3 × side × side`, 0 to 255.
        masks: Boolean `prompts × side × side`: what each prompt asks for.
        scene: Index of the scene of each prompt.
        boxes: `boxed × 4`, xyxy.
        points: `(prompts − boxed) × 1 × 2`, xy: a pixel of the object.
    """

    images: torch.Tensor
    masks: torch.Tensor
    scene: torch.Tensor
    boxes: torch.Tensor
    points: torch.Tensor


def jittered_box(box: np.ndarray, rng: np.random.Generator, limit: float) -> np.ndarray:
    """Adds SAM's noise to each coordinate: normal, a tenth of the box's side, at most `limit` pixels."""
    sides = np.tile(box[2:] - box[:2], 2)
    return box + np.clip(rng.normal(0, 0.1, 4) * sides, -limit, limit)


def loose_box(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws a box 0.85 to 1.35 times as wide and as high, its centre up to 15 % of a side away."""
    center, sides = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    center = center + rng.uniform(-0.15, 0.15, 2) * sides
    half = sides * rng.uniform(0.85, 1.35, 2) / 2
    return np.concatenate([center - half, center + half])


def shrink_masks(masks: np.ndarray, side: int) -> np.ndarray:
    """`n × SIDE × SIDE` masks on a coarser grid: a pixel is set where at least half of it is."""
    step = SIDE // side
    return masks.reshape(len(masks), side, step, side, step).mean((2, 4)) >= 0.5


def draw_batch(side: int, seeds: list[list[int]], most: int = 5) -> Batch:
    """Draws one scene per seed, with its prompts; a seed decides everything about its scene."""
    images: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    prompts: list[np.ndarray] = []
    scene: list[int] = []
    for i, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        drawn = draw_scene(rng, most)
        images.append(ResizeLongestSide(side).apply_image(drawn.image))
        chosen = rng.permutation(len(drawn.masks))[:PROMPTS]
        masks.extend(shrink_masks(drawn.masks[chosen], side))
        prompts.extend(_prompt(drawn, thing, side, rng) for thing in chosen.tolist())
        scene.extend([i] * len(chosen))
    order = np.argsort([len(prompt) != 4 for prompt in prompts], kind="stable")
    boxes = [prompts[i] for i in order if len(prompts[i]) == 4]
    points = [prompts[i] for i in order if len(prompts[i]) == 2]
    return Batch(
        torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float(),
        torch.from_numpy(np.stack(masks)[order]),
        torch.from_numpy(np.array(scene)[order]),
        torch.from_numpy(np.array(boxes, np.float32).reshape(-1, 4)),
        torch.from_numpy(np.array(points, np.float32).reshape(-1, 1, 2)),
    )


def _prompt(scene: Scene, thing: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """Draws a prompt for one object: a box (four numbers) or a point (two)."""
    if rng.random() >= BOXED:
        row, column = rng.choice(np.argwhere(scene.masks[thing]))
        return np.array([column, row]) * (side / SIDE)
    box = scene.boxes[thing] * (side / SIDE)
    loose = rng.random() < 0.5
    box = loose_box(box, rng) if loose else jittered_box(box, rng, limit=20 * side / 1024)
    return np.clip(box, 0, side)


def predict(
    sam: Sam,
    batch: Batch,
    features: torch.Tensor,
    mask_input: torch.Tensor | None = None,
    correction: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Computes all four masks of every prompt, in one pass over several images.

    The decoder takes one image and many prompts, and adds the image embedding to the dense prompt
    embedding; an embedding of zeros and a dense embedding that holds the right image's says the
    same for many images.

    Args:
        sam: The model.
        batch: Scenes and prompts.
        features: `scenes × channels × rows × columns`, from the image encoder.
        mask_input: Low-resolution logits of each prompt, `prompts × 1 × 4 rows × 4 columns`.
        correction: One more point of each prompt, `prompts × 1 × 2`, and its label, `prompts × 1`.

    Returns:
        Low-resolution logits `prompts × 4 × 4 rows × 4 columns` and predicted IoUs `prompts × 4`.
    """
    boxed = len(batch.boxes)
    masks = (None, None) if mask_input is None else (mask_input[:boxed], mask_input[boxed:])
    points, labels = batch.points, torch.ones(batch.points.shape[:2], device=batch.points.device)
    extra = None
    if correction is not None:
        extra = (correction[0][:boxed], correction[1][:boxed])
        points = torch.cat([points, correction[0][boxed:]], 1)
        labels = torch.cat([labels, correction[1][boxed:]], 1)
    from_boxes = sam.prompt_encoder(points=extra, boxes=batch.boxes, masks=masks[0])
    from_points = sam.prompt_encoder(points=(points, labels), boxes=None, masks=masks[1])
    sparse, dense = (torch.cat(pair) for pair in zip(from_boxes, from_points, strict=True))
    logits, ious = sam.mask_decoder.predict_masks(
        image_embeddings=torch.zeros_like(features[:1]),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense + features[batch.scene],
    )
    return logits, ious


def mask_losses(
    logits: Float[torch.Tensor, "n m rows columns"], masks: torch.Tensor
) -> tuple[Float[torch.Tensor, "n m"], Float[torch.Tensor, "n m"]]:
    """Computes SAM's loss of each mask (20 × focal + dice) and the IoU it reaches with the wanted mask.

    Args:
        logits: Low-resolution logits.
        masks: Boolean `n × side × side` wanted masks; the logits are enlarged to their size.
    """
    logits = F.interpolate(logits, masks.shape[-2:], mode="bilinear", align_corners=False)
    wanted = masks[:, None].expand_as(logits).float()
    # Focal loss: cross-entropy weighted by class and by the squared error of the probability, [n m].
    likely = logits.sigmoid()
    missed = likely + wanted - 2 * likely * wanted
    weight = 0.75 - 0.5 * wanted
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    focal = (weight * missed**2 * entropy).mean((2, 3))
    # Dice loss, smoothed by 1.
    dice = 1 - (2 * (likely * wanted).sum((2, 3)) + 1) / ((likely + wanted).sum((2, 3)) + 1)
    # IoU of the binarised mask with the wanted one.
    seen = logits.detach() > 0
    both, either = (seen & masks[:, None]).sum((2, 3)), (seen | masks[:, None]).sum((2, 3))
    return 20 * focal + dice, both / either


def corrections(logits: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Draws a wrong pixel of each mask, with label 1 where the object was missed and 0 elsewhere.

    A mask without a wrong pixel gets any pixel, with its true label.

    Args:
        logits: Low-resolution logits `n × 1 × rows × columns`.
        masks: Boolean `n × side × side` wanted masks.
    """
    seen = F.interpolate(logits, masks.shape[-2:], mode="bilinear", align_corners=False)[:, 0] > 0
    wrong = (seen != masks).flatten(1).float() + 1e-6
    pixel = torch.multinomial(wrong, 1)
    points = torch.stack([pixel % masks.shape[-1], pixel // masks.shape[-1]], -1).float()
    return points, masks.flatten(1).gather(1, pixel).float()


def coarse_logits(masks: torch.Tensor, cells: int, side: int) -> torch.Tensor:
    """A mask as a `cells × cells` map knows it, as low-resolution logits `n × 1 × side × side`."""
    covered = F.adaptive_avg_pool2d(masks[:, None].float(), cells)
    return F.interpolate(16 * (covered - 0.5), (side, side))


def loss_of_batch(sam: Sam, batch: Batch, step: int) -> tuple[torch.Tensor, dict[str, float]]:
    """Computes the loss of two rounds of prompts, as SAM is trained, and figures to log.

    The first round is judged by the single-mask output and by the best of the three others; the
    second, with a mask prompt, by the single-mask output. Every second step adds a correcting
    point; every fourth takes its mask prompt from the wanted mask, coarsely.
    """
    features = sam.image_encoder(sam.preprocess(batch.images))
    logits, guesses = predict(sam, batch, features)
    losses, ious = mask_losses(logits, batch.masks)
    loss = losses[:, 0].mean() + losses[:, 1:].amin(1).mean() + F.mse_loss(guesses, ious)

    before = logits[:, :1].detach()
    if step % 4 == 3:
        rows, side = features.shape[-1], before.shape[-1]
        before = coarse_logits(batch.masks, rows, side)
    correction = corrections(before, batch.masks) if step % 2 == 0 else None
    logits, guesses = predict(sam, batch, features, before, correction)
    again, ious_again = mask_losses(logits[:, :1], batch.masks)
    loss = loss + again.mean() + F.mse_loss(guesses[:, :1], ious_again)
    boxed = len(batch.boxes)
    figures = {
        "iou_box": ious[:boxed, 0].mean().item(),
        "iou_best": ious[:, 1:].amax(1).mean().item(),
        "iou_again": ious_again.mean().item(),
    }
    return loss, figures
