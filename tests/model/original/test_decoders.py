"""Tokenizers of LLaVA's own layout: `tokenizer.model` alone gives the ids of sentencepiece itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import sentencepiece
import torch
from family_checks import EXPRESSIONS, picture
from llava_layout import make, write
from tiny_models import CORPUS, make_tokenizer
from transformers import PreTrainedTokenizerFast

from locheads.model.attention import capture
from locheads.model.loading import load_lvlm, varied
from locheads.model.lvlm import Lvlm
from locheads.model.prompts import SYSTEM

PUBLISHED = {"legacy": False, "tokenizer_class": "LlamaTokenizer", "add_bos_token": True}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint as LLaVA-1.5 was published: `tokenizer.model`, and `<unk>` as padding."""
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu")
    (folder / "tokenizer.json").unlink()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        normalization_rule_name="identity",  # as LLaMA's was trained
        remove_extra_whitespaces=False,
        pad_id=-1,
        minloglevel=2,
    )
    (folder / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<unk>", "unk_token": "<unk>"}))
    settings(folder, PUBLISHED | {"pad_token": "<unk>"})
    return folder


def settings(folder: Path, said: dict[str, object]) -> None:
    (folder / "tokenizer_config.json").write_text(json.dumps(said))


def ids_of(lvlm: Lvlm, expression: str) -> list[int]:
    return (
        varied(lvlm, query="word").encode([picture((60, 40))], [expression]).inputs["input_ids"][0].tolist()
    )


def expected(folder: Path, expression: str, image: int) -> list[int]:
    """The ids of sentencepiece: the prompt up to the image, 36 image tokens, newline and expression."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    space = pieces.piece_to_id("▁")
    before = [pieces.bos_id(), *pieces.encode(SYSTEM + "\n")]
    after = pieces.encode("\n" + expression)
    assert after[0] == space and "\n" not in "".join(CORPUS)
    return [*before, *[image] * 36, *after[1:]]


@pytest.mark.parametrize("said", [PUBLISHED | {"pad_token": "<unk>"}, {"pad_token": "<unk>"}, {}])
def test_the_ids_are_those_of_sentencepiece(said: dict[str, object], folder: Path) -> None:
    settings(folder, said)
    lvlm = load_lvlm(str(folder))
    assert not (folder / "tokenizer.json").exists()
    for expression in EXPRESSIONS:
        assert ids_of(lvlm, expression) == expected(folder, expression, lvlm.model.config.image_token_id)


def test_a_checkpoint_that_says_so_gets_no_first_token(folder: Path) -> None:
    """As Yi-VL's tokenizer says."""
    settings(folder, PUBLISHED | {"pad_token": "<unk>", "add_bos_token": False})
    lvlm = load_lvlm(str(folder))
    assert ids_of(lvlm, "the ring") == expected(folder, "the ring", lvlm.model.config.image_token_id)[1:]


def test_padding_with_the_unknown_token_is_no_unknown_word(folder: Path) -> None:
    lvlm = load_lvlm(str(folder))
    assert lvlm.processor.tokenizer.pad_token == lvlm.processor.tokenizer.unk_token == "<unk>"
    images = [picture((120, 80), seed) for seed in range(3)]
    together = capture(lvlm, images, EXPRESSIONS)
    for one, image, expression in zip(together, images, EXPRESSIONS, strict=True):
        alone = capture(lvlm, [image], [expression])[0]
        torch.testing.assert_close(one, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("scheme", ["prepended", "always"])
def test_both_layouts_have_no_space_token_behind_the_image(scheme: str, folder: Path, tmp_path: Path) -> None:
    """The hub's `tokenizer.json` puts a space behind every special token."""
    lvlm = load_lvlm(str(folder))
    new = tmp_path / "new"
    lvlm.model.save_pretrained(new)
    lvlm.processor.save_pretrained(new)
    file = new / "tokenizer.json"
    made = json.loads(file.read_text())
    if scheme == "prepended":
        replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
        made["normalizer"] = {
            "type": "Sequence",
            "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace],
        }
        made["pre_tokenizer"] = None
    else:
        made["pre_tokenizer"]["prepend_scheme"] = "always"
    file.write_text(json.dumps(made))
    plain = PreTrainedTokenizerFast(tokenizer_file=str(file))
    after = plain("the\n<image>\nring", add_special_tokens=False)["input_ids"]
    assert plain.convert_ids_to_tokens(after)[3:5] == ["▁", "<0x0A>"]
    both = load_lvlm(str(new))
    for expression in EXPRESSIONS:
        assert ids_of(both, expression) == ids_of(lvlm, expression)
        assert lvlm.processor.tokenizer.decode(ids_of(both, expression)).endswith(f"<image>\n{expression}")
    images = [picture((120, 80), seed) for seed in range(3)]
    torch.testing.assert_close(
        capture(both, images, EXPRESSIONS), capture(lvlm, images, EXPRESSIONS), atol=0, rtol=0
    )
