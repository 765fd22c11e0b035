"""Keeps SAM's embeddings of pictures, so that its encoder runs once per picture.

The encoder takes nearly all of a segmenter's time and sees neither box nor prompt. The embedding of the last
picture stays in memory. With a folder, those of all pictures are kept there, for later notebooks as well,
until they take up `most` bytes; what comes after that is computed whenever it is asked for.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from jaxtyping import UInt8

# isort: split
from segment_anything import SamPredictor

from locheads.files import replacing

MOST = 20_000_000_000
"""The most bytes of a folder's embeddings; one of a published SAM takes 4.2 MB."""
_DAMAGED = (OSError, ValueError, KeyError, EOFError, BadZipFile)


@dataclass
class Embeddings:
    """Gives a predictor the embedding of a picture, computed or kept.

    Attributes:
        folder: Where the embeddings of one segmenter are kept; None: only the last one, in memory.
        most: The most bytes that they take up there.
    """

    folder: Path | None = None
    most: int = MOST
    _last: tuple[str, torch.Tensor] | None = field(default=None, repr=False)

    def set_image(self, predictor: SamPredictor, pixels: UInt8[np.ndarray, "rows columns 3"]) -> None:
        """Prepares a predictor for prompts about a picture, as its own `set_image` does.

        Raises:
            LocheadsError: The disk is full.
        """
        key = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()[:32]
        if self._last and self._last[0] == key and self._last[1] is predictor.features:
            return
        kept = self._read(key)
        if kept is None:
            predictor.set_image(pixels)
            self._keep(key, predictor.features)
        else:
            _restore(predictor, pixels.shape[:2], kept)
        self._last = key, predictor.features

    def _read(self, key: str) -> torch.Tensor | None:
        """Reads an embedding; None where there is none, or its file does not fit its checksum."""
        if self.folder is None:
            return None
        try:
            with np.load(self.folder / f"{key}.npz") as file:
                return torch.from_numpy(file["features"])
        except _DAMAGED:
            return None

    def _keep(self, key: str, features: torch.Tensor) -> None:
        """Writes an embedding unless the folder is full."""
        if self.folder is None:
            return
        size = features.numel() * features.element_size()
        taken = sum(path.stat().st_size for path in self.folder.glob("*.npz"))
        if taken + size <= self.most:
            with replacing(self.folder / f"{key}.npz") as partial:
                np.savez(partial, features=features.cpu().numpy())


def _restore(predictor: SamPredictor, shape: tuple[int, int], features: torch.Tensor) -> None:
    """Puts a predictor into the state in which its own `set_image` leaves it."""
    transform = predictor.transform
    predictor.reset_image()
    predictor.original_size = shape
    predictor.input_size = transform.get_preprocess_shape(*shape, transform.target_length)
    predictor.features = features.to(predictor.device)
    predictor.is_image_set = True
