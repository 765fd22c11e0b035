"""Estimates downloads, memory and time of a run, without loading anything and without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from locheads.model.shipped import SPECIMENS
from locheads.paper.published import (
    DATA_SOURCE,
    EXPRESSIONS,
    MODELS,
    SEGMENTER_SOURCE,
    SEGMENTERS,
    TEXT_TOKENS,
    PublishedModel,
)
from locheads.run.own_list import own_list

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GB = 1e9
RATE = 1e14
"""Assumed operations per second: about a third of an A100's peak in half precision."""
SAM_OPERATIONS = 5.5e12
"""Operations of SAM ViT-H's image encoder for one image."""
EXPRESSIONS_AN_IMAGE = 3.0
"""Approximate expressions per image in the validation splits; SAM embeds each image once."""


def plan(notebooks: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], root: Path | str) -> str:
    """Describes a run: what is present, what is missing and where to get it, memory and time.

    Args:
        notebooks: The notebooks that would run, each with its parameters and their defaults.
        given: Parameters of the command line and the preset.
        root: Folder of the notebooks, to which paths are relative.

    Returns:
        Lines of text; estimates state their assumptions, and unknown quantities are named as such.
    """
    root = Path(root)
    defaults = {name: value for taken in notebooks.values() for name, value in taken.items()}
    values = {**defaults, **{name: value for name, value in given.items() if name in defaults}}
    lines = {
        "notebooks": ", ".join(notebooks),
        "changed": ", ".join(f"{k} = {values[k]}" for k in sorted(values) if values[k] != defaults[k]) or "-",
        "model": _model(values, root),
        "segmenter": _segmenter(str(values.get("segmenter", "specimen")), root),
        "data": _data(str(values.get("data", "specimen")), root),
        "GPU memory": _memory(values),
        "work": _work(values, root),
    }
    width = max(map(len, lines))
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in lines.items())


def _model(values: Mapping[str, Any], root: Path) -> str:
    name, revision = str(values.get("model", "specimen")), values.get("revision")
    if name in SPECIMENS:
        return f"{name}, in the repository"
    if (root / name).is_dir():
        return f"{name}, a local folder"
    at = f"{name} at {revision or 'main, not pinned'}"
    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return f"{at}, in the hub's cache"
    known = MODELS.get(name)
    size = f"{known.parameters * known.weight_bytes / GB:.1f} GB" if known else "unknown size"
    return f"{at}, not here: {size} from the hub at the first run"


def _segmenter(name: str, root: Path) -> str:
    if name == "specimen":
        return "specimen, in the repository"
    path = root / name
    if path.exists():
        return f"{name}, found"
    known = SEGMENTERS.get(path.name)
    if known is None:
        return f"{name}, not found locally; possibly a name on the hub"
    source = f"{known.file_bytes / GB:.1f} GB from {SEGMENTER_SOURCE}{path.name}"
    return f"{name}, missing: put {source} there"


def _data(name: str, root: Path) -> str:
    if name == "specimen":
        return "specimen, written at the first run (51 MB)"
    if not (root / name).exists():
        return f"{name}, missing: {DATA_SOURCE}"
    own = own_list(root / name)
    return f"{name}, found" if own is None else f"{name}, found: {own}"


def _memory(values: Mapping[str, Any]) -> str:
    """Estimates GPU memory: the weights, and a few copies of the widest layer's activations of one batch."""
    known = _known(values)
    if known is None:
        return "unknown for this model"
    weights = known.parameters * BYTES.get(str(values.get("dtype")), 4)
    segmenter = SEGMENTERS.get(Path(str(values.get("segmenter"))).name)
    sam = segmenter.parameters * 4 + 3 * GB if segmenter else 0.0
    batch = int(values.get("batch", 1)) * (known.tokens + TEXT_TOKENS) * 0.2e6
    return (
        f"about {(weights + sam + batch) / GB:.0f} GB: model {weights / GB:.1f}, "
        f"segmenter at work {sam / GB:.1f}, a batch {batch / GB:.1f}"
    )


def _work(values: Mapping[str, Any], root: Path) -> str:
    """Estimates the time of all forward passes, at two operations per parameter and token."""
    data = root / str(values.get("data", ""))
    own = own_list(data) if data.exists() else None
    counts = EXPRESSIONS.values() if own is None else [own.count]
    profiled, held_out = int(values.get("samples", 0)), int(values.get("held_out") or 0)
    grounded = sum(min(count, held_out or count) for count in counts)
    told = f"{profiled:,} expressions profiled, {grounded:,} grounded in all splits"
    known = _known(values)
    if known is None:
        return told
    operations = 2.0 * known.parameters * (known.tokens + TEXT_TOKENS) * (profiled + grounded)
    pictures = 0.0 if values.get("segmenter") == "specimen" else grounded / EXPRESSIONS_AN_IMAGE
    hours = (operations + SAM_OPERATIONS * pictures) / RATE / 3600
    return f"{told}: about {hours:.1f} h at {RATE / 1e12:.0f} TFLOP/s"


def _known(values: Mapping[str, Any]) -> PublishedModel | None:
    return MODELS.get(str(values.get("model")))
