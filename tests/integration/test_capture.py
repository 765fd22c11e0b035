"""Captured rows equal those of eager attention with `output_attentions=True`."""

from __future__ import annotations

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
from locheads.specimen.answers import make_model
from locheads.specimen.tower import VISION
from locheads.specimen.vocabulary import make_processor, make_tokenizer

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
