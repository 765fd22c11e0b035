"""Wraps a frozen vision-language model with its prompt: encodes inputs, finds image tokens and their grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from math import isqrt
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from transformers import PreTrainedModel, ProcessorMixin

from locheads.data.pictures import to_rgb
from locheads.data.samples import Sample, true_mask
from locheads.errors import LocheadsError
from locheads.method.geometry import Window
from locheads.model.families import Family, own_window
from locheads.model.grids import report_of
from locheads.model.prompts import Query, own_tokens, tokens_after, up_to_query, worded

Fit = Literal["own", "pad", "stretch", "crop"]
"""How an image is brought to the encoder's size: by the processor (`own`), or made square before."""


SOFTMAX = ("full_attention", "sliding_attention", "chunked_attention")
"""Kinds of layers whose attention is a softmax over the tokens, as transformers names them."""


@dataclass(frozen=True)
class Encoded:
    """An encoded batch.

    Attributes:
        inputs: Keyword arguments of the model's forward pass; texts are padded on the right.
        image_tokens: Positions of the image tokens of each grid, in raster order, `batch × cells`; rows with
            fewer cells than the longest are filled up with zeros. Where maps are carried back, of all visual
            tokens.
        grids: Rows and columns of each image's grid.
        query: Position of the query token, `batch`.
    """

    inputs: dict[str, torch.Tensor]
    image_tokens: torch.Tensor
    grids: tuple[tuple[int, int], ...]
    query: torch.Tensor


@dataclass(frozen=True)
class Lvlm:
    """A model with its processor, prompt and preprocessing; `loading.load_lvlm` explains the settings.

    `image` is the placeholder of the image in this model's texts.
    """

    name: str
    model: PreTrainedModel
    processor: ProcessorMixin
    prompt: str
    family: Family | None = None
    fit: Fit = "own"
    image_size: int | None = None
    query: Query = "period"
    image: str = ""
    _grids: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Returns rows and columns of the grid of image tokens.

        Raises:
            LocheadsError: The grid depends on the image.
        """
        if self.fit == "own" and self.dynamic:
            raise LocheadsError(
                f"{self.name}: with fit 'own' the grid depends on the picture; take fit 'pad' or 'stretch'"
            )
        return self._grid_of((64, 64))

    @property
    def dynamic(self) -> bool:
        """Returns whether the processor resizes a picture to a grid that depends on the picture."""
        if self.family:
            return self.family.cells is None
        return bool(report_of(self.processor)) or self._grid_of((64, 64)) != self._grid_of((192, 192))

    @property
    def carried(self) -> str | None:
        """Returns what maps are carried back through, such as "Q-Former"; None: image tokens are cells."""
        return self.family.resampler.name if self.family and self.family.resampler else None

    @cached_property
    def _own_tokens(self) -> tuple[str, ...]:
        return own_tokens(self.processor)

    @cached_property
    def attending(self) -> tuple[int, ...]:
        """Returns the decoder layers with softmax attention, not linear attention or convolution.

        Heads are counted by them: layer 1 of maps and heads is the model's own layer `attending[1]`.
        """
        config = self.model.config.get_text_config()
        kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
        return tuple(layer for layer, kind in enumerate(kinds) if kind in SOFTMAX)

    @property
    def layers(self) -> int:
        """Returns the number of decoder layers with softmax attention, see `attending`."""
        return len(self.attending)

    @property
    def heads(self) -> int:
        """Returns the number of attention heads per layer."""
        return self.model.config.get_text_config().num_attention_heads

    def window(self, size: tuple[int, int]) -> Window:
        """Returns the part of an image of `(width, height)` pixels that the grid covers."""
        grid = self._grid_of(size)
        if self.fit == "own":
            return own_window(self.family, self.processor.image_processor, size, grid)
        ways = {"pad": Window.pad_to_square, "stretch": Window.stretch, "crop": Window.crop_to_square}
        return ways[self.fit](size, grid)

    def encode(self, images: Sequence[Image.Image], expressions: Sequence[str]) -> Encoded:
        """Encodes images and expressions with the prompt.

        Raises:
            LocheadsError: An expression is empty, too long, or has words the model does not know; or the
                number of image tokens does not match the grid.
        """
        batch = self._processed(images, self.texts(expressions))
        query = self.queries(batch["input_ids"], batch["attention_mask"].sum(1), expressions)
        inputs = {name: self._placed(tensor) for name, tensor in batch.items()}
        grids = self._read_grids(batch)
        return Encoded(inputs, self._image_tokens(batch["input_ids"], grids), grids, query)

    def prompted(self, images: Sequence[Image.Image], expressions: Sequence[str]) -> dict[str, torch.Tensor]:
        """Returns keyword arguments of `generate` for images and expressions; texts are padded on the left.

        No period is appended, whatever the query: the expression may stand within a request.

        Raises:
            LocheadsError: An expression is empty or has words the model does not know.
        """
        batch = self._processed(images, self.texts(expressions, "word"), "left")
        kept = batch["attention_mask"].bool()
        self._check_words(
            [row[keep] for row, keep in zip(batch["input_ids"], kept, strict=True)], expressions
        )
        return {name: self._placed(tensor) for name, tensor in batch.items()}

    def texts(self, expressions: Sequence[str], query: Query | None = None) -> list[str]:
        """Fills the prompt with each expression, worded for `query`; None: for the model's own.

        Raises:
            LocheadsError: An expression is empty, or contains one of the model's own tokens.
        """
        if not all(expression.strip() for expression in expressions):
            raise LocheadsError("the expression is empty; say what to look for, for example 'the red ring'")
        for expression in expressions:
            own = next((token for token in self._own_tokens if token in expression), None)
            if own is not None:
                raise LocheadsError(
                    f"'{expression}': '{own}' is a token of the model {self.name} itself, not text; "
                    "leave it out of the expression"
                )
        return [
            self.prompt.replace("{expression}", worded(text, query or self.query)) for text in expressions
        ]

    def queries(
        self, ids: torch.Tensor, lengths: torch.Tensor, expressions: Sequence[str]
    ) -> Int[torch.Tensor, " batch"]:
        """Returns the position of the query token in each text, after checking words and length.

        Args:
            ids: Token ids, `batch × longest`, padded on the right.
            lengths: Number of tokens of each text without padding, `batch`.
            expressions: The expression of each text.

        Raises:
            LocheadsError: A text is too long, has words the model does not know, or does not end as the
                prompt does.
        """
        texts = [row[:length] for row, length in zip(ids, lengths.tolist(), strict=True)]
        self._check_words(texts, expressions)
        self._check_length(lengths, expressions)
        return lengths - 1 - self._after(ids, lengths, expressions)

    def _processed(
        self, images: Sequence[Image.Image], texts: list[str], side: Literal["left", "right"] = "right"
    ) -> Mapping[str, Any]:
        batch = self.processor(
            images=[[self._fitted(image)] for image in images],
            text=texts,
            padding=True,
            padding_side=side,
            return_tensors="pt",
            **(self.family.options if self.family else {}),
        )
        batch.pop("labels", None)
        return batch

    def _placed(self, tensor: torch.Tensor) -> torch.Tensor:
        dtype = self.model.dtype if tensor.is_floating_point() else None
        return tensor.to(self.model.device, dtype)

    def _fitted(self, image: Image.Image) -> Image.Image:
        """Returns the image that the processor gets: RGB, made square unless the fit is `own`."""
        image = to_rgb(image)
        if self.fit == "own":
            return image
        side = max(image.size)
        if self.fit == "pad":
            colour = tuple(int(255 * mean) for mean in self.processor.image_processor.image_mean)
            square = Image.new("RGB", (side, side), colour)
            square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
            image = square
        if self.fit == "crop":
            side = min(image.size)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            image = image.crop((left, top, left + side, top + side))
        side = self.image_size or side
        return image if image.size == (side, side) else image.resize((side, side), Image.Resampling.BICUBIC)

    def _grid_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Returns rows and columns of the grid of an image of `(width, height)` pixels."""
        if self.family and self.family.cells:
            cells = self.family.cells(self.model.config)
            return cells, cells
        if size not in self._grids:
            blank = self._processed([Image.new("RGB", size)], self.texts(["a"]))
            self._grids[size] = self._read_grids(blank)[0]
        return self._grids[size]

    def _read_grids(self, batch: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
        """Returns rows and columns of each image of a batch, checked against the number of image tokens."""
        counts = self._is_image(batch["input_ids"]).sum(1).tolist()
        report = report_of(self.processor) if self.family is None or self.family.cells is None else None
        if report:
            entries = batch[report.key]
            if len(entries) != len(counts):
                raise LocheadsError(
                    f"{self.name}: the processor cuts a picture into {len(entries) / len(counts):g} views, "
                    "which form no one grid; describe the family in locheads/model/families.py"
                )
            grids = [report.read(entry, self.processor) for entry in entries]
        elif self.family and self.family.cells:
            cells = self.family.cells(self.model.config)
            grids = [(cells, cells)] * len(counts)
        else:
            grids = [self._one_view(batch, count) for count in counts]
        tiles = self.family is not None and self.family.view == "tiles"
        if self.family and self.family.resampler:
            self._check_tokens(counts, self.family.resampler.tokens(self.model.config))
            return tuple(grids)
        for count, (rows, columns) in zip(counts, grids, strict=True):
            if count < rows * columns or (count > rows * columns and not tiles):
                raise LocheadsError(
                    f"{self.name}: the processor writes {count} image tokens, the grid is {rows}×{columns}; "
                    "processor and model do not belong together"
                )
        return tuple(grids)

    def _check_tokens(self, counts: Sequence[int], tokens: int) -> None:
        if set(counts) != {tokens}:
            raise LocheadsError(
                f"{self.name}: the processor writes {counts[0]} image tokens, the model makes {tokens}; "
                "processor and model do not belong together"
            )

    def _one_view(self, batch: Mapping[str, Any], count: int) -> tuple[int, int]:
        pixels = batch.get("pixel_values")
        one = torch.is_tensor(pixels) and pixels.ndim == 4 and len(pixels) == len(batch["input_ids"])
        square = one and pixels is not None and pixels.shape[-2] == pixels.shape[-1]
        if not square or count == 0 or isqrt(count) ** 2 != count:
            raise LocheadsError(
                f"{self.name} ({self.model.config.model_type}): {count} image tokens form no known grid; "
                "describe the family in locheads/model/families.py"
            )
        return isqrt(count), isqrt(count)

    def _is_image(self, ids: torch.Tensor) -> torch.Tensor:
        config = self.model.config
        token = getattr(config, "image_token_id", None)
        return ids == (config.image_token_index if token is None else token)

    def _image_tokens(self, ids: torch.Tensor, grids: Sequence[tuple[int, int]]) -> torch.Tensor:
        cells = [rows * columns for rows, columns in grids]
        if self.family and self.family.resampler:
            cells = [self.family.resampler.tokens(self.model.config)] * len(cells)
        found = torch.zeros(len(ids), max(cells), dtype=torch.long)
        for row, (is_image, count) in enumerate(zip(self._is_image(ids), cells, strict=True)):
            found[row, :count] = is_image.nonzero()[:count, 0]
        return found

    def _after(self, ids: torch.Tensor, lengths: torch.Tensor, expressions: Sequence[str]) -> torch.Tensor:
        """Counts the tokens after the query token in each text, `batch`."""
        if self.query == "last":
            return torch.zeros_like(lengths)
        closing = self.prompt.partition("{expression}")[2] + (self.family.closing if self.family else "")
        counts = []
        for row, length, expression in zip(ids, lengths.tolist(), expressions, strict=True):
            queried = up_to_query(expression, self.query)
            after = worded(expression, self.query)[len(queried) :] + closing
            counts.append(tokens_after(self.processor.tokenizer, queried, after, row[:length].tolist()))
        return torch.tensor(counts)

    def _check_words(self, texts: Sequence[torch.Tensor], expressions: Sequence[str]) -> None:
        """Checks the tokens of each text, without its padding, whose token may be the unknown one."""
        tokenizer = self.processor.tokenizer
        for row, expression in zip(texts, expressions, strict=True):
            if tokenizer.unk_token_id is not None and (row == tokenizer.unk_token_id).any():
                known = tokenizer.get_vocab()
                around = self.prompt.replace("{expression}", " ").split()
                words = (word.rstrip(".") for word in (*expression.split(), *around))
                unknown = [word for word in words if word and word not in known] or ["?"]
                raise LocheadsError(
                    f"'{expression}': the model {self.name} does not know the word '{unknown[0]}'; "
                    "its words are those of its tokenizer.json"
                )

    def _check_length(self, lengths: torch.Tensor, expressions: Sequence[str]) -> None:
        most = self.model.config.get_text_config().max_position_embeddings
        for length, expression in zip(lengths.tolist(), expressions, strict=True):
            if length > most:
                raise LocheadsError(
                    f"'{expression[:40]}…': {length} tokens with image and prompt, the model {self.name} "
                    f"takes {most}; shorten the expression"
                )


def coverage_of(lvlm: Lvlm, sample: Sample) -> Float[np.ndarray, "row column"]:
    """Returns the share of each patch, in [0, 1], that the true object covers; raises as `true_mask`."""
    return lvlm.window(sample.size).mask_to_grid(true_mask(sample))
