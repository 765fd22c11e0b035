"""A frozen vision-language model: its prompt, where its image tokens lie and what grid they form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import locheads._torchvision  # noqa: F401

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin
from transformers.utils.logging import disable_progress_bar

from locheads.errors import LocheadsError
from locheads.geometry import Window
from locheads.specimen.weights import WEIGHTS, verify

PROMPT = "<image>\n{expression}"
"""Image, newline, expression and nothing after it, as in the paper's release, less its system sentence."""


@dataclass(frozen=True)
class Encoded:
    """A batch as the model takes it.

    Attributes:
        inputs: Keyword arguments of the model's forward pass; texts are padded on the right.
        image_tokens: Where the image tokens stand, in raster order, `batch × (rows · columns)`.
        query: Where the last text token stands, `batch`.
    """

    inputs: dict[str, torch.Tensor]
    image_tokens: torch.Tensor
    query: torch.Tensor


@dataclass(frozen=True)
class Lvlm:
    """A model, its processor and its prompt."""

    name: str
    model: PreTrainedModel
    processor: ProcessorMixin
    prompt: str = PROMPT

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the image tokens."""
        vision = self.model.config.vision_config
        side = vision.image_size // vision.patch_size
        return side, side

    @property
    def layers(self) -> int:
        """Decoder layers."""
        return self.model.config.get_text_config().num_hidden_layers

    @property
    def heads(self) -> int:
        """Attention heads a layer."""
        return self.model.config.get_text_config().num_attention_heads

    def window(self, size: tuple[int, int]) -> Window:
        """Which part of an image of `(width, height)` pixels the grid covers."""
        cropped = self.processor.image_processor.do_center_crop
        return (Window.resize_and_crop if cropped else Window.stretch)(size, self.grid)

    def encode(self, images: Sequence[Image.Image], expressions: Sequence[str]) -> Encoded:
        """Put images and expressions into the prompt.

        Raises:
            LocheadsError: An expression is empty, too long, or has words the model does not know.
        """
        for expression in expressions:
            if not expression.strip():
                raise LocheadsError(
                    "the expression is empty; say what to look for, for example 'the red ring'"
                )
        texts = [self.prompt.format(expression=expression.strip()) for expression in expressions]
        batch = self.processor(
            images=list(images), text=texts, padding=True, padding_side="right", return_tensors="pt"
        )
        self._check_words(batch["input_ids"], expressions)
        self._check_length(batch["attention_mask"], expressions)
        inputs = {name: tensor.to(self.model.device) for name, tensor in batch.items()}
        return Encoded(inputs, self._image_tokens(batch["input_ids"]), batch["attention_mask"].sum(1) - 1)

    def _check_words(self, ids: torch.Tensor, expressions: Sequence[str]) -> None:
        tokenizer = self.processor.tokenizer
        for row, expression in zip(ids, expressions, strict=True):
            if tokenizer.unk_token_id is not None and (row == tokenizer.unk_token_id).any():
                known = tokenizer.get_vocab()
                unknown = [word for word in expression.split() if word not in known]
                raise LocheadsError(
                    f"'{expression}': the model {self.name} does not know the word '{unknown[0]}'; "
                    "its words are those of its tokenizer.json"
                )

    def _check_length(self, mask: torch.Tensor, expressions: Sequence[str]) -> None:
        most = self.model.config.get_text_config().max_position_embeddings
        for length, expression in zip(mask.sum(1).tolist(), expressions, strict=True):
            if length > most:
                raise LocheadsError(
                    f"'{expression[:40]}…': {length} tokens with image and prompt, the model {self.name} "
                    f"takes {most}; shorten the expression"
                )

    def _image_tokens(self, ids: torch.Tensor) -> torch.Tensor:
        rows, columns = self.grid
        is_image = ids == self.model.config.image_token_id
        if not (is_image.sum(1) == rows * columns).all():
            raise LocheadsError(
                f"{self.name}: the processor writes {is_image.sum(1).tolist()} image tokens, the grid "
                f"is {rows}×{columns}; processor and model do not belong together"
            )
        return is_image.nonzero()[:, 1].view(len(ids), -1)


def load_lvlm(name: str = "specimen", device: str = "cpu", dtype: str = "float32") -> Lvlm:
    """Load a model for capture; its decoder runs on `locheads.capture`'s attention.

    Args:
        name: `specimen`, or a folder or hub name of a LLaVA model in transformers' layout.
        device: A torch device.
        dtype: A torch floating type.

    Raises:
        LocheadsError: There is no such model, or the specimen's weights are not those of its card.
    """
    from locheads.capture import ATTENTION

    folder = WEIGHTS / "lvlm" if name == "specimen" else name
    if name == "specimen":
        verify(WEIGHTS / "lvlm")
    disable_progress_bar()
    try:
        processor = AutoProcessor.from_pretrained(folder)
        model = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation={"text_config": ATTENTION}
        )
    except (OSError, ValueError) as error:
        raise LocheadsError(
            f"model '{name}' cannot be loaded ({str(error).splitlines()[0]}); "
            "give 'specimen', a folder in transformers' layout, or a hub name"
        ) from error
    return Lvlm(name, model.to(device).eval(), processor)
