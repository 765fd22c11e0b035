"""Checks a checkpoint before and after it is loaded: its files, its weights, and the code that it needs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import CONFIG_MAPPING
from transformers.utils import cached_file, logging

from locheads.errors import LocheadsError

ADAPTER = "adapter_config.json"
LFS = b"version https://git-lfs"
_DERIVED = re.compile(r"(^|\.)(position_ids|inv_freq|masked_bias)$")
"""Buffers that old checkpoints store although the model computes them."""

TWINS = (
    (r"OpenGVLab/(InternVL3-(?!.*-hf$).+)", r"OpenGVLab/\1-hf"),
    (r"OpenGVLab/(InternVL3_5-(?!.*-HF$).+)", r"OpenGVLab/\1-HF"),
    (r"deepseek-ai/(deepseek-vl-.+)", r"deepseek-community/\1"),
    (r"AIDC-AI/(Ovis2-(?!.*-hf$).+)", r"thisisiron/\1-hf"),
    (r"stepfun-ai/GOT-OCR2_0", r"stepfun-ai/GOT-OCR-2.0-hf"),
)
"""Hub names whose repository needs its own code → the same model in the layout of transformers."""


def check_code(name: str, place: str, config: Mapping[str, Any] | None = None) -> None:
    """Checks that a model runs on the code of transformers; code out of a repository is never run.

    Args:
        name: Name of the model, for messages.
        place: Its folder or hub name.
        config: Its `config.json`, if it has been read.

    Raises:
        LocheadsError: The model needs code out of its own repository.
    """
    matches = ((re.fullmatch(old, place), new) for old, new in TWINS)
    twin = next((found.expand(new) for found, new in matches if found and not Path(place).exists()), None)
    foreign = config is not None and "auto_map" in config and config.get("model_type") not in CONFIG_MAPPING
    if twin or foreign:
        kind = f" ({config.get('model_type')})" if config else ""
        remedy = f"take '{twin}'" if twin else "take its twin in transformers' layout, often named '…-hf'"
        raise LocheadsError(
            f"model '{name}'{kind} needs code out of its own repository, which is never run; {remedy}"
        )


def check_merged(name: str, place: str, where: Mapping[str, Any]) -> None:
    """Checks that a folder or repository holds whole weights, and not an adapter (LoRA) for others.

    Raises:
        LocheadsError: There is an `adapter_config.json`.
    """
    found = cached_file(
        place,
        ADAPTER,
        **where,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    if found is None:
        return
    try:
        base = json.loads(Path(found).read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError):
        base = None
    raise LocheadsError(
        f"model '{name}': {ADAPTER} says that it is an adapter (LoRA) of '{base or 'another model'}'; "
        "merge the two, save the result without this file, and give its folder"
    )


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps transformers' own table of unused weights off the screen; `check_weights` says it in one line."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def check_weights(name: str, report: Mapping[str, Any]) -> None:
    """Checks a loading report of transformers: every weight was found, and every one found is used.

    Args:
        name: Name of the model, for messages.
        report: From `from_pretrained(…, output_loading_info=True)`.

    Raises:
        LocheadsError: Weights are missing, of another shape, or not used.
    """
    lacking = _names(report.get("missing_keys", ())) + _names(report.get("mismatched_keys", ()))
    if lacking:
        raise LocheadsError(
            f"model '{name}': {len(lacking)} weights are missing or misshapen, the first is {lacking[0]}; "
            "complete the checkpoint"
        )
    unused = [key for key in _names(report.get("unexpected_keys", ())) if not _DERIVED.search(key)]
    if unused:
        adapter = next((key for key in unused if "lora_" in key or "modules_to_save" in key), None)
        remedy = "merge the adapter first" if adapter else "its config.json belongs to another checkpoint"
        raise LocheadsError(
            f"model '{name}': {len(unused)} weights of the checkpoint have no place in the model, "
            f"the first is {adapter or unused[0]}; {remedy}"
        )


def damage(place: str | Path) -> str | None:
    """Returns which file of a folder cannot be read, and why; None if all can be or it is not a folder."""
    folder = Path(place)
    if not folder.is_dir():
        return None
    kinds = ("*.safetensors", "*.bin", "*.json", "*.model")
    files = (path for kind in kinds for path in sorted(folder.glob(kind)))
    return next((f"{path}: {why}" for path in files if (why := reason(path))), None)


def reason(path: Path) -> str | None:
    """Returns why a file of weights or settings cannot be read, or None if it can be."""
    if not path.stat().st_size:
        return "the file is empty; fetch it again"
    with path.open("rb") as file:
        if file.read(len(LFS)) == LFS:
            return "a pointer of Git LFS instead of the file; run `git lfs pull` in its folder"
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):
                pass
        elif path.suffix in (".bin", ".pth", ".pt"):
            torch.load(path, map_location="meta", weights_only=True)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except Exception:  # torch raises many types for bytes that are no checkpoint
        kind = {".safetensors": "safetensors", ".json": "JSON in UTF-8"}.get(path.suffix, "torch")
        return f"cut off, or not in the format of {kind}; fetch it again"
    return None


def _names(keys: Iterable[Any]) -> list[str]:
    return sorted(str(key[0] if isinstance(key, tuple) else key) for key in keys)
