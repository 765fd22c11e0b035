"""Processors as published long ago give the maps of complete ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import sentencepiece
import torch
from family_checks import EXPRESSIONS, picture
from tiny_models import CORPUS, save
from transformers import LlavaConfig, LlavaForConditionalGeneration

from locheads.errors import LocheadsError
from locheads.model.attention import capture
from locheads.model.loading import load_lvlm

OLD = ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save("llava", tmp_path / "llava")


def maps(folder: Path) -> torch.Tensor:
    lvlm = load_lvlm(str(folder))
    return capture(lvlm, [picture((120, 80), seed) for seed in range(3)], EXPRESSIONS)


def edit(path: Path, **values: object) -> None:
    """Sets keys of a JSON file; a value of None removes the key."""
    settings = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


@pytest.mark.parametrize("without", [OLD[:1], OLD[1:2], OLD[2:], OLD])
def test_what_the_processor_lacks_is_the_models(folder: Path, without: tuple[str, ...]) -> None:
    right = maps(folder)
    edit(folder / "processor_config.json", **dict.fromkeys(without))
    torch.testing.assert_close(maps(folder), right, atol=0, rtol=0)


def test_a_tokenizer_without_a_padding_token_pads_unseen(folder: Path) -> None:
    right = maps(folder)
    edit(folder / "tokenizer_config.json", pad_token=None)
    torch.testing.assert_close(maps(folder), right, atol=0, rtol=0)


def test_a_padding_token_that_is_the_unknown_one_is_no_unknown_word(folder: Path) -> None:
    right = maps(folder)
    edit(folder / "tokenizer_config.json", pad_token="<pad>", unk_token="<pad>")
    torch.testing.assert_close(maps(folder), right, atol=0, rtol=0)
    lvlm = load_lvlm(str(folder))
    inputs = lvlm.prompted([picture((60, 40))] * 3, EXPRESSIONS)
    assert (inputs["input_ids"] == lvlm.processor.tokenizer.unk_token_id).any()


def test_an_unknown_word_is_still_named(tmp_path: Path) -> None:
    lvlm = load_lvlm("specimen")
    with pytest.raises(LocheadsError, match="does not know the word 'giraffe'"):
        capture(lvlm, [picture((60, 40))], ["the red giraffe"])


def test_a_sentencepiece_model_is_enough_of_a_tokenizer(tmp_path: Path) -> None:
    """LLaVA-1.5 of the hub as first published: `tokenizer.model`, no `tokenizer.json`."""
    folder = save("llava", tmp_path / "fast")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS * 20),
        model_prefix=str(folder / "tokenizer"),
        model_type="bpe",
        vocab_size=330,
        byte_fallback=True,
        user_defined_symbols=["<image>"],
        pad_id=-1,
        minloglevel=2,
    )
    made = {"tokenizer_class": "LlamaTokenizer", "pad_token": "<unk>", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(made | {"bos_token": "<s>", "eos_token": "</s>"})
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    config = LlavaConfig.from_pretrained(folder)
    config.text_config.vocab_size = 400
    config.image_token_index = pieces.piece_to_id("<image>")
    torch.manual_seed(0)
    shutil.rmtree(folder / "model.safetensors", ignore_errors=True)
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    assert not (folder / "tokenizer.json").exists()
    lvlm = load_lvlm(str(folder), query="word")
    ids = lvlm.encode([picture((60, 40))], EXPRESSIONS[:1]).inputs["input_ids"][0]
    after = ids[int((ids == config.image_token_index).nonzero()[-1]) + 1 :].tolist()
    assert lvlm.processor.tokenizer.decode(after).strip() == EXPRESSIONS[0]
    assert after[-len(pieces.encode(EXPRESSIONS[0])) + 1 :] == pieces.encode(EXPRESSIONS[0])[1:]
    assert maps(folder).shape == (3, 3, 4, 6, 6)
