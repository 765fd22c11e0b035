"""Chooses the torch device that a model runs on."""

from __future__ import annotations

import torch

from locheads.errors import LocheadsError, first_line
from locheads.model.shipped import SPECIMENS


def pick_device(device: str, name: str) -> str:
    """Returns the torch device to use.

    Args:
        device: A torch device, or `auto`: the GPU if there is one, but the CPU for the small specimens.
        name: Name of the model.

    Raises:
        LocheadsError: The device is not available.
    """
    if device == "auto":
        return "cuda" if name not in SPECIMENS and torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise LocheadsError(
            f"device '{device}' is not available ({reason}); give cpu, cuda or auto"
        ) from error
    return device
