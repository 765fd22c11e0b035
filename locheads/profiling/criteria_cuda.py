"""Criteria and overlap of every head, computed where the maps lie: on the card.

The numbers are those of `criteria.attention_sum`, `criteria.spatial_entropy` and `grounding.iou_per_head`
with their defaults, in double precision, up to the order of sums. Maps of a CUDA device stay there, and three
numbers a map leave it. All maps are treated at once, some samples at a time, which bounds the memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch.nn.functional import max_pool2d

from locheads.method.criteria import ROUNDING
from locheads.method.grounding import smooth, target_cells

CELLS = 2**21
"""Cells that are judged at a time, at least one sample: about 250 MB beside the maps."""


def stay(maps: Sequence[torch.Tensor]) -> bool:
    """Whether the maps are judged where they lie, and not in main memory."""
    return all(one.is_cuda for one in maps)


def judge(
    maps: Sequence[Float[torch.Tensor, "layer head row column"]],
    coverage: Float[np.ndarray, "sample row column"],
) -> dict[str, Float[np.ndarray, "sample layer head"]]:
    """Attention sum, spatial entropy and IoU of all heads.

    Args:
        maps: One tensor a sample, all of one shape and on one device, at least one.
        coverage: The share of each cell that the object covers, as for `grounding.iou_per_head`.

    Returns:
        `attention_sum`, `spatial_entropy` and `iou`, in main memory.
    """
    targets = torch.from_numpy(target_cells(coverage)).to(maps[0].device)
    step = max(1, CELLS // maps[0].numel())
    found = []
    for start in range(0, len(maps), step):
        some = torch.stack(list(maps[start : start + step])).double()
        target = targets[start : start + step, None, None]
        found.append(torch.stack([some.sum((-2, -1)), spatial_entropy(some), iou_per_head(some, target)]))
    numbers = torch.cat(found, dim=1).cpu().numpy()
    return dict(zip(("attention_sum", "spatial_entropy", "iou"), numbers, strict=True))


def spatial_entropy(maps: Float[torch.Tensor, "*batch row column"]) -> Float[torch.Tensor, "*batch"]:
    """As `criteria.spatial_entropy`: in nats, `+inf` where no cell is above the mean."""
    above = _above_mean(maps).flatten(0, -3)
    areas = above.new_zeros(above.flatten(1).shape, dtype=torch.float64)
    areas.scatter_add_(1, label_components(above), above.flatten(1).double())
    total = areas.sum(-1)
    entropy = torch.special.entr(areas / total[:, None]).sum(-1)
    return entropy.where(total > 0, torch.inf).reshape(maps.shape[:-2])


def label_components(binary: Bool[torch.Tensor, "map row column"]) -> Int[torch.Tensor, "map cells"]:
    """Gives every cell the number of the last cell of its 8-connected component; others keep their own.

    Until nothing changes, the highest number around the cells that share one goes to the cell of that number,
    and each cell takes what the cell of its own number has: about five times on a grid of 24 × 24.
    """
    own = torch.arange(binary[0].numel(), device=binary.device).expand(len(binary), -1)
    labels = own
    while True:
        inside = labels.reshape(binary.shape).where(binary, 0).float()  # exact below 2**24 cells
        near = max_pool2d(inside[:, None], kernel_size=3, stride=1, padding=1).long().flatten(1)
        higher = labels.scatter_reduce(1, labels, near.where(binary.flatten(1), own), "amax")
        for _ in range(2):
            higher = higher.gather(1, higher)
        if torch.equal(higher, labels):
            return labels
        labels = higher


def iou_per_head(
    maps: Float[torch.Tensor, "*batch row column"], target: Bool[torch.Tensor, "*#batch row column"]
) -> Float[torch.Tensor, "*batch"]:
    """As `grounding.iou_per_head`, with the object's cells; 0 where both masks are empty."""
    # Blurring is linear: each column of these matrices is what becomes of one cell.
    down, across = (torch.from_numpy(smooth(np.eye(side)[..., None])[..., 0].T) for side in maps.shape[-2:])
    predicted = _above_mean(down.to(maps.device) @ maps @ across.T.to(maps.device))
    common, union = (cells.sum((-2, -1)) for cells in (predicted & target, predicted | target))
    return common.double() / union.clamp(min=1)


def _above_mean(maps: Float[torch.Tensor, "*batch row column"]) -> Bool[torch.Tensor, "*batch row column"]:
    """As `criteria.binarise`."""
    return maps > maps.mean((-2, -1), keepdim=True) * (1 + ROUNDING)
