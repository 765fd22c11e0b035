"""Reads the weights of a folder: safetensors or torch's format, whole or in shards."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from locheads.errors import LocheadsError, first_line
from locheads.model.checkpoint import reason

Weights = dict[str, torch.Tensor]
"""Key of the checkpoint → tensor; the tensors of a file are mapped, and read when they are used."""

_DERIVED = ("rotary_emb.inv_freq", "position_ids")
"""Ends of the keys of buffers that old checkpoints store although the model computes them."""


def shards(folder: Path) -> list[Path]:
    """Returns the files of weights of a folder.

    Raises:
        LocheadsError: There is none.
    """
    kinds = ("*.safetensors", "pytorch_model*.bin", "open_clip_pytorch_model.bin")
    files = next((found for kind in kinds if (found := sorted(folder.glob(kind)))), [])
    if not files:
        raise LocheadsError(f"{folder}: neither *.safetensors nor pytorch_model*.bin; fetch the weights")
    return files


def read_shard(file: Path) -> Weights:
    """Reads one file of weights, without buffers that the model computes.

    Raises:
        LocheadsError: The file is damaged or not one of weights.
    """
    try:
        if file.suffix == ".safetensors":
            weights = load_file(file)
        else:  # files of torch before 1.6 are no zip archives and cannot be mapped
            mapped = zipfile.is_zipfile(file)
            weights = torch.load(file, map_location="cpu", mmap=mapped, weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, SafetensorError, pickle.UnpicklingError) as error:
        raise LocheadsError(f"{file}: {reason(file) or first_line(error)}") from error
    return {key: tensor for key, tensor in weights.items() if not key.endswith(_DERIVED)}


def read(folder: Path) -> Weights:
    """Reads all weights of a folder; raises as `shards` and `read_shard`."""
    return {key: tensor for file in shards(folder) for key, tensor in read_shard(file).items()}
