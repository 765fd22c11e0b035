"""Finds the vision tower of a checkpoint in LLaVA's own layout, and brings it into transformers' classes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from transformers import CLIPImageProcessor, CLIPVisionConfig, PreTrainedConfig

from locheads.errors import LocheadsError
from locheads.model.original import intern_vit
from locheads.model.original.weights import Weights, read

HUB_NAMES = {
    "./pretrained/intern_vit_6b_224px": "OpenGVLab/InternViT-6B-224px",
    "model_zoo/OpenAI/clip-vit-large-patch14-336": "openai/clip-vit-large-patch14-336",
    "model_zoo/OpenAI/openclip-convnext-large-d-320-laion2B-s29B-b131K-ft-soup": (
        "laion/CLIP-convnext_large_d_320.laion2B-s29B-b131K-ft-soup"
    ),
}
"""Folder that a published `config.json` names → the repository that holds the tower."""

_OTHERS = {
    "siglip": "SigLIP",
    "dino": "DINOv2",
    "eva": "EVA",
    "convnext": "ConvNeXt",
    "internvl[-_ ]?14b": "InternVL-14B",
}
_OPENAI = re.compile(r"(^|[/_])clip-vit-(base|large)-patch\d+(-336)?$|ShareGPT4V.*vit-large336")
"""Towers that are CLIP as OpenAI published it: heads of 64 channels, and the quick GELU."""
_CLIP_TEXT = re.compile(r"^(text_model\.|text_projection|visual_projection|logit_scale)")
"""The other half of a CLIP, in whose repositories the tower is published."""
_FILES = ["*.json", "*.safetensors", "pytorch_model*.bin", "open_clip_pytorch_model.bin"]


@dataclass(frozen=True)
class Tower:
    """A vision tower for a class of transformers.

    Attributes:
        config: Its configuration.
        weights: Its weights, by the keys of the class.
        images: What brings pictures to its size, mean and deviation.
        first: Whether its tokens start with a class token, which LLaVA leaves out.
        select: The hidden state to take, where it is not the one that the checkpoint's `config.json` says.
    """

    config: PreTrainedConfig
    weights: Weights
    images: CLIPImageProcessor
    first: bool = True
    select: int | None = None


def load_tower(name: str, folder: Path, named: str, own: Weights, where: Mapping[str, Any]) -> Tower:
    """Loads the vision tower of a checkpoint.

    Args:
        name: Name of the model, for messages.
        folder: Folder of the checkpoint.
        named: `mm_vision_tower` of its `config.json`: a folder, or a repository.
        own: The tower's weights in the checkpoint; empty if it is published apart.
        where: `local_files_only`, for the hub. A `revision` is the checkpoint's, and not asked of the tower.

    Raises:
        LocheadsError: The tower is of a kind that cannot be mapped, or is nowhere.
    """
    other = next((kind for word, kind in _OTHERS.items() if re.search(rf"\b{word}", _words(named))), None)
    if other:
        raise _unknown(name, named, other)
    place = beside(folder, named)
    if not own:
        place = place or fetched(name, named, where)
        own = {key: one for key, one in read(place).items() if not _CLIP_TEXT.match(key)}
    own = {key.removeprefix("vision_model."): tensor for key, tensor in own.items()}
    settings = _settings(name, place, named, where)
    if "pre_layrnorm.weight" in own:
        config = CLIPVisionConfig.from_dict(settings) if settings else _openai(own)
        return Tower(config, own, _processor(place, config.image_size))
    if "encoder.layers.0.ls1" in own:
        vit = intern_vit.config_of(name, own, settings)
        return Tower(vit, intern_vit.renamed(own, vit), intern_vit.processor(vit))
    raise _unknown(name, named, "another encoder")


def beside(folder: Path, named: str) -> Path | None:
    """Returns a tower's folder: in the checkpoint, beside it, or where the name says; None if nowhere."""
    last = Path(named).name
    places = (folder / named, folder / last, folder.parent / named, folder.parent / last, Path(named))
    return next((place for place in places if place.is_dir()), None)


def fetched(
    name: str,
    named: str,
    where: Mapping[str, Any],
    files: list[str] = _FILES,
    key: str = "mm_vision_tower",
) -> Path:
    """Returns the folder of a tower that the hub holds, after fetching it.

    Raises:
        LocheadsError: The hub does not hold it.
    """
    repository = HUB_NAMES.get(named, named)
    try:
        only = bool(where.get("local_files_only"))
        return Path(snapshot_download(repository, local_files_only=only, allow_patterns=files))
    except (OSError, ValueError) as error:
        raise LocheadsError(
            f"model '{name}': its vision tower '{named}' ({key} in config.json) is neither in the "
            "checkpoint, nor a folder, nor on the hub; fetch it and set the key to its folder"
        ) from error


def _settings(name: str, place: Path | None, named: str, where: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the tower's `config.json`; empty for OpenAI's towers within a checkpoint, which all agree."""
    if place is None and _OPENAI.search(named):
        return {}
    file = (place or fetched(name, named, where, ["*.json"])) / "config.json"
    if not file.is_file():
        raise LocheadsError(f"model '{name}': {file} is missing; fetch the settings of its vision tower")
    settings = json.loads(file.read_text(encoding="utf-8"))
    return dict(settings.get("vision_config") or settings)


def _openai(own: Weights) -> CLIPVisionConfig:
    """Infers the configuration of one of OpenAI's CLIP towers from its weights."""
    positions, hidden = own["embeddings.position_embedding.weight"].shape
    patch = own["embeddings.patch_embedding.weight"].shape[-1]
    layers = {int(found[1]) for key in own if (found := re.match(r"encoder\.layers\.(\d+)\.", key))}
    return CLIPVisionConfig(
        hidden_size=hidden,
        intermediate_size=own["encoder.layers.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=len(layers),
        num_attention_heads=max(hidden // 64, 1),
        image_size=round((positions - 1) ** 0.5) * patch,
        patch_size=patch,
    )


def _processor(place: Path | None, side: int) -> CLIPImageProcessor:
    if place and (place / "preprocessor_config.json").is_file():
        return CLIPImageProcessor.from_pretrained(place)
    return CLIPImageProcessor(size={"shortest_edge": side}, crop_size={"height": side, "width": side})


def _words(named: str) -> str:
    """Returns the last part of a name in lower case, its words apart: `EVA02_CLIP_L` → `eva02 clip l`."""
    return re.sub(r"(?<=[a-z])_|_(?=[a-z])", " ", Path(named).name.lower())


def _unknown(name: str, named: str, kind: str) -> LocheadsError:
    return LocheadsError(
        f"model '{name}': its vision tower '{named}' is {kind}, and only CLIP and InternViT are "
        "known in LLaVA's own layout; take a checkpoint in transformers' layout, often named '…-hf'"
    )
