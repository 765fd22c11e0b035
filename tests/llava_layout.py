"""Tiny checkpoints in LLaVA's own layout, as its repositories publish them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tiny_models import VISION, make_tokenizer, text_of
from transformers import CLIPVisionConfig, CLIPVisionModel, LlavaConfig, LlavaForConditionalGeneration

TOWER = "model.vision_tower."
NAMES = {
    "model.language_model.": "model.",
    TOWER: "model.vision_tower.vision_tower.vision_model.",
    "model.multi_modal_projector.linear_1.": "model.mm_projector.0.",
    "model.multi_modal_projector.linear_2.": "model.mm_projector.2.",
}


def original_name(key: str) -> str:
    for new, old in NAMES.items():
        if key.startswith(new):
            return old + key.removeprefix(new)
    return key


def make(
    projector: str, tokenizer: object, hidden: int = 64, decoder: str = "LlamaConfig"
) -> LlavaForConditionalGeneration:
    """A tiny model; biases and norms, which start as zeros and ones, are drawn as well."""
    torch.manual_seed(1)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            text_config=text_of(tokenizer, decoder, tie_word_embeddings=False),
            vision_config=CLIPVisionConfig(**VISION | {"hidden_size": hidden, "num_attention_heads": 1}),
            image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
            projector_hidden_act="linear" if projector == "linear" else "gelu",
        )
    )
    for weight in model.parameters():
        if weight.ndim == 1:
            weight.data += 0.3 * torch.randn(weight.shape)
    if projector == "linear":
        second = model.model.multi_modal_projector.linear_2
        torch.nn.init.eye_(second.weight)
        torch.nn.init.zeros_(second.bias)
    return model.eval()


def write(
    folder: Path, model: LlavaForConditionalGeneration, tower: str, projector: str, **config: object
) -> Path:
    """The layout of LLaVA's repository, in two shards as published."""
    tokenizer = make_tokenizer("<image>", "<im_start>", "<im_end>")
    folder.mkdir()
    tokenizer.save_pretrained(folder)
    weights = {original_name(key): tensor.clone() for key, tensor in model.state_dict().items()}
    if projector == "linear":
        one = "model.mm_projector."
        weights = {key.replace(one + "0.", one): t for key, t in weights.items() if one + "2." not in key}
    if tower == "clip":
        vision = CLIPVisionModel(model.config.vision_config)
        vision.load_state_dict(model.model.vision_tower.state_dict())
        vision.save_pretrained(folder.parent / "clip")
        weights = {key: tensor for key, tensor in weights.items() if "vision_tower" not in key}
    keys = sorted(weights)
    torch.save({key: weights[key] for key in keys[::2]}, folder / "pytorch_model-00001-of-00002.bin")
    torch.save({key: weights[key] for key in keys[1::2]}, folder / "pytorch_model-00002-of-00002.bin")
    text = model.config.text_config.to_dict()
    llava_keys = {
        "model_type": "llava",
        "architectures": ["LlavaLlamaForCausalLM"],
        "image_aspect_ratio": "pad",
        "mm_hidden_size": model.config.vision_config.hidden_size,
        "mm_projector_type": projector,
        "mm_use_im_start_end": False,
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "mm_vision_tower": tower,
    }
    (folder / "config.json").write_text(json.dumps(text | llava_keys | config))
    return folder
