"""SAM's encoder runs once a picture, whatever is asked about it, and kept embeddings give the same masks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# isort: split
from segment_anything import SamPredictor

from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Variant, evaluate_variants
from locheads.method.geometry import Window
from locheads.method.selection import Head
from locheads.model.embeddings import Embeddings
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import PROMPTS, Segmenter, load_segmenter
from locheads.model.shipped import weights_digest
from locheads.model.small_sam import SegmenterConfig, build_sam

TINY = SegmenterConfig(32, 8, 16, 2, 2, (1,), 2, 16, 16)
BOXES = np.array([[12.0, 7.0, 36.0, 16.0], [0.0, 0.0, 20.0, 30.0]])
SIZE = 16 * 4 * 4 * 4
"""Bytes of an embedding of TINY: 16 channels of 4 × 4 numbers of 4 bytes."""


class Counted(Segmenter):
    """Counts the pictures that its encoder sees."""

    def __init__(self, embeddings: Embeddings) -> None:
        torch.manual_seed(0)
        super().__init__("tiny", SamPredictor(build_sam(TINY)), embeddings)
        object.__setattr__(self, "seen", 0)
        self.predictor.model.image_encoder.register_forward_hook(self._count)

    def _count(self, *_: object) -> None:
        object.__setattr__(self, "seen", self.seen + 1)


class Stretched(Lvlm):
    """A model of which only the geometry is asked for."""

    def __init__(self) -> None: ...

    def window(self, size: tuple[int, int]) -> Window:
        return Window.stretch(size, (6, 6))


def picture(seed: int, columns: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (30, columns, 3), np.uint8)


def sample(number: int, folder: Path) -> Sample:
    """The number says which expression; even and odd ones are of two pictures."""
    path = folder / f"{number % 2}.png"
    Image.fromarray(picture(number % 2)).save(path)
    square = [[4, 4, 20, 4, 20, 20, 4, 20]]
    return Sample(f"s{number}", path, path.stem, "it", (48, 30), (4.0, 4.0, 20.0, 20.0), square)


def test_once_a_picture_for_all_expressions_prompts_and_variants(tmp_path: Path) -> None:
    """Six expressions of two pictures in turn, three prompts, one of them twice: two pictures are encoded."""
    samples = [sample(number, tmp_path) for number in range(6)]
    maps = np.random.default_rng(0).random((6, 1, 2, 6, 6)) ** 4
    variants = {prompt: Variant((Head(0, 0),), prompt=prompt) for prompt in PROMPTS}
    variants["again"] = replace(variants["box"], prompt="box+point", cascade=1)
    counted, plain = Counted(Embeddings(tmp_path / "kept")), Counted(Embeddings())
    found, wanted = (evaluate_variants(Stretched(), one, samples, maps, variants) for one in (counted, plain))
    assert counted.seen == 2
    assert plain.seen == 6, "without a folder, only the last picture is kept"
    assert (found[["intersection", "union"]] == wanted[["intersection", "union"]]).all(axis=None)
    later = Counted(Embeddings(tmp_path / "kept"))
    evaluate_variants(Stretched(), later, samples, maps, variants)
    assert later.seen == 0, "another notebook of the world"


@pytest.mark.parametrize("columns", [48, 20])
def test_a_kept_embedding_gives_the_same_masks(tmp_path: Path, columns: int) -> None:
    boxes = np.minimum(BOXES, [columns, 30, columns, 30])
    for _ in range(2):
        kept, plain = Counted(Embeddings(tmp_path)), Counted(Embeddings())
        seen = picture(3, columns)
        assert (kept.masks(seen, boxes) == plain.masks(seen, boxes)).all()
        for name in ("original_size", "input_size"):
            assert tuple(getattr(kept.predictor, name)) == tuple(getattr(plain.predictor, name))
        assert torch.equal(kept.predictor.features, plain.predictor.features)
    assert kept.seen == 0


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    for _ in range(2):
        counted = Counted(Embeddings(tmp_path, most=2 * SIZE + 1000))
        for number in range(4):
            counted.masks(picture(number), BOXES)
    assert len(list(tmp_path.glob("*.npz"))) == 2 and counted.seen == 2
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 2 * SIZE + 1000


@pytest.mark.parametrize("damage", [b"", b"PK", None])
def test_a_damaged_embedding_is_computed_again(tmp_path: Path, damage: bytes | None) -> None:
    Counted(Embeddings(tmp_path)).masks(picture(0), BOXES)
    (path,) = tmp_path.glob("*.npz")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255  # a byte of the numbers, which the checksum in the file covers
    path.write_bytes(bytes(content) if damage is None else damage)
    again = Counted(Embeddings(tmp_path))
    again.masks(picture(0), BOXES)
    assert again.seen == 1
    last = Counted(Embeddings(tmp_path))
    last.masks(picture(0), BOXES)
    assert last.seen == 0, "and its file was mended"


def test_a_picture_set_elsewhere_is_noticed() -> None:
    counted = Counted(Embeddings())
    first = counted.masks(picture(0), BOXES)
    counted.predictor.set_image(picture(1))
    assert (counted.masks(picture(0), BOXES) == first).all()
    assert counted.seen == 3


def test_other_weights_have_a_folder_of_their_own(tmp_path: Path) -> None:
    shipped = load_segmenter("specimen", kept_in=str(tmp_path))
    folder = shipped.embeddings.folder
    assert folder is not None and folder.parent == tmp_path and folder.name.endswith("-cpu")
    with torch.no_grad():
        next(shipped.predictor.model.parameters()).add_(1)
    assert weights_digest(shipped.predictor.model) not in folder.name
