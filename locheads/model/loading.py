"""Loads a model for capture: the specimen, the paper's models by name, any folder or hub name."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.utils.logging import disable_progress_bar

from locheads.errors import LocheadsError, LocheadsWarning, first_line
from locheads.model.attention_layer import ATTENTION
from locheads.model.checkpoint import check_code, check_merged, check_weights, damage, quiet
from locheads.model.devices import pick_device
from locheads.model.families import Family, crops, family_of
from locheads.model.grids import report_of
from locheads.model.lvlm import Encoded, Fit, Lvlm
from locheads.model.original import layout as original
from locheads.model.original.decoders import without_inner_space
from locheads.model.prompts import Query, marked_image, resolve_prompt
from locheads.model.shipped import SPECIMENS, verify
from locheads.paper.published import ALIASES, NOT_LOADABLE

__all__ = ["ALIASES", "NOT_LOADABLE", "Encoded", "Lvlm", "load_lvlm", "varied"]

_UNREADABLE = (
    OSError,
    ValueError,
    ImportError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    EOFError,
    SafetensorError,
    pickle.UnpicklingError,
)
"""What transformers, safetensors and torch raise for files that are not those of a model."""

CELLS = 24
"""Edge, in cells, of the grid requested from a dynamic processor: that of LLaVA-1.5."""


def load_lvlm(
    name: str | Path = "specimen",
    device: str = "auto",
    dtype: str = "float32",
    *,
    prompt: str | None = None,
    query: str = "period",
    fit: str | None = None,
    image_size: int | None = None,
    revision: str | None = None,
    device_map: str | Mapping[str, Any] | None = None,
    attn_implementation: str | None = None,
    local_files_only: bool = False,
) -> Lvlm:
    """Loads a model whose decoder runs on the capturing attention of `locheads.model.attention`.

    Args:
        name: `specimen`, `specimen-narrow` or `specimen-third`; one of `ALIASES`; a folder in transformers'
            layout or LLaVA's own; a hub name.
        device: A torch device; `auto` is the GPU if there is one, and the CPU for a specimen.
        dtype: A torch floating type, or `auto` for the checkpoint's.
        prompt: `release` (the default), `specimen` (the specimens'), `plain`, `chat`, or a text with
            `{image}` and `{expression}`; see `locheads.model.prompts`.
        query: As `locheads.model.prompts.Query` describes: `period` (the paper's), `word` or `last`.
        fit: `own` leaves the picture to the processor, `pad` centres it on a square of the processor's mean
            colour, `stretch` resizes it to a square, `crop` takes its central square. Default: `pad` where
            the processor would crop (LLaVA, as its authors evaluate) or where the grid would depend on the
            picture (Qwen-VL), else `own`.
        image_size: Edge in pixels of the square that a dynamic processor gets with `pad` or `stretch`; the
            default gives 24×24 cells. Other processors have a size of their own.
        revision: Branch, tag or commit of a hub name.
        device_map: Spread the model over devices, as in transformers (needs accelerate).
        attn_implementation: Attention of the rest of the model, for example `flash_attention_2`.
        local_files_only: Do not ask the hub.

    Raises:
        LocheadsError: There is no such model, weights are missing, its tokens form no grid, the processor is
            another model's, an argument does not fit, or the specimen's weights are not those of its card.
    """
    name = str(name)
    _check(query, get_args(Query), "query")
    _check(fit or "own", get_args(Fit), "fit")
    where = {"revision": revision, "local_files_only": local_files_only}
    # The weights of a resampler are captured from eager attention.
    attention = {"text_config": ATTENTION, "qformer_config": "eager", "perceiver_config": "eager"}
    if attn_implementation:
        attention |= {"": attn_implementation, "vision_config": attn_implementation}
    how = {"dtype": _dtype(dtype), "attn_implementation": attention, "device_map": device_map}
    disable_progress_bar()
    processor, model, image = _loaded(name, where, how)
    family = family_of(name, model.config)
    if device_map is None:
        model = model.to(pick_device(device, name))
    if image is None:
        known = family.image if family else None
        image = marked_image(processor) if known is None else known.format(processor.image_token)
    text = resolve_prompt(prompt or ("specimen" if name in SPECIMENS else "release"), processor, image)
    way, image_size = _fit(name, family, processor, cast("Fit | None", fit), image_size)
    lvlm = Lvlm(name, model.eval(), processor, text, family, way, image_size, cast(Query, query), image)
    _tell_layers(lvlm)
    _tell_carried(lvlm)
    return lvlm


def _tell_layers(lvlm: Lvlm) -> None:
    """Warns that layers are left out where only some have softmax attention."""
    every = lvlm.model.config.get_text_config().num_hidden_layers
    if lvlm.layers < every:
        numbers = ", ".join(map(str, lvlm.attending))
        warnings.warn(
            f"model '{lvlm.name}': {lvlm.layers} of {every} layers have softmax attention and give maps; "
            f"layers 0 to {lvlm.layers - 1} here are the model's layers {numbers}",
            LocheadsWarning,
            stacklevel=3,
        )


def _tell_carried(lvlm: Lvlm) -> None:
    """Warns that maps are not the model's own where its image tokens stand for no place."""
    if lvlm.carried:
        warnings.warn(
            f"model '{lvlm.name}': its {lvlm.carried} pools the picture into tokens that stand for no place; "
            "maps are carried back to patches through its attention, and say where the tokens come from",
            LocheadsWarning,
            stacklevel=3,
        )


def varied(lvlm: Lvlm, prompt: str | None = None, fit: Fit | None = None, query: Query | None = None) -> Lvlm:
    """Returns the same model with another prompt, fit or query; no weights are loaded again.

    Args:
        lvlm: From `load_lvlm`.
        prompt: As in `load_lvlm`; None keeps the present one, as for the other settings.
        fit: As in `load_lvlm`.
        query: As in `load_lvlm`.

    Raises:
        LocheadsError: As `load_lvlm`.
    """
    text = lvlm.prompt if prompt is None else resolve_prompt(prompt, lvlm.processor, lvlm.image)
    way, size = lvlm.fit, lvlm.image_size
    if fit is not None:
        way, size = _fit(lvlm.name, lvlm.family, lvlm.processor, fit, None)
    return replace(lvlm, prompt=text, fit=way, image_size=size, query=query or lvlm.query, _grids={})


def _loaded(
    name: str, where: dict[str, Any], how: dict[str, Any]
) -> tuple[ProcessorMixin, PreTrainedModel, str | None]:
    """Loads processor and model; for LLaVA's own checkpoints returns the image placeholder as well."""
    if name.lower() in NOT_LOADABLE and not Path(name).exists():
        raise LocheadsError(f"model '{name}' {NOT_LOADABLE[name.lower()]}")
    folder = str(SPECIMENS.get(name) or ALIASES.get(name.lower(), name))
    if name in SPECIMENS:
        verify(SPECIMENS[name])
    try:
        check_code(name, folder)
        check_merged(name, folder, where)
        raw, _ = PreTrainedConfig.get_config_dict(folder, **where)
        if not raw:
            raise OSError("no config.json")
        check_code(name, folder, raw)
        if original.is_original(raw):
            return original.load(name, folder, raw, where, how)
        return (*_from_transformers(name, folder, where, how), None)
    except _UNREADABLE as error:
        bad = damage(folder)
        if bad:
            raise LocheadsError(f"model '{name}' cannot be loaded: {bad}") from error
        raise LocheadsError(
            f"model '{name}' cannot be loaded ({first_line(error)}); give one of "
            f"{', '.join([*SPECIMENS, *ALIASES])}, a folder in transformers' or LLaVA's layout, or a hub name"
        ) from error


def _from_transformers(
    name: str, folder: str, where: dict[str, Any], how: dict[str, Any]
) -> tuple[ProcessorMixin, PreTrainedModel]:
    ours = where | {"trust_remote_code": False}
    family_of(name, AutoConfig.from_pretrained(folder, **ours))
    processor = AutoProcessor.from_pretrained(folder, **ours)
    with quiet():
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder, **ours, **how, output_loading_info=True
        )
    check_weights(name, report)
    if not hasattr(processor, "image_token"):
        raise LocheadsError(f"model '{name}': {type(processor).__name__} has no image token")
    if model.config.model_type == "llava":
        without_inner_space(processor.tokenizer)
    if model.config.get_text_config()._attn_implementation != ATTENTION:
        raise LocheadsError(f"model '{name}': its decoder does not run on transformers' attention interface")
    complete(name, processor, model.config)
    return processor, model


def complete(name: str, processor: ProcessorMixin, config: PreTrainedConfig) -> None:
    """Fills in what processors published long ago lack: patch size, strategy, class token, padding token.

    The values are the model's own. A token that only pads is never seen, so any one does.

    Raises:
        LocheadsError: The tokeniser has no token that could pad.
    """
    tokenizer = processor.tokenizer
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or tokenizer.bos_token
    if tokenizer.pad_token_id is None:
        raise LocheadsError(f"model '{name}': its tokenizer has no pad_token; add one to its settings")
    if getattr(processor, "patch_size", 0) is None:
        processor.patch_size = config.vision_config.patch_size
    if hasattr(config, "perceiver_config"):
        processor.patch_size = config.vision_config.patch_size  # tells the grid, which it does not report
    if getattr(processor, "num_query_tokens", 0) is None:
        processor.num_query_tokens = config.num_query_tokens
    if getattr(processor, "vision_feature_select_strategy", "") is None:
        processor.vision_feature_select_strategy = config.vision_feature_select_strategy
    dropped = getattr(processor, "vision_feature_select_strategy", None) == "default"
    if dropped and getattr(processor, "num_additional_image_tokens", None) == 0:
        processor.num_additional_image_tokens = 1  # the class token, which the strategy drops


def _fit(
    name: str, family: Family | None, processor: ProcessorMixin, fit: Fit | None, image_size: int | None
) -> tuple[Fit, int | None]:
    """Returns fit and image size with the defaults filled in."""
    report = report_of(processor)
    dynamic = report is not None and (family is None or family.cells is None)
    if fit is None:
        fit = "pad" if dynamic or crops(family, processor.image_processor) else "own"
    if image_size is not None and (not dynamic or fit == "own"):
        raise LocheadsError(
            f"model '{name}': image_size is for fit 'pad' or 'stretch' with a dynamic processor; leave it out"
        )
    if report and dynamic and fit != "own" and image_size is None:
        image_size = CELLS * report.cell(processor)
    return fit, image_size


def _dtype(dtype: str) -> torch.dtype | str:
    found = getattr(torch, dtype, None)
    if dtype == "auto" or (isinstance(found, torch.dtype) and found.is_floating_point):
        return cast("torch.dtype | str", found or dtype)
    raise LocheadsError(f"dtype '{dtype}' is not a floating type of torch; give float32, bfloat16 or float16")


def _check(value: str, allowed: tuple[str, ...], parameter: str) -> None:
    if value not in allowed:
        raise LocheadsError(f"{parameter} '{value}': give {' or '.join(allowed)}")
