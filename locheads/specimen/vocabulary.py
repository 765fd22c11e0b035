"""The specimen's tokenizer and processor: one token per word, and one for a period."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

from locheads.data.scenes import expressions
from locheads.data.scenes.scenes import COLORS, RADII, SHAPES, TEXTURES
from locheads.model.prompts import SPECIMEN_SYSTEM

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
STOP = "."
"""Ends a sentence; as in LLaVA's prompts it is the token after which an answer begins."""
NUMBERS = ("zero", "one", "two", "three", "four", "five")
COUNT, DESCRIBE, READ = "how many", "describe the picture", "read"
"""How the other jobs begin: counting, captions, questions on a text."""


def words() -> list[str]:
    """All words that a text can hold, sorted."""
    jobs = [STOP, *NUMBERS, COUNT, DESCRIBE, READ, SPECIMEN_SYSTEM]
    phrases = [*COLORS, *RADII, *SHAPES, *TEXTURES, *expressions.PHRASES, *jobs]
    return sorted({word for phrase in phrases for word in phrase.split()})


def make_tokenizer(more: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A word-level tokenizer that begins every text with `<s>`; `more` words follow those of `words`."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *words(), *more])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation()]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", vocabulary["<s>"])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )


def make_processor(image_side: int, patch: int, more: Sequence[str] = ()) -> LlavaProcessor:
    """The processor of the specimen: the picture stretched to a square, CLIP's normalisation."""
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"height": image_side, "width": image_side},
            crop_size={"height": image_side, "width": image_side},
            do_center_crop=False,
        ),
        tokenizer=make_tokenizer(more),
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
    )
