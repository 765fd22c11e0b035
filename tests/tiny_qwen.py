"""Tiny models of the Qwen-VL family; `tiny_models` saves them."""

from __future__ import annotations

import transformers
from tiny_base import Made, make_tokenizer, text_of
from transformers import PreTrainedTokenizerFast

PROCESSORS = {"Qwen3VLMoe": "Qwen3VL", "Qwen3_5": "Qwen3VL", "Qwen3_5Moe": "Qwen3VL"}
"""Families that take another's processor."""


def qwen_like(
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
    video = "Qwen3VLVideoProcessor" if kind.startswith("Qwen3") else "Qwen2VLVideoProcessor"
    processor = getattr(transformers, f"{PROCESSORS.get(kind, kind)}Processor")(
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
    return qwen_like("Qwen2VL", text, vision, tokenizer, 8)


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
    return qwen_like("Qwen2_5_VL", text, vision, tokenizer, 8)


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
    return qwen_like("Qwen3VL", text, vision, tokenizer, 8)
