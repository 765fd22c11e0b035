"""Tiny models of the real classes with random weights, each with its real processor class."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

TEXT = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
}
VISION = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 48,
    "patch_size": 8,
}
SQUARE = {"height": 48, "width": 48}
CHAT = (
    "{% for m in messages %}<|user|>{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|end|>", "<|assistant|>"]
CORPUS = [
    "the red ring on the left of the small striped object",
    "A chat between a curious user and an assistant.",
]


def make_tokenizer(image: str, *special: str, **attributes: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: it knows every word, most of them in pieces."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens = [*SPECIAL, image, *special]
    bpe.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=340, special_tokens=tokens, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=CHAT.replace("IMAGE", attributes.pop("chat_image", image)),
        additional_special_tokens=[image, *special],
        extra_special_tokens=attributes,
    )


def text_of(tokenizer: PreTrainedTokenizerFast, kind: str = "LlamaConfig", **changes: object) -> object:
    known = {
        "vocab_size": len(tokenizer) + 3,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return getattr(transformers, kind)(**TEXT | known | changes)


Made = tuple[PreTrainedModel, ProcessorMixin]


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


def _qwen(
    kind: str, text: object, vision: dict[str, object], tokenizer: PreTrainedTokenizerFast, patch: int
) -> Made:
    def number(token: str) -> int:
        return tokenizer.convert_tokens_to_ids(token)

    config = getattr(transformers, f"{kind}Config")(
        text_config=text.to_dict(),
        vision_config=vision,
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
    )
    images = transformers.Qwen2VLImageProcessor(
        patch_size=patch,
        merge_size=2,
        size={"shortest_edge": (2 * patch) ** 2, "longest_edge": (16 * patch) ** 2},
    )
    video = "Qwen3VLVideoProcessor" if kind == "Qwen3VL" else "Qwen2VLVideoProcessor"
    processor = getattr(transformers, f"{kind}Processor")(
        images, tokenizer, getattr(transformers, video)(), chat_template=tokenizer.chat_template
    )
    return getattr(transformers, f"{kind}ForConditionalGeneration")(config), processor


QWEN = ("<|vision_start|>", "<|vision_end|>", "<|video_pad|>")
BETWEEN = "<|vision_start|><|image_pad|><|vision_end|>"
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 2, 2]}
SLIDING = {
    "use_sliding_window": True,
    "sliding_window": 24,
    "layer_types": ["full_attention", "sliding_attention", "full_attention"],
}


def qwen2_vl() -> Made:
    tokenizer = make_tokenizer("<|image_pad|>", *QWEN, chat_image=BETWEEN)
    text = text_of(tokenizer, "Qwen2VLTextConfig", rope_parameters=MROPE, **SLIDING)
    vision = {"embed_dim": 48, "hidden_size": 48, "depth": 2, "num_heads": 4, "mlp_ratio": 2, "patch_size": 8}
    return _qwen("Qwen2VL", text, vision, tokenizer, 8)


def qwen2_5_vl() -> Made:
    tokenizer = make_tokenizer("<|image_pad|>", *QWEN, chat_image=BETWEEN)
    text = text_of(tokenizer, "Qwen2_5_VLTextConfig", rope_parameters=MROPE, **SLIDING)
    vision = {
        "hidden_size": 48,
        "out_hidden_size": 48,
        "intermediate_size": 64,
        "depth": 2,
        "num_heads": 4,
        "patch_size": 8,
        "window_size": 32,
        "fullatt_block_indexes": [1],
    }
    return _qwen("Qwen2_5_VL", text, vision, tokenizer, 8)


def qwen3_vl() -> Made:
    tokenizer = make_tokenizer("<|image_pad|>", *QWEN, chat_image=BETWEEN)
    text = text_of(tokenizer, "Qwen3VLTextConfig", rope_parameters=MROPE | {"mrope_interleaved": True})
    vision = {
        "hidden_size": 48,
        "out_hidden_size": 48,
        "intermediate_size": 64,
        "depth": 3,
        "num_heads": 4,
        "patch_size": 8,
        "num_position_embeddings": 64,
        "deepstack_visual_indexes": [0, 1],
    }
    return _qwen("Qwen3VL", text, vision, tokenizer, 8)


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
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "gemma3": gemma3,
    "paligemma": paligemma,
}


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
        if key.endswith("q_norm.weight"):
            weight.data += 2
        if key.endswith(("mm_input_projection_weight", "high_res_vision_alpha")):  # zeros in transformers
            weight.data.normal_()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
