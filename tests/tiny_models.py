"""Tiny models of the real classes with random weights, each with its real processor class."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import tiny_recent as recent
import torch
import transformers
from tiny_base import CORPUS, SQUARE, TEXT, VISION, Made, make_tokenizer, text_of
from tiny_qwen import qwen2_5_vl, qwen2_vl, qwen3_vl
from transformers import PreTrainedModel, PreTrainedTokenizerFast

__all__ = ["BUILDERS", "CORPUS", "TEXT", "VISION", "make_tokenizer", "save", "text_of"]


def _llava_like(
    kind: str, vision: object, **config: object
) -> tuple[PreTrainedModel, PreTrainedTokenizerFast]:
    tokenizer = make_tokenizer("<image>")
    made = getattr(transformers, f"{kind}Config")(
        text_config=text_of(tokenizer, "Qwen2Config" if kind == "LlavaOnevision" else "LlamaConfig"),
        vision_config=vision,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        **config,
    )
    return getattr(transformers, f"{kind}ForConditionalGeneration")(made), tokenizer


def llava() -> Made:
    model, tokenizer = _llava_like("Llava", transformers.CLIPVisionConfig(**VISION))
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE)
    return model, transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )


PINPOINTS = [[48, 96], [96, 48], [96, 96]]


def llava_next() -> Made:
    model, tokenizer = _llava_like(
        "LlavaNext", transformers.CLIPVisionConfig(**VISION), image_grid_pinpoints=PINPOINTS
    )
    images = transformers.LlavaNextImageProcessor(
        size={"shortest_edge": 48}, crop_size=SQUARE, image_grid_pinpoints=PINPOINTS
    )
    return model, transformers.LlavaNextProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )


def llava_onevision() -> Made:
    model, tokenizer = _llava_like(
        "LlavaOnevision", transformers.SiglipVisionConfig(**VISION), image_grid_pinpoints=PINPOINTS
    )
    images = transformers.LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=PINPOINTS)
    return model, transformers.LlavaOnevisionProcessor(
        images,
        tokenizer,
        transformers.LlavaOnevisionVideoProcessor(),
        num_image_tokens=36,
        vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
    )


def deepseek_vl() -> Made:
    tokenizer = make_tokenizer("<image_placeholder>", image_token="<image_placeholder>")
    config = transformers.DeepseekVLConfig(
        text_config=text_of(tokenizer),
        vision_config=transformers.SiglipVisionConfig(**VISION),
        image_token_id=tokenizer.image_token_id,
    )
    images = transformers.DeepseekVLImageProcessor(size=SQUARE)
    processor = transformers.DeepseekVLProcessor(
        images, tokenizer, tokenizer.chat_template, num_image_tokens=36
    )
    return transformers.DeepseekVLForConditionalGeneration(config), processor


def deepseek_vl_hybrid() -> Made:
    tokenizer = make_tokenizer("<image_placeholder>", image_token="<image_placeholder>")
    fine = VISION | {"image_size": 96, "output_channels": 12, "window_size": 4, "global_attn_indexes": [1]}
    config = transformers.DeepseekVLHybridConfig(
        text_config=text_of(tokenizer),
        vision_config=transformers.SiglipVisionConfig(**VISION),
        high_res_vision_config=transformers.SamVisionConfig(**fine),
        image_token_id=tokenizer.image_token_id,
    )
    images = transformers.DeepseekVLHybridImageProcessor(
        size=SQUARE, high_res_size={"height": 96, "width": 96}
    )
    processor = transformers.DeepseekVLHybridProcessor(
        images, tokenizer, tokenizer.chat_template, num_image_tokens=36
    )
    return transformers.DeepseekVLHybridForConditionalGeneration(config), processor


def internvl() -> Made:
    tokens = {
        "start_image_token": "<img>",
        "end_image_token": "</img>",
        "context_image_token": "<IMG_CONTEXT>",
        "video_token": "<video>",
    }
    tokenizer = make_tokenizer("<IMG_CONTEXT>", "<img>", "</img>", "<video>", **tokens)
    vision = VISION | {"image_size": [96, 96], "patch_size": [8, 8]}
    config = transformers.InternVLConfig(
        text_config=text_of(tokenizer, "Qwen2Config"),
        vision_config=transformers.InternVLVisionConfig(**vision),
        image_token_id=tokenizer.context_image_token_id,
    )
    images = transformers.GotOcr2ImageProcessor(size={"height": 96, "width": 96})
    processor = transformers.InternVLProcessor(
        images,
        tokenizer,
        transformers.InternVLVideoProcessor(),
        image_seq_length=36,
        chat_template=tokenizer.chat_template,
    )
    return transformers.InternVLForConditionalGeneration(config), processor


def _idefics3_like(kind: str) -> Made:
    rows = [f"<row_{i}_col_{j}>" for i in range(1, 3) for j in range(1, 3)]
    tokenizer = make_tokenizer(
        "<image>", "<fake_token_around_image>", "<end_of_utterance>", "<global-img>", *rows
    )
    config = getattr(transformers, f"{kind}Config")(
        text_config=text_of(tokenizer),
        vision_config=VISION | {"image_size": 96},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
    )
    images = getattr(transformers, f"{kind}ImageProcessor")(
        size={"longest_edge": 192}, max_image_size={"longest_edge": 96}
    )
    videos = [transformers.SmolVLMVideoProcessor()] if kind == "SmolVLM" else []
    processor = getattr(transformers, f"{kind}Processor")(
        images, tokenizer, *videos, image_seq_len=36, chat_template=tokenizer.chat_template
    )
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor


def idefics3() -> Made:
    return _idefics3_like("Idefics3")


def smolvlm() -> Made:
    return _idefics3_like("SmolVLM")


def gemma3() -> Made:
    tokens = {
        "boi_token": "<start_of_image>",
        "eoi_token": "<end_of_image>",
        "image_token": "<image_soft_token>",
    }
    tokenizer = make_tokenizer(
        "<image_soft_token>", "<start_of_image>", "<end_of_image>", chat_image="<start_of_image>", **tokens
    )
    config = transformers.Gemma3Config(
        text_config=text_of(
            tokenizer,
            "Gemma3TextConfig",
            query_pre_attn_scalar=12,
            sliding_window=24,
            layer_types=["sliding_attention", "sliding_attention", "full_attention"],
        ),
        vision_config=transformers.SiglipVisionConfig(**VISION | {"image_size": 96}, vision_use_head=False),
        mm_tokens_per_image=36,
        image_token_index=tokenizer.image_token_id,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
    )
    images = transformers.Gemma3ImageProcessor(size={"height": 96, "width": 96})
    processor = transformers.Gemma3Processor(images, tokenizer, tokenizer.chat_template, image_seq_length=36)
    return transformers.Gemma3ForConditionalGeneration(config), processor


def paligemma() -> Made:
    tokenizer = make_tokenizer("<image>")
    images = transformers.SiglipImageProcessor(size=SQUARE)
    images.image_seq_length = 36
    processor = transformers.PaliGemmaProcessor(images, tokenizer, tokenizer.chat_template)
    config = transformers.PaliGemmaConfig(
        text_config=text_of(processor.tokenizer, "GemmaConfig"),
        vision_config=transformers.SiglipVisionConfig(**VISION, projection_dim=48, vision_use_head=False),
        image_token_index=processor.image_token_id,
        projection_dim=48,
        hidden_size=48,
    )
    return transformers.PaliGemmaForConditionalGeneration(config), processor


Q_FORMER = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "cross_attention_frequency": 2,
    "initializer_range": 0.3,
}
QUERIES = 30


def _blip_like(kind: str, text_kind: str) -> tuple[PreTrainedModel, PreTrainedTokenizerFast, object]:
    tokenizer = make_tokenizer("<image>")
    vision = getattr(transformers, f"{kind}VisionConfig")(**VISION | {"initializer_range": 0.1})
    reads = {"vocab_size": 400} if kind == "InstructBlip" else {}
    config = getattr(transformers, f"{kind}Config")(
        text_config=text_of(tokenizer, text_kind),
        vision_config=vision,
        qformer_config=getattr(transformers, f"{kind}QFormerConfig")(**Q_FORMER | reads),
        num_query_tokens=QUERIES,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = transformers.BlipImageProcessor(size=SQUARE)
    model = getattr(transformers, f"{kind}ForConditionalGeneration")(config)
    model.query_tokens.data.normal_()
    return model, tokenizer, images


def blip_2() -> Made:
    model, tokenizer, images = _blip_like("Blip2", "LlamaConfig")
    return model, transformers.Blip2Processor(images, tokenizer, num_query_tokens=QUERIES)


def instructblip() -> Made:
    model, tokenizer, images = _blip_like("InstructBlip", "LlamaConfig")
    reader = make_tokenizer("<image>")
    return model, transformers.InstructBlipProcessor(images, tokenizer, reader, num_query_tokens=QUERIES)


def idefics2() -> Made:
    tokenizer = make_tokenizer(
        "<image>", "<fake_token_around_image>", "<end_of_utterance>", chat_image="<image>\n"
    )
    config = transformers.Idefics2Config(
        text_config=text_of(tokenizer, "MistralConfig"),
        vision_config=VISION | {"image_size": 96},
        perceiver_config={
            "hidden_size": 48,
            "resampler_n_latents": QUERIES,
            "resampler_depth": 2,
            "resampler_n_heads": 4,
            "resampler_head_dim": 12,
            "num_key_value_heads": 2,
            "initializer_range": 0.3,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )
    images = transformers.Idefics2ImageProcessor(size={"shortest_edge": 48, "longest_edge": 96})
    processor = transformers.Idefics2Processor(
        images, tokenizer, image_seq_len=QUERIES, chat_template=tokenizer.chat_template
    )
    model = transformers.Idefics2ForConditionalGeneration(config)
    model.model.connector.perceiver_resampler.latents.data.normal_()
    return model, processor


BUILDERS: dict[str, Callable[[], Made]] = {
    "llava": llava,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "deepseek_vl": deepseek_vl,
    "deepseek_vl_hybrid": deepseek_vl_hybrid,
    "internvl": internvl,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "qwen3_vl_moe": recent.qwen3_vl_moe,
    "qwen3_5": recent.qwen3_5,
    "qwen3_5_moe": recent.qwen3_5_moe,
    "glm4v": recent.glm4v,
    "glm4v_moe": recent.glm4v_moe,
    "glm46v": recent.glm46v,
    "glm_ocr": recent.glm_ocr,
    "lighton_ocr": recent.lighton_ocr,
    "exaone4_5": recent.exaone4_5,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "gemma3": gemma3,
    "gemma3n": recent.gemma3n,
    "gemma4": recent.gemma4,
    "mistral3": recent.mistral3,
    "pixtral": recent.pixtral,
    "aya_vision": recent.aya_vision,
    "cohere2_vision": recent.cohere2_vision,
    "lfm2_vl": recent.lfm2_vl,
    "llama4": recent.llama4,
    "fast_vlm": recent.fast_vlm,
    "vipllava": recent.vipllava,
    "paligemma": paligemma,
    "blip-2": blip_2,
    "instructblip": instructblip,
    "idefics2": idefics2,
}


ZEROS = ("mm_input_projection_weight", "high_res_vision_alpha", "patch_embed.proj.bias")
"""Weights that transformers sets to zero before training."""


def save(name: str, folder: Path) -> Path:
    """Write a family's tiny model and processor.

    Encoders mix their tokens little, as trained ones do, so that a token tells of its place; decoders that
    normalise their queries attend unevenly.
    """
    torch.manual_seed(0)
    model, processor = BUILDERS[name]()
    for key, weight in model.named_parameters():
        if re.search(r"vis(ion|ual).*attn.*(out_proj|\.proj)\.|vision.*attention.*projection_layer", key):
            weight.data *= 0.1
        if "vision_tower.timm_model" in key and weight.ndim == 4 and weight.shape[1] == 1:  # depthwise
            weight.data *= 0.1
            weight.data[..., weight.shape[2] // 2, weight.shape[3] // 2] = 1
        if key.endswith("q_norm.weight"):
            weight.data += 2
        if key.endswith(
            ("mm_input_projection_weight", "high_res_vision_alpha", "patch_embed.proj.bias")
        ):  # zeros in transformers
            weight.data.normal_()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
