"""The specimen's tokenizer and processor: one token a word."""

from __future__ import annotations

from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

from locheads.data.scenes import expressions
from locheads.data.scenes.scenes import COLORS, RADII, SHAPES, TEXTURES

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")


def words() -> list[str]:
    """All words an expression or an answer can hold, sorted."""
    phrases = [*COLORS, *RADII, *SHAPES, *TEXTURES, *expressions.PHRASES]
    return sorted({word for phrase in phrases for word in phrase.split()})


def make_tokenizer() -> PreTrainedTokenizerFast:
    """A word-level tokenizer that begins every text with `<s>`."""
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
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


def make_processor(image_side: int, patch: int) -> LlavaProcessor:
    """The processor of the specimen: the picture stretched to a square, CLIP's normalisation."""
    return LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"height": image_side, "width": image_side},
            crop_size={"height": image_side, "width": image_side},
            do_center_crop=False,
        ),
        tokenizer=make_tokenizer(),
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token="<image>",
    )
