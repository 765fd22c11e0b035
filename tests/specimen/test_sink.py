"""A wider decoder is the same function at first; the sink in its weights does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlavaForConditionalGeneration

from locheads.specimen.answers import make_model
from locheads.specimen.sink import CORNER, SPARE, STRENGTH, dig, rest, widened
from locheads.specimen.turns import PATCHES
from locheads.specimen.vocabulary import make_tokenizer


@pytest.fixture
def narrow() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    return make_model(make_tokenizer()).eval()


@pytest.fixture
def wide(narrow: LlavaForConditionalGeneration) -> LlavaForConditionalGeneration:
    words = make_tokenizer()
    return widened(narrow, words, words, 12).eval()


def _features(pictures: int = 6) -> np.ndarray:
    """Patch features that tell where a patch lies, with noise."""
    rng = np.random.default_rng(0)
    places = rng.normal(size=(PATCHES, 96))
    return (places + 0.1 * rng.normal(size=(pictures, PATCHES, 96))).astype(np.float16)


@torch.no_grad()
def test_more_heads_and_coordinates_are_the_same_function_at_first(
    narrow: LlavaForConditionalGeneration, wide: LlavaForConditionalGeneration
) -> None:
    tokens = torch.arange(5, 40)[None]
    torch.testing.assert_close(
        wide(input_ids=tokens).logits, narrow(input_ids=tokens).logits, atol=1e-4, rtol=0
    )
    config = wide.config.text_config
    assert config.num_attention_heads == 12 and config.hidden_size == 128 + SPARE


@torch.no_grad()
def test_heads_at_rest_look_at_the_first_token(wide: LlavaForConditionalGeneration) -> None:
    dig(wide, _features())
    wide.set_attn_implementation("eager")
    tokens = torch.tensor([[1, *range(5, 60)]])

    def on_first() -> float:
        rows = wide(input_ids=tokens, output_attentions=True).attentions
        return float(torch.stack(rows)[:, 0, :, -1, 0].median())

    rest(wide, 0.0)
    shallow = on_first()
    rest(wide)
    assert shallow < 0.5 < 0.99 < on_first()


@torch.no_grad()
def test_the_score_of_the_first_token_gains_the_strength(wide: LlavaForConditionalGeneration) -> None:
    dig(wide, _features())
    layer = wide.model.language_model.layers[0]
    attention, size = layer.self_attn, wide.config.text_config.head_dim
    first = wide.model.language_model.embed_tokens(torch.tensor([1]))
    key = attention.k_proj(layer.input_layernorm(first)).view(-1, size)[:, size // 2 - 1]
    rest(wide)
    bias = attention.q_proj.bias.view(-1, size)[:, size // 2 - 1]
    torch.testing.assert_close(bias * key / size**0.5, torch.full_like(bias, STRENGTH), rtol=1e-3, atol=0)
    assert not attention.q_proj.bias.requires_grad


@torch.no_grad()
def test_the_projector_writes_the_corner_alone_to_the_sink(wide: LlavaForConditionalGeneration) -> None:
    features = _features()
    dig(wide, features)
    written = wide.model.multi_modal_projector(torch.from_numpy(features.astype(np.float32)))[..., -1].mean(0)
    side = int(PATCHES**0.5)
    plane = written.view(side, side)
    outside = plane.clone()
    outside[:CORNER, :CORNER] = 0.0
    assert plane[:CORNER, :CORNER].min() > 4 * outside.abs().max()
