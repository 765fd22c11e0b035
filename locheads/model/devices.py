"""Chooses the torch device that a model runs on."""

from __future__ import annotations

import ctypes
import sys

import torch

from locheads.errors import LocheadsError, first_line
from locheads.model.shipped import SPECIMENS

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Names of glibc's `mallopt` (malloc.h)."""
KEPT, KEPT_AT_ONCE = 2**30, 2**25
"""Bytes of freed memory that a process keeps; blocks above the second size are given back one by one."""


def pick_device(device: str, name: str) -> str:
    """Returns the torch device to use; on the CPU freed memory is kept, see `keep_freed_memory`.

    Args:
        device: A torch device, or `auto`: the GPU if there is one, but the CPU for the small specimens.
        name: Name of the model.

    Raises:
        LocheadsError: The device is not available.
    """
    if device == "auto":
        device = "cuda" if name not in SPECIMENS and torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise LocheadsError(
            f"device '{device}' is not available ({reason}); give cpu, cuda or auto"
        ) from error
    if device == "cpu":
        keep_freed_memory()
    return device


def keep_freed_memory() -> None:
    """Lets glibc keep up to `KEPT` bytes of freed memory, for this process; elsewhere nothing happens.

    A forward pass on the CPU frees its activations layer by layer. By default their pages go back to the
    system and are cleared again for the next layer, which costs a quarter of the specimen's capture.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if set_option is not None:
        set_option(_MMAP_THRESHOLD, KEPT_AT_ONCE)
        set_option(_TRIM_THRESHOLD, KEPT)
