"""Reads rows and columns of a picture's grid where the processor reports them, as dynamic ones do.

Such a processor resizes a picture to its own shape, so that the number of tokens alone does not tell the
grid: 36 tokens are 6×6, 4×9 or 12×3 cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Grid = tuple[int, int]
"""Rows and columns."""


@dataclass(frozen=True)
class Report:
    """How a kind of processor reports the grid of each picture.

    Attributes:
        key: Where in the processed batch.
        cell: Function from the processor to the edge of a cell in pixels of the resized picture.
        read: Function from one picture's entry and the processor to rows and columns.
    """

    key: str
    cell: Callable[[Any], int]
    read: Callable[[torch.Tensor, Any], Grid]


def _merged(entry: torch.Tensor, processor: Any) -> Grid:
    _, rows, columns = entry.tolist()
    merge = processor.image_processor.merge_size
    return rows // merge, columns // merge


def _resized(entry: torch.Tensor, processor: Any) -> Grid:
    cell = _pixtral_cell(processor)
    height, width = entry.tolist()
    return height // cell, width // cell


def _unshuffled(entry: torch.Tensor, processor: Any) -> Grid:
    rows, columns = entry.tolist()
    factor = processor.image_processor.downsample_factor
    return rows // factor, columns // factor


def _pooled(entry: torch.Tensor, processor: Any) -> Grid:
    columns, rows = (entry.max(0).values + 1).tolist()  # x and y of each patch; −1 where padded
    kernel = processor.image_processor.pooling_kernel_size
    return rows // kernel, columns // kernel


def _unpadded(entry: torch.Tensor, processor: Any) -> Grid:
    down, across = entry[0, :, 0].sum(), entry[0, 0].sum()  # pixels that are not padding, of the one picture
    return int(down) // processor.patch_size, int(across) // processor.patch_size


def _pixtral_cell(processor: Any) -> int:
    patch = processor.patch_size
    return int(patch * processor.spatial_merge_size)


REPORTS = (
    Report("image_grid_thw", lambda p: p.image_processor.patch_size * p.image_processor.merge_size, _merged),
    Report(
        "spatial_shapes",
        lambda p: p.image_processor.encoder_patch_size * p.image_processor.downsample_factor,
        _unshuffled,
    ),
    Report(
        "image_position_ids",
        lambda p: p.image_processor.patch_size * p.image_processor.pooling_kernel_size,
        _pooled,
    ),
    Report("pixel_attention_mask", lambda p: p.patch_size, _unpadded),
    Report("image_sizes", _pixtral_cell, _resized),
)


def report_of(processor: Any) -> Report | None:
    """Returns how a processor reports its grids, or None if it does not."""
    names = {*processor.image_processor.model_input_names, *processor.model_input_names}
    found = next((report for report in REPORTS if report.key in names), None)
    # LLaVA-NeXT reports `image_sizes`, too, of the picture before it is cut into tiles.
    return None if found is REPORTS[-1] and not hasattr(processor, "spatial_merge_size") else found
