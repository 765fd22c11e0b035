"""Loads a checkpoint in LLaVA's own layout: decoder, tower and projector into one model of transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)

from locheads.errors import LocheadsError
from locheads.model.checkpoint import check_weights, quiet
from locheads.model.original import yi_vl
from locheads.model.original.decoders import config_of, tokenizer_of, without_inner_space
from locheads.model.original.towers import Tower, load_tower
from locheads.model.original.weights import Weights, read

IMAGE = "<image>"
_TOWER = "model.vision_tower."
_PROJECTOR = "model.multi_modal_projector."
_EMBEDDING = "model.language_model.embed_tokens.weight"

_RENAMED = (
    (r"^model\.vision_tower\.vision_tower\.", _TOWER),
    (r"^model\.mm_projector\.(?=weight|bias)", "model.mm_projector.0."),
    (r"^model\.(?=layers\.|embed_tokens\.|norm\.)", "model.language_model."),
)
_ACTIVATIONS = {"linear": "linear", "mlp2x_gelu": "gelu", yi_vl.KIND: "gelu"}
_LAYERS = {
    "linear": {"0": "linear_1"},
    "mlp2x_gelu": {"0": "linear_1", "2": "linear_2"},
    yi_vl.KIND: yi_vl.NAMES,
}
"""Projector → place in the published `mm_projector` → name in the class."""


def is_original(config: Mapping[str, Any]) -> bool:
    """Returns whether a `config.json` is in LLaVA's own layout."""
    return "mm_vision_tower" in config and "vision_config" not in config


def load(
    name: str, place: str, raw: dict[str, Any], where: dict[str, Any], how: dict[str, Any]
) -> tuple[ProcessorMixin, PreTrainedModel, str]:
    """Loads a checkpoint; returns processor, model and the image placeholder of a text.

    Args:
        name: Name of the model, for messages.
        place: A folder or a hub name.
        raw: Its `config.json`.
        where: `revision` and `local_files_only`, for the hub.
        how: `dtype`, `device_map` and `attn_implementation`.

    Raises:
        LocheadsError: The checkpoint is of a kind that is not known here, weights are missing, or some have
            no place in the model.
    """
    _check_kind(name, raw)
    folder = Path(place) if Path(place).is_dir() else Path(snapshot_download(place, **where))
    projector = str(raw.get("mm_projector_type", "linear"))
    weights = _renamed(read(folder), _LAYERS[projector])
    decoder = config_of(name, raw, len(_needed(name, weights, _EMBEDDING)))
    own = {key.removeprefix(_TOWER): weights.pop(key) for key in list(weights) if key.startswith(_TOWER)}
    tower = load_tower(name, folder, str(raw["mm_vision_tower"]), own, where)
    if raw.get("mm_vision_tower_aux"):
        from locheads.model.original.mini_gemini import with_details  # registers its class with transformers

        tower = with_details(name, folder, raw, weights, tower, where)
    weights |= {_TOWER + key: tensor for key, tensor in tower.weights.items()}
    tokenizer = tokenizer_of(folder, decoder)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    without_inner_space(tokenizer)
    image = tokenizer.convert_tokens_to_ids(IMAGE)
    _add_image_row(weights, image)
    if projector == "linear":
        _complete_projector(name, weights)
    _scale(weights, decoder)
    decoder.vocab_size = len(weights[_EMBEDDING])
    decoder.tie_word_embeddings = decoder.tie_word_embeddings and "lm_head.weight" not in weights
    model = _filled(name, _config(raw, tower, decoder, image), weights, how)
    between = raw.get("mm_use_im_start_end", False)
    return (
        _processor(tower, model.config, tokenizer),
        model,
        f"<im_start>{IMAGE}<im_end>" if between else IMAGE,
    )


def _check_kind(name: str, raw: Mapping[str, Any]) -> None:
    projector = raw.get("mm_projector_type", "linear")
    kinds = {
        f"mm_projector_type {projector}": projector not in _ACTIVATIONS,
        "image_aspect_ratio anyres": "anyres" in str(raw.get("image_aspect_ratio")),
        "mm_vision_select_feature cls_patch": raw.get("mm_vision_select_feature", "patch") != "patch",
    }
    for kind, other in kinds.items():
        if other:
            raise LocheadsError(
                f"model '{name}': {kind} is not what transformers' LLaVA computes; "
                "take a checkpoint in transformers' layout"
            )


def _renamed(weights: Weights, layers: Mapping[str, str]) -> Weights:
    """Returns the weights by the keys of transformers' LLaVA, but for those of the tower."""

    def new(key: str) -> str:
        for pattern, replacement in _RENAMED:
            key = re.sub(pattern, replacement, key)
        found = re.fullmatch(r"model\.mm_projector\.(\d+)\.(weight|bias)", key)
        return f"{_PROJECTOR}{layers[found[1]]}.{found[2]}" if found and found[1] in layers else key

    return {new(key): tensor for key, tensor in weights.items()}


def _needed(name: str, weights: Weights, key: str) -> torch.Tensor:
    if key not in weights:
        raise LocheadsError(
            f"model '{name}': 1 weights are missing or misshapen, the first is {key}; complete the checkpoint"
        )
    return weights[key]


def _add_image_row(weights: Weights, image: int) -> None:
    """Appends zero rows up to the image token's, which is never read: image features replace it."""
    for key in (_EMBEDDING, "lm_head.weight"):
        short = image + 1 - len(weights[key]) if key in weights else 0
        if short > 0:
            weights[key] = torch.cat([weights[key], weights[key].new_zeros(short, weights[key].shape[1])])


def _complete_projector(name: str, weights: Weights) -> None:
    """Completes a one-layer projector (LLaVA v1): the second layer of the class becomes the identity."""
    first = _needed(name, weights, _PROJECTOR + "linear_1.weight")
    weights[_PROJECTOR + "linear_2.weight"] = torch.eye(len(first), dtype=first.dtype)
    weights[_PROJECTOR + "linear_2.bias"] = first.new_zeros(len(first))


def _scale(weights: Weights, decoder: PreTrainedConfig) -> None:
    """Scales what a Gemma gets of the picture by the root of its width.

    Gemma scales embeddings so. When the layout was published, transformers did it behind the place where
    image features come in; now it does so in the embedding of words alone.
    """
    if decoder.model_type == "gemma":
        for part in ("weight", "bias"):
            key = f"{_PROJECTOR}linear_2.{part}"
            if key in weights:
                weights[key] = weights[key].float() * decoder.hidden_size**0.5


def _config(raw: Mapping[str, Any], tower: Tower, decoder: PreTrainedConfig, image: int) -> LlavaConfig:
    return LlavaConfig(
        text_config=decoder,
        vision_config=tower.config,
        image_token_index=image,
        vision_feature_layer=raw.get("mm_vision_select_layer", -2) if tower.select is None else tower.select,
        vision_feature_select_strategy="default" if tower.first else "full",
        projector_hidden_act=_ACTIVATIONS[raw.get("mm_projector_type", "linear")],
    )


def _filled(name: str, config: LlavaConfig, weights: Weights, how: dict[str, Any]) -> PreTrainedModel:
    """Builds the model with its weights, of which none may be missing or left over."""
    normed = any(key.startswith(_PROJECTOR + "norm_") for key in weights)
    kind = yi_vl.YiVL if normed else LlavaForConditionalGeneration
    with quiet():
        model, report = kind.from_pretrained(
            None, config=config, state_dict=weights, output_loading_info=True, **how
        )
    check_weights(name, report)
    return model


def _processor(tower: Tower, config: LlavaConfig, tokenizer: Any) -> LlavaProcessor:
    patch = config.vision_config.patch_size
    return LlavaProcessor(
        tower.images,
        tokenizer,
        patch_size=patch[0] if isinstance(patch, list | tuple) else patch,
        vision_feature_select_strategy=config.vision_feature_select_strategy,
        num_additional_image_tokens=int(tower.first),
    )
