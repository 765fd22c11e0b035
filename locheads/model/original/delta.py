"""Merges a checkpoint that was published as a difference to another one's weights: LLaVA-7B and 13B.

LLaMA's licence did not allow to publish its weights; LLaVA (v0 and v1.1) holds `weights − LLaMA's weights`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from locheads.errors import LocheadsError
from locheads.model.original.weights import Weights, read, read_shard, shards

_NEW = ("model.mm_projector.", "model.vision_tower.")
"""Starts of the keys that the base does not have: their weights are whole in the difference."""
_GROWN = ("model.embed_tokens.weight", "lm_head.weight")
"""Keys whose rows are words: a vocabulary that has grown has rows that the base lacks."""
_INDEX = "model.safetensors.index.json"


def merge(base: Path | str, delta: Path | str, out: Path | str) -> int:
    """Adds a base's weights to a difference, one file of weights after the other.

    The sum is computed in the difference's type, as LLaVA's own script does. Settings and tokenizer are the
    difference's.

    Args:
        base: Folder of the base in transformers' layout, e.g. LLaMA-7B.
        delta: Folder of the difference, e.g. liuhaotian/LLaVA-7b-delta-v1-1.
        out: Folder to write, which must not exist.

    Returns:
        How many weights were written.

    Raises:
        LocheadsError: `out` is there, a folder or its weights are missing, or keys or shapes of the two do
            not belong together.
    """
    base, delta, out = Path(base), Path(delta), Path(out)
    if os.path.lexists(out):
        raise LocheadsError(f"{out}: already exists and is not overwritten; give another folder")
    for folder in (base, delta):
        if not (folder / "config.json").is_file():
            raise LocheadsError(f"{folder}: no config.json; give the folder of a model")
    files = shards(delta)
    before = read(base)
    _check(base, before, delta, files)
    partial = out.with_name(f".{out.name}.partial.{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        places = _write(before, files, partial)
        for file in delta.iterdir():
            if file.is_file() and file not in files and not file.name.endswith(".index.json"):
                shutil.copy2(file, partial)
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return len(places)


def _check(base: Path, before: Weights, delta: Path, files: list[Path]) -> None:
    """Checks keys and shapes of all weights before any is added."""
    shapes = {key: tensor.shape for file in files for key, tensor in read_shard(file).items()}
    lost = sorted(set(before) - set(shapes))
    if lost:
        raise LocheadsError(
            f"{delta}: {len(lost)} weights of {base} have no counterpart, the first is {lost[0]}; "
            "the two do not belong together, or a file of weights is missing"
        )
    for key, shape in shapes.items():
        if key in before:
            _check_shape(key, before[key].shape, shape, f"{base} and {delta}")
        elif not key.startswith(_NEW):
            raise LocheadsError(
                f"{base}: {key} is missing; {delta} was made from another base, give that one"
            )


def _check_shape(key: str, old: torch.Size, new: torch.Size, folders: str) -> None:
    grown = key in _GROWN and len(old) == 2 and old[0] <= new[0] and old[1:] == new[1:]
    if old != new and not grown:
        sizes = " and ".join("×".join(map(str, one)) for one in (old, new))
        raise LocheadsError(
            f"{key} has {sizes} values in {folders}; give the base that the second was made from"
        )


def _write(before: Weights, files: list[Path], folder: Path) -> Mapping[str, str]:
    """Writes the merged shards and their index; returns key → file."""
    places: dict[str, str] = {}
    total = 0
    for number, file in enumerate(files, 1):
        name = f"model-{number:05}-of-{len(files):05}.safetensors"
        merged = {key: _sum(before.get(key), change) for key, change in read_shard(file).items()}
        save_file(merged, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(merged, name)
        total += sum(one.nbytes for one in merged.values())
    index: dict[str, Any] = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / _INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    return places


def _sum(before: torch.Tensor | None, change: torch.Tensor) -> torch.Tensor:
    merged = change.clone().contiguous()
    if before is not None:
        merged[: len(before)] += before.to(change.dtype)
    return merged
