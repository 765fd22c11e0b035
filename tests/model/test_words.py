"""The row of a word is that of the text which ends there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from locheads.errors import LocheadsError
from locheads.model.attention import capture
from locheads.model.loading import load_lvlm, varied
from locheads.model.lvlm import Lvlm
from locheads.model.words import WORD, capture_words, word_ends
from locheads.specimen.answers import make_model
from locheads.specimen.tower import VISION
from locheads.specimen.vocabulary import make_processor, make_tokenizer

HEADS = [(3, 1), (0, 2), (3, 0)]


@pytest.fixture(scope="module")
def lvlm(tmp_path_factory: pytest.TempPathFactory) -> Lvlm:
    torch.manual_seed(3)
    path: Path = tmp_path_factory.mktemp("random-llava")
    model = make_model(make_tokenizer())
    for layer in model.model.language_model.layers:
        layer.self_attn.q_proj.weight.data *= 4
    model.config.text_config.max_position_embeddings = 700
    model.save_pretrained(path)
    make_processor(VISION.image_size, VISION.patch_size).save_pretrained(path)
    return load_lvlm(str(path), prompt="plain", query="word")


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))


def test_a_words_row_is_that_of_the_text_up_to_it(lvlm: Lvlm, image: Image.Image) -> None:
    found = capture_words(lvlm, image, "the red ring and the star", HEADS)
    assert found.words == ("the", "red", "ring", "and", "the", "star")
    assert found.maps.shape == (6, 3, *lvlm.grid)
    for number in range(6):
        text = " ".join(found.words[: number + 1])
        (alone,) = capture(lvlm, [image], [text], HEADS).numpy()
        np.testing.assert_allclose(found.maps[number], alone, atol=1e-6)
    assert np.abs(found.maps[2] - found.maps[5]).max() > 1e-3  # rows differ


def test_a_period_is_a_mark_of_its_own_and_ends_the_text(lvlm: Lvlm, image: Image.Image) -> None:
    period = varied(lvlm, query="period")
    found = capture_words(period, image, "the red ring", HEADS)
    assert found.words == ("the", "red", "ring", ".")
    (asked,) = capture(period, [image], ["the red ring"], HEADS).numpy()
    np.testing.assert_allclose(found.maps[-1], asked, atol=1e-6)


def ends(text: str, *pieces: str) -> list[int]:
    """Where the words of a text end among tokens that are pieces of words."""
    ids = list(range(len(pieces)))
    return word_ends(lambda some: "".join(pieces[number] for number in some), ids, WORD.findall(text))


def test_words_of_several_tokens_end_at_their_last_one() -> None:
    pieces = ("USER:", "\n", "the", " cre", "sc", "ent", " twice-", "seen", ".")
    assert ends("the crescent twice-seen.", *pieces) == [2, 5, 7, 8]


def test_the_last_of_equal_words_and_repeated_texts_count() -> None:
    assert ends("the ring", "the", " ring", " the", " ring") == [2, 3]


def test_a_text_that_is_not_at_the_end_is_refused() -> None:
    with pytest.raises(LocheadsError, match="'the ring': its words cannot be found"):
        ends("the ring", "the", " ring", " ASSISTANT:")
