"""Estimates downloads, memory, disk and time of a run, without loading anything and without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from locheads.data import few
from locheads.data.hub import REPOSITORIES
from locheads.errors import LocheadsError
from locheads.model.shipped import SPECIMENS
from locheads.paper.published import (
    ALIASES,
    DATA_SOURCE,
    EXPRESSIONS,
    HUB_SEGMENTERS,
    SEGMENTER_SOURCE,
    SEGMENTERS,
)
from locheads.run import costs
from locheads.run.own_list import own_list, splits_of

GB = 1e9


def plan(
    notebooks: Mapping[str, Mapping[str, Any]],
    given: Mapping[str, Any],
    root: Path | str,
    rate: float | None = None,
) -> str:
    """Describes a run: what is present, what is missing and where to get it, memory and time.

    Args:
        notebooks: The notebooks that would run, each with its parameters and their defaults.
        given: Parameters of the command line and the preset.
        root: Folder of the notebooks, to which paths are relative.
        rate: Operations per second; None: measured where the device is here and is meant, else an A100's.

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
        "memory": _memory(values),
    }
    each = {
        name: {**taken, **{key: values[key] for key in taken if key in given}}
        for name, taken in notebooks.items()
    }
    lines |= _work(each, values, root, rate)
    width = max(map(len, lines))
    return "\n".join(f"{name.ljust(width)}  {text}" for name, text in lines.items())


def too_large(values: Mapping[str, Any]) -> str | None:
    """Returns why a run does not fit the device that is here, and which batch would; None if it fits.

    Nothing is loaded. None as well where model or device are not known.
    """
    known, there = costs.model_of(values), costs.here(str(values.get("device", "auto")))
    if known is None or there is None:
        return None
    needed, (device, most) = costs.memory(values, known), there
    if needed.total <= most:
        return None
    fitting = needed.fitting(most)
    remedy = (
        f"batch = {fitting} fits" if fitting else "not even a batch of 1 fits: take a larger device or dtype"
    )
    return f"about {needed.total / GB:.0f} GB are needed, {device} has {most / GB:.0f} GB; {remedy}"


def _model(values: Mapping[str, Any], root: Path) -> str:
    name, revision = str(values.get("model", "specimen")), values.get("revision")
    if name in SPECIMENS:
        return f"{name}, in the repository"
    if (root / name).is_dir():
        return f"{name}, a local folder"
    place = ALIASES.get(name.lower(), name)
    try:
        validate_repo_id(place)
    except HFValidationError as error:
        raise LocheadsError(f"model '{name}' is no folder, and no name on the hub: {error}") from None
    at = f"{place} at {revision or 'main, not pinned'}"
    if isinstance(try_to_load_from_cache(place, "config.json", revision=revision), str):
        return f"{at}, in the hub's cache"
    known = costs.model_of(values)
    size = f"{known.parameters * known.weight_bytes / GB:.1f} GB" if known else "unknown size"
    return f"{at}, not here: {size} from the hub at the first run"


def _segmenter(name: str, root: Path) -> str:
    if name == "none":
        return "none: boxes alone are scored"
    if name == "specimen":
        return "specimen, in the repository"
    path = root / name
    if path.exists():
        return f"{name}, found"
    if known := HUB_SEGMENTERS.get(name):
        if isinstance(try_to_load_from_cache(name, "config.json"), str):
            return f"{name}, in the hub's cache"
        return f"{name}, not here: {known.file_bytes / GB:.1f} GB from the hub at the first run"
    known = SEGMENTERS.get(path.name)
    if known is None:
        return f"{name}, not found locally; possibly a name on the hub"
    source = f"{known.file_bytes / GB:.1f} GB from {SEGMENTER_SOURCE}{path.name}"
    return f"{name}, missing: put {source} there"


def _data(name: str, root: Path) -> str:
    if name == "specimen":
        return "specimen, written at the first run (51 MB)"
    if name == few.NAME:
        here = (
            "found" if few.path_of_few().exists() else f"streamed at the first run (about {few.MEGABYTES} MB)"
        )
        return f"{name}, {here}: {few.SIZES['train']} expressions to find heads, {few.SIZES['val']} to ground"
    if name in REPOSITORIES:
        return f"{name}, on the hub"
    if not (root / name).exists():
        return f"{name}, missing: {DATA_SOURCE}"
    own = own_list(root / name)
    return f"{name}, found" if own is None else f"{name}, found: {own}"


def _memory(values: Mapping[str, Any]) -> str:
    known = costs.model_of(values)
    if known is None:
        return "unknown for this model"
    needed = costs.memory(values, known)
    text = (
        f"about {needed.total / GB:.0f} GB: model {needed.weights / GB:.1f}, segmenter at work "
        f"{needed.segmenter / GB:.1f}, a batch of {needed.batch} {needed.batch * needed.picture / GB:.1f}"
    )
    wrong = too_large(values)
    return f"{text}. TOO LARGE for what is here: {wrong}" if wrong else text


def _work(
    notebooks: Mapping[str, Mapping[str, Any]], values: Mapping[str, Any], root: Path, rate: float | None
) -> dict[str, str]:
    """Returns counts, disk and time, in all and by notebook."""
    done = costs.works(notebooks, _splits(str(values.get("data", "")), root))
    profiled, grounded, embedded = (sum(getattr(one, name) for one in done) for name in _COUNTED)
    told = (
        f"{profiled:,} expressions profiled, {grounded:,} other forward passes, {embedded:,} pictures for SAM"
    )
    known, sam = costs.model_of(values), costs.segmenter_of(values)
    if known is None:
        return {"work": told}
    dtype = str(values.get("dtype", "float32"))
    taken, how = _rate(values, dtype, rate)
    hours = [costs.seconds(one, known, sam, taken) / 3600 for one in done]
    lines = {"work": told, "disk": f"about {costs.disk(done, known, dtype, sam) / GB:.1f} GB in runs"}
    lines["time"] = f"about {_told(sum(hours))} at {taken / 1e12:.3g} TFLOP/s ({how})"
    return lines | {f"  {one.notebook}": _told(each) for one, each in zip(done, hours, strict=True)}


def _splits(name: str, root: Path) -> Mapping[tuple[str, str], int]:
    """Returns the expressions of each split that is evaluated: the paper's, or those of a list."""
    if name == few.NAME:
        return {("refcoco", "val"): few.SIZES["val"]}
    own = own_list(root / name) if (root / name).exists() else None
    if own is None:
        return EXPRESSIONS
    held = splits_of(root / name, {}).items()
    return {(dataset, split): own.counts[dataset, split] for dataset, names in held for split in names}


_COUNTED = ("profiled", "grounded", "embedded")


def _rate(values: Mapping[str, Any], dtype: str, given: float | None) -> tuple[float, str]:
    """Returns operations per second, and where they come from."""
    if given is not None:
        return given, "as given"
    device = str(values.get("device", "auto"))
    there = costs.here(device)
    if there and (device == "cpu" or there[0] != "the CPU"):
        return costs.measured_rate(device, dtype), f"measured on {there[0]}"
    return costs.RATE, "an A100's, assumed; give --rate for another device"


def _told(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"
