"""Tiny models of families published since 2024; `tiny_models` saves them."""

from __future__ import annotations

from typing import Any

import transformers
from tiny_base import SQUARE, VISION, Made, make_tokenizer, text_of
from tiny_qwen import BETWEEN, MROPE, QWEN, qwen_like

EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
QWEN3_VISION = {
    "hidden_size": 48,
    "out_hidden_size": 48,
    "intermediate_size": 64,
    "depth": 3,
    "num_heads": 4,
    "patch_size": 8,
    "num_position_embeddings": 64,
}
LINEAR = {
    "linear_key_head_dim": 12,
    "linear_value_head_dim": 12,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "full_attention", "linear_attention", "full_attention"],
}


def qwen3_vl_moe() -> Made:
    tokenizer = make_tokenizer("<|image_pad|>", *QWEN, chat_image=BETWEEN)
    rope = MROPE | {"mrope_interleaved": True}
    text = text_of(tokenizer, "Qwen3VLMoeTextConfig", rope_parameters=rope, **EXPERTS)
    return qwen_like("Qwen3VLMoe", text, QWEN3_VISION | {"deepstack_visual_indexes": [0, 1]}, tokenizer, 8)


def qwen3_5(kind: str = "Qwen3_5", **more: Any) -> Made:
    tokenizer = make_tokenizer("<|image_pad|>", *QWEN, chat_image=BETWEEN)
    rope = MROPE | {"mrope_interleaved": True, "partial_rotary_factor": 1.0}
    text = text_of(tokenizer, f"{kind}TextConfig", rope_parameters=rope, **LINEAR | more)
    return qwen_like(kind, text, QWEN3_VISION, tokenizer, 8)


def qwen3_5_moe() -> Made:
    return qwen3_5("Qwen3_5Moe", **EXPERTS, shared_expert_intermediate_size=32)


GLM = ("<|begin_of_image|>", "<|end_of_image|>", "<|video|>", "<|begin_of_video|>", "<|end_of_video|>")


def _glm(kind: str, text_kind: str, **text: Any) -> Made:
    between = "<|begin_of_image|><|image|><|end_of_image|>"
    tokenizer = make_tokenizer("<|image|>", *GLM, chat_image=between)
    numbers = [tokenizer.convert_tokens_to_ids(token) for token in ("<|image|>", *GLM)]
    names = ("image", "image_start", "image_end", "video", "video_start", "video_end")
    rope = MROPE | {"partial_rotary_factor": 1.0}
    vision = {
        "hidden_size": 48,
        "out_hidden_size": 48,
        "intermediate_size": 64,
        "depth": 2,
        "num_heads": 4,
        "image_size": 64,
        "patch_size": 8,
        "initializer_range": 0.1,
    }
    config = getattr(transformers, f"{kind}Config")(
        text_config=text_of(tokenizer, text_kind, rope_parameters=rope, **text).to_dict(),
        vision_config=vision | ({"model_type": "glm4v_vision"} if kind == "Glm46V" else {}),
        **{f"{name}_token_id": number for name, number in zip(names, numbers, strict=True)},
    )
    kinds = {"Glm4vMoe": "Glm4v", "GlmOcr": "Glm46V"}.get(kind, kind)
    images = getattr(transformers, f"{kinds}ImageProcessor")(
        patch_size=8, merge_size=2, size={"shortest_edge": 16**2, "longest_edge": 2 * 128**2}
    )
    video = getattr(transformers, f"{kinds}VideoProcessor")()
    processor = getattr(transformers, f"{kinds}Processor")(
        images, tokenizer, video, chat_template=tokenizer.chat_template
    )
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor


def glm4v() -> Made:
    return _glm("Glm4v", "Glm4vTextConfig")


def glm46v() -> Made:
    return _glm("Glm46V", "Glm4vTextConfig")


def glm4v_moe() -> Made:
    moe = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    return _glm("Glm4vMoe", "Glm4vMoeTextConfig", **moe)


def glm_ocr() -> Made:
    return _glm("GlmOcr", "GlmOcrTextConfig")


PIXTRAL = VISION | {"image_size": 256, "model_type": "pixtral", "head_dim": 12}


def _pixtral(kind: str, merge: int, **config: Any) -> Made:
    tokenizer = make_tokenizer("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    made = getattr(transformers, f"{kind}Config")(
        text_config=text_of(tokenizer, "MistralConfig"),
        vision_config=transformers.PixtralVisionConfig(**PIXTRAL),
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        **config,
    )
    images = transformers.PixtralImageProcessor(size={"longest_edge": 256}, patch_size=8 * merge)
    processor = transformers.PixtralProcessor(
        images, tokenizer, patch_size=8, spatial_merge_size=merge, chat_template=tokenizer.chat_template
    )
    return getattr(transformers, f"{kind}ForConditionalGeneration")(made), processor


def lighton_ocr() -> Made:
    tokens = {"image_token": "[IMG]", "image_break_token": "[IMG_BREAK]", "image_end_token": "[IMG_END]"}
    tokenizer = make_tokenizer(*tokens.values(), **tokens)
    config = transformers.LightOnOcrConfig(
        text_config=text_of(tokenizer, "Qwen3Config"),
        vision_config=transformers.PixtralVisionConfig(**PIXTRAL),
        image_token_id=tokenizer.image_token_id,
    )
    images = transformers.PixtralImageProcessor(size={"longest_edge": 256}, patch_size=16)
    processor = transformers.LightOnOcrProcessor(
        images, tokenizer, patch_size=8, spatial_merge_size=2, chat_template=tokenizer.chat_template
    )
    return transformers.LightOnOcrForConditionalGeneration(config), processor


def mistral3() -> Made:
    return _pixtral("Mistral3", 2)


def pixtral() -> Made:
    return _pixtral("Llava", 1, vision_feature_select_strategy="full", vision_feature_layer=-1)


AYA = ("<|START_OF_IMG|>", "<|END_OF_IMG|>", "<|IMG_PATCH|>", "<|IMG_LINE_BREAK|>", "TILE", "TILE_GLOBAL")


def exaone4_5() -> Made:
    tokenizer = make_tokenizer("<|image_pad|>", *QWEN, chat_image=BETWEEN)
    text = text_of(tokenizer, "Exaone4Config", sliding_window=24, sliding_window_pattern=2)
    vision = {key: value for key, value in QWEN3_VISION.items() if key != "num_position_embeddings"}
    vision |= {"num_key_value_heads": 2, "window_size": 32, "fullatt_block_indexes": [1]}
    return qwen_like("Exaone4_5_", text, vision, tokenizer, 8)


def aya_vision() -> Made:
    tokenizer = make_tokenizer("<image>", *AYA)
    config = transformers.AyaVisionConfig(
        text_config=text_of(tokenizer, "Cohere2Config", sliding_window=512),
        vision_config=transformers.SiglipVisionConfig(**VISION | {"image_size": 96, "num_hidden_layers": 1}),
        image_token_index=tokenizer.convert_tokens_to_ids("<|IMG_PATCH|>"),
    )
    images = transformers.GotOcr2ImageProcessor(size={"height": 96, "width": 96})
    processor = transformers.AyaVisionProcessor(
        images,
        tokenizer,
        patch_size=8,
        img_size=96,
        downsample_factor=2,
        chat_template=tokenizer.chat_template,
    )
    return transformers.AyaVisionForConditionalGeneration(config), processor


def cohere2_vision() -> Made:
    tokens = {
        "image_token": "<|IMG_PATCH|>",
        "boi_token": "<|START_OF_IMG|>",
        "eoi_token": "<|END_OF_IMG|>",
        "img_line_break_token": "<|IMG_LINE_BREAK|>",
    }
    image, *others = tokens.values()
    tokenizer = make_tokenizer(image, *others, **tokens)
    config = transformers.Cohere2VisionConfig(
        text_config=text_of(tokenizer, "Cohere2Config", sliding_window=512),
        vision_config=transformers.SiglipVisionConfig(**VISION | {"image_size": 96}, vision_use_head=False),
        image_token_id=tokenizer.image_token_id,
        alignment_intermediate_size=128,
    )
    images = transformers.Cohere2VisionImageProcessor(size={"height": 96, "width": 96}, patch_size=6)
    processor = transformers.Cohere2VisionProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
    return transformers.Cohere2VisionForConditionalGeneration(config), processor


def lfm2_vl() -> Made:
    others = ("<|image_start|>", "<|image_end|>", "<|img_thumbnail|>")
    tokenizer = make_tokenizer("<image>", *others)
    vision = {key: value for key, value in VISION.items() if key != "image_size"} | {"num_patches": 64}
    config = transformers.Lfm2VlConfig(
        text_config=text_of(
            tokenizer,
            "Lfm2Config",
            layer_types=["conv", "full_attention", "conv", "full_attention"],
            num_hidden_layers=4,
            block_multiple_of=8,
            tie_word_embeddings=True,
        ),
        vision_config=transformers.Siglip2VisionConfig(**vision),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        projector_hidden_size=64,
    )
    images = transformers.Lfm2VlImageProcessor(
        encoder_patch_size=8, min_image_tokens=16, max_image_tokens=64, tile_size=128
    )
    processor = transformers.Lfm2VlProcessor(images, tokenizer, chat_template=tokenizer.chat_template)
    return transformers.Lfm2VlForConditionalGeneration(config), processor


LLAMA4 = (
    "<|image_start|>",
    "<|image_end|>",
    "<|patch|>",
    "<|tile_x_separator|>",
    "<|tile_y_separator|>",
)


def llama4() -> Made:
    tokenizer = make_tokenizer("<|image|>", *LLAMA4)
    config = transformers.Llama4Config(
        text_config=text_of(
            tokenizer,
            "Llama4TextConfig",
            num_local_experts=2,
            intermediate_size_mlp=64,
            attention_chunk_size=64,
            no_rope_layers=[1, 1, 0],
        ),
        vision_config=transformers.Llama4VisionConfig(
            **VISION | {"image_size": 96, "intermediate_size": 192},
            vision_output_dim=48,
            projector_input_dim=48,
            projector_output_dim=48,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<|patch|>"),
    )
    images = transformers.Llama4ImageProcessor(size={"height": 96, "width": 96})
    processor = transformers.Llama4Processor(
        images, tokenizer, patch_size=8, pixel_shuffle_ratio=0.5, chat_template=tokenizer.chat_template
    )
    return transformers.Llama4ForConditionalGeneration(config), processor


GEMMA = {
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
    "boa_token": "<start_of_audio>",
    "eoa_token": "<end_of_audio>",
    "audio_token": "<audio_soft_token>",
}
LAYERS = ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]


def gemma3n() -> Made:
    tokenizer = make_tokenizer(*dict.fromkeys(("<image_soft_token>", *GEMMA.values())), **GEMMA)
    audio = {
        "hidden_size": 48,
        "conf_num_attention_heads": 4,
        "conf_num_hidden_layers": 1,
        "sscp_conv_channel_size": [8, 4],
        "vocab_offset": 400,
        "vocab_size": 8,
    }
    text = text_of(
        tokenizer,
        "Gemma3nTextConfig",
        sliding_window=24,
        layer_types=LAYERS,
        num_hidden_layers=4,
        vocab_size=380,
        vocab_size_per_layer_input=380,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=2,
        laurel_rank=8,
        altup_num_inputs=2,
    )
    config = transformers.Gemma3nConfig(
        text_config=text.to_dict(),
        vision_config={
            "architecture": "mobilenetv5_base",
            "hidden_size": 48,
            "vocab_offset": 390,
            "vocab_size": 8,
            "model_args": {"num_features": 48, "channel_multiplier": 0.25},
        },
        audio_config=audio,
        vision_soft_tokens_per_image=256,
        **{key.replace("token", "token_id"): tokenizer.convert_tokens_to_ids(GEMMA[key]) for key in GEMMA},
    )
    images = transformers.SiglipImageProcessor(size={"height": 256, "width": 256})
    processor = transformers.Gemma3nProcessor(
        transformers.Gemma3nAudioFeatureExtractor(),
        images,
        tokenizer,
        tokenizer.chat_template,
        image_seq_length=256,
    )
    return transformers.Gemma3nForConditionalGeneration(config), processor


def gemma4() -> Made:
    tokens = GEMMA | {"video_token": "<video_soft_token>"}
    tokenizer = make_tokenizer(*dict.fromkeys(("<image_soft_token>", *tokens.values())), **tokens)
    text = text_of(
        tokenizer,
        "Gemma4TextConfig",
        sliding_window=24,
        layer_types=LAYERS,
        num_hidden_layers=4,
        vocab_size_per_layer_input=380,
        hidden_size_per_layer_input=8,
        num_kv_shared_layers=2,
        global_head_dim=12,
        use_bidirectional_attention="vision",
    )
    vision = {
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "head_dim": 12,
        "patch_size": 4,
        "position_embedding_size": 256,
    }
    config = transformers.Gemma4Config(
        text_config=text.to_dict(),
        vision_config=vision,
        audio_config=None,
        **{f"{key}_id": tokenizer.convert_tokens_to_ids(tokens[key]) for key in ("boi_token", "eoi_token")},
        image_token_id=tokenizer.image_token_id,
        video_token_id=tokenizer.convert_tokens_to_ids(tokens["video_token"]),
        audio_token_id=tokenizer.convert_tokens_to_ids(tokens["audio_token"]),
    )
    images = transformers.Gemma4ImageProcessor(patch_size=4, max_soft_tokens=70)
    processor = transformers.Gemma4Processor(
        transformers.Gemma4AudioFeatureExtractor(),
        images,
        tokenizer,
        transformers.Gemma4VideoProcessor(),
        chat_template=tokenizer.chat_template,
    )
    return transformers.Gemma4ForConditionalGeneration(config), processor


def vipllava() -> Made:
    tokenizer = make_tokenizer("<image>")
    config = transformers.VipLlavaConfig(
        text_config=text_of(tokenizer),
        vision_config=transformers.CLIPVisionConfig(**VISION),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layers=[-1, -2],
    )
    images = transformers.CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=SQUARE)
    processor = transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )
    return transformers.VipLlavaForConditionalGeneration(config), processor


def fast_vlm() -> Made:
    tokenizer = make_tokenizer("<image>")
    config = transformers.FastVlmConfig(
        text_config=text_of(tokenizer, "Qwen2Config"),
        vision_config=transformers.TimmWrapperConfig(
            architecture="fastvit_mci3",
            do_pooling=True,
            global_pool="avg",
            hidden_size=256,
            model_args={
                "inference_mode": True,
                "layers": [1, 1, 1, 1, 1],
                "embed_dims": [16, 16, 32, 64, 128],
            },
        ),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    images = transformers.CLIPImageProcessor(
        size={"shortest_edge": 256},
        crop_size={"height": 256, "width": 256},
        image_mean=[0.0] * 3,
        image_std=[1.0] * 3,
    )
    processor = transformers.LlavaProcessor(
        images,
        tokenizer,
        patch_size=64,
        vision_feature_select_strategy="default",
        chat_template=tokenizer.chat_template,
    )
    return transformers.FastVlmForConditionalGeneration(config), processor
