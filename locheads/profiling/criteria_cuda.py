"""Computes the criteria and the IoU of every head on the GPU, where the maps are.

The numbers are those of `criteria.attention_sum`, `criteria.spatial_entropy` and `head_iou.iou_per_head`
with their defaults (the IoU also of raw maps), in double precision, up to the order of sums. Maps stay on
the CUDA device, and only three numbers per map leave it. Samples are processed in blocks, which bounds the
memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch.nn.functional import max_pool2d

from locheads.method.criteria import ROUNDING
from locheads.method.grounding import smooth
from locheads.method.head_iou import target_cells

SIGMA: Mapping[Literal["raw", "smoothed"], float] = {"raw": 0.0, "smoothed": 1.0}
"""The Gaussian's standard deviation in cells before a map is binarised for its IoU."""

CELLS = 2**21
"""Cells processed at once (at least one sample): about 250 MB beside the maps."""


def stay(maps: Sequence[torch.Tensor]) -> bool:
    """Returns whether all maps are on a CUDA device, so that `judge` can run there."""
    return all(one.is_cuda for one in maps)


def judge(
    maps: Sequence[Float[torch.Tensor, "layer head row column"]],
    coverage: Float[np.ndarray, "sample row column"],
    iou_of: Literal["raw", "smoothed"] = "raw",
) -> dict[str, Float[np.ndarray, "sample layer head"]]:
    """Computes attention sum, spatial entropy and IoU of all heads.

    Args:
        maps: One tensor per sample, at least one, all of the same shape and on the same device.
        coverage: Share of each cell that the object covers, in [0, 1], as for `head_iou.iou_per_head`.
        iou_of: Map of which the IoU is taken.

    Returns:
        `attention_sum`, `spatial_entropy` and `iou`, in main memory.
    """
    targets = torch.from_numpy(target_cells(coverage)).to(maps[0].device)
    step = max(1, CELLS // maps[0].numel())
    found = []
    for start in range(0, len(maps), step):
        some = torch.stack(list(maps[start : start + step])).double()
        target = targets[start : start + step, None, None]
        iou = iou_per_head(some, target, SIGMA[iou_of])
        found.append(torch.stack([some.sum((-2, -1)), spatial_entropy(some), iou]))
    numbers = torch.cat(found, dim=1).cpu().numpy()
    return dict(zip(("attention_sum", "spatial_entropy", "iou"), numbers, strict=True))


def spatial_entropy(maps: Float[torch.Tensor, "*batch row column"]) -> Float[torch.Tensor, "*batch"]:
    """Computes spatial entropy as `criteria.spatial_entropy`: nats, `+inf` if no cell is above the mean."""
    above = _above_mean(maps).flatten(0, -3)
    # Area of each component, summed at the cell whose number labels it: map × cells.
    areas = above.new_zeros(above.flatten(1).shape, dtype=torch.float64)
    areas.scatter_add_(1, label_components(above), above.flatten(1).double())
    # Entropy of the components' shares of the area, -Σ p log p: one value per map.
    total = areas.sum(-1)
    entropy = torch.special.entr(areas / total[:, None]).sum(-1)
    return entropy.where(total > 0, torch.inf).reshape(maps.shape[:-2])


def label_components(binary: Bool[torch.Tensor, "map row column"]) -> Int[torch.Tensor, "map cells"]:
    """Labels 8-connected components: each cell gets the highest cell number in its component.

    Cells outside components keep their own number. Label propagation with pointer jumping: in each round, the
    highest label next to a component's cells is written to the cell that the label points at (hooking), then
    labels follow their pointers twice (jumping). A grid of 24 × 24 takes about five rounds.
    """
    own = torch.arange(binary[0].numel(), device=binary.device).expand(len(binary), -1)
    labels = own
    while True:
        inside = labels.reshape(binary.shape).where(binary, 0).float()  # float is exact below 2**24 cells
        near = max_pool2d(inside[:, None], kernel_size=3, stride=1, padding=1).long().flatten(1)
        # highest label in each cell's 3 × 3 neighbourhood, collected at the cell that labels the component
        higher = labels.scatter_reduce(1, labels, near.where(binary.flatten(1), own), "amax")
        for _ in range(2):
            higher = higher.gather(1, higher)
        if torch.equal(higher, labels):
            return labels
        labels = higher


def iou_per_head(
    maps: Float[torch.Tensor, "*batch row column"],
    target: Bool[torch.Tensor, "*#batch row column"],
    sigma: float,
) -> Float[torch.Tensor, "*batch"]:
    """Computes IoUs as `head_iou.iou_per_head`, from the object's cells; 0 where both masks are empty."""
    if sigma:
        # Blurring is linear and separable: column j of these matrices is the blurred unit impulse at cell j.
        impulses = (np.eye(side)[..., None] for side in maps.shape[-2:])
        down, across = (torch.from_numpy(smooth(one, sigma=sigma)[..., 0].T) for one in impulses)
        maps = down.to(maps.device) @ maps @ across.T.to(maps.device)
    predicted = _above_mean(maps)
    common, union = (cells.sum((-2, -1)) for cells in (predicted & target, predicted | target))
    return common.double() / union.clamp(min=1)


def _above_mean(maps: Float[torch.Tensor, "*batch row column"]) -> Bool[torch.Tensor, "*batch row column"]:
    """Binarises maps at their mean, as `criteria.binarise`."""
    return maps > maps.mean((-2, -1), keepdim=True) * (1 + ROUNDING)
