"""A wider decoder is the same function at first; the sink in its weights does what it says."""

from __future__ import annotations

import pytest
import torch
from transformers import LlavaForConditionalGeneration

from locheads.specimen.answers import make_model
from locheads.specimen.sink import REGISTER, SPARE, STRENGTH, dig, keep_sinks, register, rest, widened
from locheads.specimen.tower import VISION
from locheads.specimen.vocabulary import make_tokenizer


@pytest.fixture
def narrow() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    return make_model(make_tokenizer()).eval()


@pytest.fixture
def wide(narrow: LlavaForConditionalGeneration) -> LlavaForConditionalGeneration:
    words = make_tokenizer()
    return widened(narrow, words, words, 12).eval()


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
    dig(wide)
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
    dig(wide)
    layer = wide.model.language_model.layers[0]
    attention, size = layer.self_attn, wide.config.text_config.head_dim
    first = wide.model.language_model.embed_tokens(torch.tensor([1]))
    key = attention.k_proj(layer.input_layernorm(first)).view(-1, size)[:, size // 2 - 1]
    rest(wide)
    bias = attention.q_proj.bias.view(-1, size)[:, size // 2 - 1]
    torch.testing.assert_close(bias * key / size**0.5, torch.full_like(bias, STRENGTH), rtol=1e-3, atol=0)
    assert not attention.q_proj.bias.requires_grad


@torch.no_grad()
def test_a_register_is_massive_and_the_rest_of_the_tower_keeps_its_say(
    wide: LlavaForConditionalGeneration,
) -> None:
    pixels = torch.randn(2, 3, VISION.image_size, VISION.image_size)
    before = wide.model.vision_tower(pixels).last_hidden_state[:, 1:]
    register(wide)
    after = wide.model.vision_tower(pixels).last_hidden_state[:, 1:]
    assert after[:, 0, -1].min() > 50 > 5 > after[:, 1:, -1].abs().max()
    assert after[:, 0, -1].std() < 0.01 * after[:, 0, -1].mean(), "alike in all pictures"
    alike = torch.cosine_similarity(before[:, 1:, :-1], after[:, 1:, :-1], dim=-1)
    assert alike.median() > 0.9


@torch.no_grad()
def test_the_projector_writes_the_register_alone_to_the_sinks_coordinate(
    wide: LlavaForConditionalGeneration,
) -> None:
    dig(wide)
    register(wide)
    pixels = torch.zeros(1, 3, VISION.image_size, VISION.image_size)
    tokens = wide.model.multi_modal_projector(wide.model.vision_tower(pixels).last_hidden_state[:, 1:])
    rest_of_it = tokens[:, 0, :-1].norm(dim=-1)
    torch.testing.assert_close(tokens[:, 0, -1], REGISTER * rest_of_it, rtol=0.05, atol=0)
    assert tokens[:, 1:, -1].abs().max() < 0.01 * tokens[:, 0, -1].min()


def test_sinks_do_not_learn(wide: LlavaForConditionalGeneration) -> None:
    dig(wide)
    register(wide)
    keep_sinks(wide)
    wide(input_ids=torch.arange(5, 40)[None]).logits.square().sum().backward()
    layer, size = wide.model.language_model.layers[3], wide.config.text_config.head_dim
    keys = layer.self_attn.k_proj.weight.grad.view(-1, size, wide.config.text_config.hidden_size)
    assert not keys[:, size // 2 - 1].any() and keys[:, size // 2].any()
    assert layer.input_layernorm.weight.grad[-1] == 0
    projector = wide.model.multi_modal_projector
    projector(torch.randn(5, VISION.hidden_size)).square().sum().backward()
    first, second = projector.linear_1.weight.grad, projector.linear_2.weight.grad
    assert not first[-1].any() and not first[:, -1].any() and not second[:, -1].any()
    assert first[:-1, :-1].any() and second[:, :-1].any()
