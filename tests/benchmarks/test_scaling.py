"""The count of operations in benchmarks/scaling.py against torch's own counter, and how its parts add up."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import transformers
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import scaling
from scaling import Setting, Sizes, decoder_operations, encoder_operations, operations

TEXT, VISION = Sizes(3, 32, 48, 4), Sizes(2, 16, 24, 2)
PATCHES, WORDS, VOCABULARY = 9, 4, 40


def config(sizes: Sizes) -> dict[str, int]:
    names = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads")
    return dict(zip(names, (sizes.layers, sizes.width, sizes.inner, sizes.heads), strict=True))


def test_the_count_is_that_of_torch_on_a_llava_but_for_the_half_above_the_diagonal() -> None:
    made = transformers.LlavaConfig(
        text_config=transformers.LlamaConfig(**config(TEXT), vocab_size=VOCABULARY),
        vision_config=transformers.CLIPVisionConfig(**config(VISION), image_size=42, patch_size=14),
        image_token_index=1,
        vision_feature_layer=-1,
    )
    model = transformers.LlavaForConditionalGeneration._from_config(made, attn_implementation="eager").eval()
    ids = torch.tensor([[1] * PATCHES + [2, 3, 4, 5]])
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(input_ids=ids, pixel_values=torch.zeros(1, 3, 42, 42), use_cache=False, logits_to_keep=1)
    tokens = PATCHES + WORDS
    whole = decoder_operations(TEXT, tokens, vocabulary=VOCABULARY)
    unseen = 4 * TEXT.width * TEXT.layers * (tokens * (tokens - 1) // 2)
    image = encoder_operations(VISION, PATCHES, TEXT.width)
    assert counter.get_total_flops() == whole + unseen + image
    assert operations("plain", Setting(9, 1, 3), TEXT, VISION, WORDS, VOCABULARY) == whole + image


def test_a_text_costs_what_its_beginning_and_its_rest_cost() -> None:
    for deepest in (None, 0, 2):
        whole = decoder_operations(TEXT, 20, deepest=deepest)
        first = decoder_operations(TEXT, 13, deepest=deepest)
        assert whole == first + decoder_operations(TEXT, 7, before=13, deepest=deepest)


def test_a_pass_that_ends_early_costs_its_layers_and_three_projections() -> None:
    two = decoder_operations(Sizes(2, 32, 48, 4), 11)
    assert decoder_operations(TEXT, 11, deepest=2) == two + 3 * 2 * 11 * 32 * 32


@pytest.mark.parametrize("way", scaling.WAYS)
def test_only_sharing_gets_cheaper_with_more_expressions(way: str) -> None:
    costs = [operations(way, Setting(9, n, 3), TEXT, VISION, WORDS, VOCABULARY) for n in (1, 3, 7)]
    assert costs == sorted(costs, reverse=True)
    assert (costs[0] == costs[2]) == (way in ("plain", "capture"))
    one, three = costs[:2]
    rest = decoder_operations(TEXT, WORDS, before=9, deepest=1 if way == "shared heads" else 2)
    if way.startswith("shared"):
        assert three == pytest.approx((one - rest) / 3 + rest)
