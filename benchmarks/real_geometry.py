"""Writes a model of LLaVA-1.5's geometry and SAM's ViT-B, both of random weights, and a list to run on.

    python benchmarks/real_geometry.py FOLDER
    locheads run 00 01 02 03 --preset FOLDER/preset.yaml --world real-geometry

32 layers of 32 heads, CLIP's 336 pixels in patches of 14, so 576 tokens; but heads of 8 and a tower of two
layers. The run says what files of the real shape take and that they pass, not how well anything grounds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

import locheads.model  # noqa: F401, mends the import of torchvision
from locheads.data import read_samples
from locheads.data.manifest import write_splits

# isort: split
from segment_anything import sam_model_registry
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

EXPRESSIONS = {"train": 16, "val": 6}
PRESET = """model: {model}
segmenter: {segmenter}
data: {data}
prompt: release
device: cpu
batch: 4
samples: 16
held_out: 6
measured_on: 6
"""


def tokenizer() -> PreTrainedTokenizerFast:
    """Returns a tokenizer of bytes."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: number for number, token in enumerate(["<pad>", "<s>", "</s>", "<image>", *letters])}
    made = Tokenizer(models.BPE(words, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return PreTrainedTokenizerFast(tokenizer_object=made, additional_special_tokens=["<image>"], **special)


def write_model(folder: Path) -> None:
    """Writes the vision-language model with its processor, in transformers' layout."""
    tokens = tokenizer()
    text = LlamaConfig(
        hidden_size=256,
        intermediate_size=256,
        num_hidden_layers=32,
        num_attention_heads=32,
        max_position_embeddings=4096,
        vocab_size=len(tokens),
        initializer_range=0.3,
    )
    tower = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    vision = CLIPVisionConfig(**tower, image_size=336, patch_size=14)
    image = tokens.convert_tokens_to_ids("<image>")
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(text_config=text, vision_config=vision, image_token_index=image)
    )
    pictures = CLIPImageProcessor(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    how = {"vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    model.save_pretrained(folder)
    LlavaProcessor(pictures, tokens, patch_size=14, **how).save_pretrained(folder)


def main(folder: Path) -> None:
    """Writes model, segmenter, list and preset."""
    folder = folder.resolve()
    write_model(folder / "llava")
    torch.manual_seed(0)
    torch.save(sam_model_registry["vit_b"]().state_dict(), folder / "sam_vit_b_random.pth")
    parts = {split: read_samples("specimen", "refcoco", split, count) for split, count in EXPRESSIONS.items()}
    write_splits(parts, folder / "expressions.jsonl", "refcoco")
    places = {"model": "llava", "segmenter": "sam_vit_b_random.pth", "data": "expressions.jsonl"}
    text = PRESET.format(**{name: folder / place for name, place in places.items()})
    (folder / "preset.yaml").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
