"""Decoders that LLaVA's own layout is known with: their configuration and tokenizer."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import normalizers, pre_tokenizers
from transformers import (
    AutoTokenizer,
    GemmaConfig,
    GemmaTokenizer,
    LlamaConfig,
    LlamaTokenizer,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen3Config,
)

from locheads.errors import LocheadsError
from locheads.model.checkpoint import quiet

DECODERS: dict[str, type[PreTrainedConfig]] = {
    "Llama": LlamaConfig,
    "Mistral": MistralConfig,
    "Qwen2": Qwen2Config,
    "Qwen": Qwen2Config,  # LlavaQwenForCausalLM is a Qwen2; a Qwen of 2023 has keys that are refused
    "Qwen3": Qwen3Config,
    "Gemma": GemmaConfig,
}
"""Word before `ForCausalLM` in `architectures` → configuration of the decoder."""

_FOREIGN = ("model_type", "architectures", "transformers_version", "_name_or_path", "torch_dtype", "dtype")


def config_of(name: str, raw: Mapping[str, Any], vocabulary: int) -> PreTrainedConfig:
    """Returns the decoder's configuration out of a `config.json` in LLaVA's own layout.

    Args:
        name: Name of the model, for messages.
        raw: The `config.json`.
        vocabulary: Rows of the embedding.

    Raises:
        LocheadsError: `architectures` does not name one of `DECODERS`.
    """
    architecture = str(next(iter(raw.get("architectures") or ()), "none"))
    found = re.search(rf"({'|'.join(sorted(DECODERS, key=len, reverse=True))})ForCausalLM$", architecture)
    if found is None:
        raise LocheadsError(
            f"model '{name}': architectures in its config.json is {architecture}, and LLaVA's own layout "
            f"is known with {', '.join(DECODERS)} alone; "
            "take a checkpoint in transformers' layout, often named '…-hf'"
        )
    kind = DECODERS[found[1]]
    known = (set(kind().to_dict()) | {"rope_theta", "rope_scaling"}) - set(_FOREIGN)
    text = {key: value for key, value in raw.items() if key in known}
    if (text.get("pad_token_id") or 0) < 0:
        text["pad_token_id"] = None
    return kind(**text | {"vocab_size": vocabulary})


def tokenizer_of(folder: Path, decoder: PreTrainedConfig) -> PreTrainedTokenizerBase:
    """Loads the tokenizer of a checkpoint; `tokenizer.model` alone is read by the decoder's class.

    transformers would read a `tokenizer.model` of an unknown model without its first token and its newlines.
    """
    if (folder / "tokenizer.json").is_file() or not (folder / "tokenizer.model").is_file():
        with quiet():
            return AutoTokenizer.from_pretrained(folder)
    kind = GemmaTokenizer if decoder.model_type == "gemma" else LlamaTokenizer
    file = folder / "tokenizer_config.json"
    said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    options = {} if "add_bos_token" in said else {"add_bos_token": True}
    with quiet():
        return kind.from_pretrained(folder, **options)


def without_inner_space(tokenizer: PreTrainedTokenizerBase) -> None:
    """Keeps a Llama tokenizer from putting a space token (`▁`, 29871) behind the image.

    Such a tokenizer begins a text with a space. Some published settings do so again after every special
    token, some do not; the paper's release filters the token out. Without it both layouts give one input.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return
    metaspace = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="first", split=False)
    if isinstance(backend.pre_tokenizer, pre_tokenizers.Metaspace):
        if backend.pre_tokenizer.prepend_scheme == "always":
            backend.pre_tokenizer = metaspace
    elif "Prepend" in repr(backend.normalizer) and backend.pre_tokenizer is None:
        backend.normalizer = normalizers.Sequence([])
        backend.pre_tokenizer = metaspace
