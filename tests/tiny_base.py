"""What all tiny models share: sizes, a tokenizer, a decoder's configuration."""

from __future__ import annotations

import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedModel, PreTrainedTokenizerFast, ProcessorMixin

TEXT = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 12,
    "max_position_embeddings": 2048,
    "initializer_range": 0.3,
}
VISION = {
    "hidden_size": 48,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "image_size": 48,
    "patch_size": 8,
}
SQUARE = {"height": 48, "width": 48}
CHAT = (
    "{% for m in messages %}<|user|>{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<|user|>", "<|end|>", "<|assistant|>"]
CORPUS = [
    "the red ring on the left of the small striped object",
    "A chat between a curious user and an assistant.",
]


def make_tokenizer(image: str, *special: str, **attributes: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: it knows every word, most of them in pieces."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokens = [*SPECIAL, image, *special]
    bpe.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=340, special_tokens=tokens, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        chat_template=CHAT.replace("IMAGE", attributes.pop("chat_image", image)),
        additional_special_tokens=[image, *special],
        extra_special_tokens=attributes,
    )


def text_of(tokenizer: PreTrainedTokenizerFast, kind: str = "LlamaConfig", **changes: object) -> object:
    known = {
        "vocab_size": len(tokenizer) + 3,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    return getattr(transformers, kind)(**TEXT | known | changes)


Made = tuple[PreTrainedModel, ProcessorMixin]
