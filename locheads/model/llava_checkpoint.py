"""Loads checkpoints in LLaVA's own layout (LLaVA, LLaVA-1.5, ShareGPT4V) into the class of transformers.

The layout is that of github.com/haotian-liu/LLaVA: a language model's `config.json` with `mm_…` keys;
weights `model.layers.…`, `model.mm_projector.…` and `lm_head`; the vision tower under
`model.vision_tower.vision_tower.…`, or in a CLIP folder that `mm_vision_tower` names. No file is written.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from safetensors.torch import load_file
from transformers import (
    AutoTokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MistralConfig,
    PreTrainedModel,
    ProcessorMixin,
)

from locheads.errors import LocheadsError

IMAGE = "<image>"
_TOWER = "model.vision_tower."
Weights = dict[str, torch.Tensor]

_RENAMED = (
    (r"^model\.vision_tower\.vision_tower\.(vision_model\.)?", "model.vision_tower."),
    (r"^model\.mm_projector\.(0\.)?(?=weight|bias)", "model.multi_modal_projector.linear_1."),
    (r"^model\.mm_projector\.2\.", "model.multi_modal_projector.linear_2."),
    (r"^model\.(?=layers\.|embed_tokens\.|norm\.)", "model.language_model."),
)
_FOREIGN = ("model_type", "architectures", "transformers_version", "_name_or_path", "torch_dtype", "dtype")
_ACTIVATIONS = {"linear": "linear", "mlp2x_gelu": "gelu"}


def is_original(config: Mapping[str, Any]) -> bool:
    """Returns whether a `config.json` is in LLaVA's own layout."""
    return "mm_vision_tower" in config and "vision_config" not in config


def load(
    name: str, place: str, config: dict[str, Any], where: dict[str, Any], how: dict[str, Any]
) -> tuple[ProcessorMixin, PreTrainedModel, str]:
    """Loads a checkpoint; returns processor, model and the image placeholder of a text.

    Args:
        name: Name of the model, for messages.
        place: A folder or a hub name.
        config: Its `config.json`.
        where: `revision` and `local_files_only`, for the hub.
        how: `dtype`, `device_map` and `attn_implementation`.

    Raises:
        LocheadsError: The checkpoint is of a kind that the class of transformers does not compute, or weights
            are missing.
    """
    _check_kind(name, config)
    folder = Path(place) if Path(place).is_dir() else Path(snapshot_download(place, **where))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    weights = _renamed(_read(folder))
    vision, weights = _with_tower(name, folder, str(config["mm_vision_tower"]), weights, where)
    image_id = tokenizer.convert_tokens_to_ids(IMAGE)
    _add_image_row(weights, image_id)
    _complete_projector(weights)
    model, report = LlavaForConditionalGeneration.from_pretrained(
        None,
        config=_config(config, vision, image_id, len(weights["lm_head.weight"])),
        state_dict=weights,
        output_loading_info=True,
        **how,
    )
    check_complete(name, report)
    between = config.get("mm_use_im_start_end", False)
    return _processor(vision, tokenizer), model, f"<im_start>{IMAGE}<im_end>" if between else IMAGE


def check_complete(name: str, report: Mapping[str, Any]) -> None:
    """Checks that the checkpoint had all weights of the model.

    Raises:
        LocheadsError: Weights are missing or have another shape.
    """
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report.get("mismatched_keys", ()))
    if missing:
        raise LocheadsError(
            f"model '{name}': {len(missing)} weights are missing or misshapen, the first is {missing[0]}; "
            "complete the checkpoint"
        )


def _check_kind(name: str, config: Mapping[str, Any]) -> None:
    projector = config.get("mm_projector_type", "linear")
    kinds = {
        f"mm_projector_type {projector}": projector not in _ACTIVATIONS,
        "image_aspect_ratio anyres": "anyres" in str(config.get("image_aspect_ratio")),
        "mm_vision_select_feature cls_patch": config.get("mm_vision_select_feature", "patch") != "patch",
    }
    for kind, other in kinds.items():
        if other:
            raise LocheadsError(
                f"model '{name}': {kind} is not what transformers' LLaVA computes; "
                "take a checkpoint in transformers' layout"
            )


def _read(folder: Path) -> Weights:
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise LocheadsError(f"{folder}: neither *.safetensors nor pytorch_model*.bin; fetch the weights")
    weights: Weights = {}
    for file in files:
        weights |= (
            load_file(file)
            if file.suffix == ".safetensors"
            else torch.load(file, mmap=True, weights_only=True)
        )
    return weights


def _renamed(weights: Weights) -> Weights:
    def new(key: str) -> str:
        for pattern, replacement in _RENAMED:
            key = re.sub(pattern, replacement, key)
        return key

    return {new(key): tensor for key, tensor in weights.items() if "rotary_emb.inv_freq" not in key}


def _with_tower(
    name: str, folder: Path, tower: str, weights: Weights, where: dict[str, Any]
) -> tuple[CLIPVisionConfig, Weights]:
    """Returns the vision tower's configuration, and the weights including the tower's."""
    own = {key.removeprefix(_TOWER): tensor for key, tensor in weights.items() if key.startswith(_TOWER)}
    if own:
        own.pop("embeddings.position_ids", None)
        rest = {key: tensor for key, tensor in weights.items() if not key.startswith(_TOWER)}
        return _clip_config(own), rest | {_TOWER + key: tensor for key, tensor in own.items()}
    beside = [path for path in (Path(tower), folder / tower, folder.parent / tower) if path.is_dir()]
    try:
        clip = CLIPVisionModel.from_pretrained(beside[0] if beside else tower, **({} if beside else where))
    except (OSError, ValueError) as error:
        raise LocheadsError(
            f"model '{name}': its vision tower '{tower}' (mm_vision_tower in config.json) is neither in the "
            "checkpoint, nor a folder, nor on the hub; fetch it and set the key to its folder"
        ) from error
    return clip.config, weights | {_TOWER + key: tensor for key, tensor in clip.state_dict().items()}


def _clip_config(tower: Weights) -> CLIPVisionConfig:
    """Infers a CLIP tower's configuration from its weights; heads have 64 channels, as in all CLIP models."""
    positions, hidden = tower["embeddings.position_embedding.weight"].shape
    patch = tower["embeddings.patch_embedding.weight"].shape[-1]
    layers = {int(found[1]) for key in tower if (found := re.match(r"encoder\.layers\.(\d+)\.", key))}
    return CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=tower["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=len(layers),
        num_attention_heads=max(hidden // 64, 1),
        image_size=int((positions - 1) ** 0.5) * patch,
        patch_size=patch,
    )


def _add_image_row(weights: Weights, image_id: int) -> None:
    """Appends a zero row for the image token, which is never read: image features replace it."""
    for key in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        short = image_id + 1 - len(weights[key])
        if short > 0:
            weights[key] = torch.cat([weights[key], weights[key].new_zeros(short, weights[key].shape[1])])


def _complete_projector(weights: Weights) -> None:
    """Completes a one-layer projector (LLaVA v1): the second layer of the class becomes the identity."""
    prefix = "model.multi_modal_projector."
    if prefix + "linear_2.weight" not in weights:
        first = weights[prefix + "linear_1.weight"]
        weights[prefix + "linear_2.weight"] = torch.eye(len(first), dtype=first.dtype)
        weights[prefix + "linear_2.bias"] = first.new_zeros(len(first))


def _config(raw: dict[str, Any], vision: CLIPVisionConfig, image_id: int, vocabulary: int) -> LlavaConfig:
    kind = MistralConfig if "Mistral" in str(raw.get("architectures")) else LlamaConfig
    known = set(kind().to_dict()) | {"rope_theta", "rope_scaling"}
    text = {key: value for key, value in raw.items() if key in known - set(_FOREIGN)}
    return LlavaConfig(
        text_config=kind(**text | {"vocab_size": vocabulary}),
        vision_config=vision,
        image_token_index=image_id,
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        vision_feature_layer=raw.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy="default",
        projector_hidden_act=_ACTIVATIONS[raw.get("mm_projector_type", "linear")],
    )


def _processor(vision: CLIPVisionConfig, tokenizer: Any) -> LlavaProcessor:
    side = vision.image_size
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}
    )
    return LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )
