"""Captured rows equal those of eager attention with `output_attentions=True`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import locheads._torchvision  # noqa: F401

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

from locheads.capture import capture
from locheads.errors import LocheadsError
from locheads.lvlm import Lvlm, load_lvlm
from locheads.prefix import capture_image
from locheads.specimen.answers import make_model
from locheads.specimen.tower import VISION
from locheads.specimen.vocabulary import make_processor, make_tokenizer

Run = Callable[..., torch.Tensor]
EXPRESSIONS = ["the ring", "the small striped object on the left", "second red star from the right"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of the specimen's architecture with random weights, sharp enough to attend unevenly."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("random-llava")
    model = make_model(make_tokenizer())
    for layer in model.model.language_model.layers:
        layer.self_attn.q_proj.weight.data *= 4
    model.config.text_config.max_position_embeddings = 700
    model.save_pretrained(path)
    make_processor(VISION.image_size, VISION.patch_size).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def lvlm(folder: Path) -> Lvlm:
    return load_lvlm(str(folder), prompt="plain")


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)) for _ in EXPRESSIONS]


def test_rows_equal_eager_attention(folder: Path, lvlm: Lvlm, images: list[Image.Image]) -> None:
    eager = LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    maps = capture(lvlm, images, EXPRESSIONS)
    assert maps.shape == (3, 8, 8, *lvlm.grid)
    for i, (image, expression) in enumerate(zip(images, EXPRESSIONS, strict=True)):
        inputs = lvlm.processor(images=image, text=f"<image>\n{expression}", return_tensors="pt")
        is_image = inputs["input_ids"][0] == eager.config.image_token_id
        with torch.no_grad():
            attentions = eager(**inputs, output_attentions=True).attentions
        expected = torch.stack([layer[0, :, -1, is_image] for layer in attentions])
        assert expected.std() > 1e-4
        torch.testing.assert_close(maps[i].flatten(-2), expected, atol=1e-5, rtol=0)


def test_a_batch_changes_nothing(lvlm: Lvlm, images: list[Image.Image]) -> None:
    together = capture(lvlm, images, EXPRESSIONS)
    alone = torch.cat([capture(lvlm, [i], [e]) for i, e in zip(images, EXPRESSIONS, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("run", [capture, lambda lvlm, images, *rest: capture_image(lvlm, images[0], *rest)])
def test_no_layer_above_the_deepest_is_computed(lvlm: Lvlm, images: list[Image.Image], run: Run) -> None:
    layers = lvlm.model.model.language_model.layers
    done: list[int] = []
    hooks = [
        part.register_forward_hook(lambda *_, number=number: done.append(number))
        for number, layer in enumerate(layers)
        for part in (layer.self_attn.q_proj, layer.mlp)
    ]
    hooks.append(lvlm.model.lm_head.register_forward_hook(lambda *_: done.append(-1)))
    run(lvlm, images, EXPRESSIONS, [(2, 1), (0, 3)])
    for hook in hooks:
        hook.remove()
    passes = 1 if run is capture else 2
    assert done == passes * [0, 0, 1, 1, 2]


def test_the_vision_encoder_reads_a_shared_image_once(lvlm: Lvlm, images: list[Image.Image]) -> None:
    seen: list[int] = []
    hook = lvlm.model.model.vision_tower.register_forward_hook(lambda *_: seen.append(1))
    capture_image(lvlm, images[0], EXPRESSIONS)
    hook.remove()
    assert seen == [1]


def test_heads_that_are_not_there_are_refused(lvlm: Lvlm, images: list[Image.Image]) -> None:
    for run in (capture, lambda *given: capture_image(given[0], images[0], *given[2:])):
        with pytest.raises(LocheadsError, match="no head L9H1: there are 8 layers of 8 heads"):
            run(lvlm, images, EXPRESSIONS, [(0, 0), (9, 1)])
        with pytest.raises(LocheadsError, match="give at least one"):
            run(lvlm, images, EXPRESSIONS, [])


def test_the_output_is_that_of_plain_attention(folder: Path, lvlm: Lvlm, images: list[Image.Image]) -> None:
    plain = LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="sdpa").eval()
    inputs = lvlm.encode(images, EXPRESSIONS).inputs
    with torch.no_grad():
        torch.testing.assert_close(lvlm.model(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (" ", "empty"),
        ("the unicorn", "does not know the word 'unicorn'"),
        ("the red " * 400 + "ring", "shorten the expression"),
    ],
)
def test_unusable_expressions_are_refused(
    lvlm: Lvlm, images: list[Image.Image], expression: str, message: str
) -> None:
    with pytest.raises(LocheadsError, match=message):
        capture(lvlm, images[:1], [expression])


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocheadsError, match="cannot be loaded"):
        load_lvlm(str(tmp_path / "nothing"))
