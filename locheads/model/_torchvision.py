"""Imports torchvision beside a CPU build of torch.

torchvision's wheels from PyPI are built for CUDA; with a CPU build of torch their compiled
operators do not load, and the import stops where two of them are given a Python side. Declaring
the two lets the import pass; nothing here calls them. Import this module before `transformers`
or `segment_anything`.
"""

from __future__ import annotations

import sys

import torch

_OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)

try:
    import torchvision
except RuntimeError:
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    declared = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
        declared.define(operator)
    import torchvision  # noqa: F401
