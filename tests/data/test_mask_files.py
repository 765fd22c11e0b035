"""Mask files in the forms that programs write, each with the object's known pixels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from locheads.data import read_samples
from locheads.data.mask_files import read_mask_file
from locheads.errors import LocheadsError

OBJECT = np.zeros((8, 10), bool)
OBJECT[2:5, 3:9] = True


def _rgba(inside: tuple[int, ...], outside: tuple[int, ...]) -> Image.Image:
    return Image.fromarray(np.where(OBJECT[..., None], inside, outside).astype(np.uint8))


def _palette(colours: list[int]) -> Image.Image:
    picture = Image.fromarray(OBJECT.astype(np.uint8), "P")
    picture.putpalette(colours)
    return picture


FORMS = {
    "white on black": Image.fromarray(OBJECT.astype(np.uint8) * 255),
    "1 and 0": Image.fromarray(OBJECT.astype(np.uint8)),
    "bits": Image.fromarray(OBJECT),
    "16 bits": Image.fromarray(OBJECT.astype(np.uint16)),
    "darkest blue on black": _rgba((0, 0, 1), (0, 0, 0)),
    "white on transparent white": _rgba((255, 255, 255, 255), (255, 255, 255, 0)),
    "white on transparent black": _rgba((255, 255, 255, 255), (0, 0, 0, 0)),
    "black on transparent white": _rgba((0, 0, 0, 255), (255, 255, 255, 0)),
    "white on opaque black with alpha": _rgba((255, 255, 255, 255), (0, 0, 0, 255)),
    "palette, white on black": _palette([0, 0, 0, 255, 255, 255]),
    "palette, black on white": _palette([255, 255, 255, 0, 0, 0]),
    "palette, both black": _palette([0, 0, 0, 0, 0, 0]),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_object_is_found_in_every_form(tmp_path: Path, form: str) -> None:
    FORMS[form].save(tmp_path / "m.png")
    assert np.array_equal(read_mask_file(tmp_path / "m.png", "test"), OBJECT)
    Image.new("RGB", (10, 8)).save(tmp_path / "a.png")
    (tmp_path / "l.jsonl").write_text(json.dumps({"image": "a.png", "expression": "x", "mask": "m.png"}))
    (sample,) = read_samples(tmp_path / "l.jsonl", "own", "val")
    assert sample.box == (3.0, 2.0, 9.0, 5.0) and np.array_equal(sample.mask, OBJECT)


def test_a_transparent_palette_index_is_not_the_object(tmp_path: Path) -> None:
    inverted = Image.fromarray((~OBJECT).astype(np.uint8), "P")  # the object has index 0
    inverted.putpalette([255, 255, 255, 255, 255, 255])
    inverted.save(tmp_path / "m.png", transparency=1)
    assert np.array_equal(read_mask_file(tmp_path / "m.png", "test"), OBJECT)


def test_other_lossless_formats_are_read(tmp_path: Path) -> None:
    for kind in ("bmp", "gif", "tiff", "pgm"):
        FORMS["white on black"].save(tmp_path / f"m.{kind}")
        assert np.array_equal(read_mask_file(tmp_path / f"m.{kind}", "test"), OBJECT), kind


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_formats_are_refused_whatever_their_name(tmp_path: Path, kind: str) -> None:
    FORMS["white on black"].save(tmp_path / "m.png", kind)
    with pytest.raises(LocheadsError, match=r"m\.png: the mask cannot be read \(test\); .*PNG"):
        read_mask_file(tmp_path / "m.png", "test")


def test_a_tiff_with_loss_is_refused(tmp_path: Path) -> None:
    FORMS["white on black"].save(tmp_path / "m.tiff", compression="jpeg")
    with pytest.raises(LocheadsError, match=r"m\.tiff: the mask is compressed with loss"):
        read_mask_file(tmp_path / "m.tiff", "test")


def test_a_mask_that_could_mean_two_is_refused(tmp_path: Path) -> None:
    pixels = np.zeros((8, 10, 4), np.uint8)
    pixels[..., 3] = 255
    pixels[OBJECT] = 255
    pixels[0, 0] = 0  # black around the object, one pixel transparent
    Image.fromarray(pixels).save(tmp_path / "m.png")
    with pytest.raises(LocheadsError, match=r"m\.png: .*could mean two masks"):
        read_mask_file(tmp_path / "m.png", "test")


def test_a_mask_of_another_size_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (11, 8)).save(tmp_path / "a.png")
    FORMS["bits"].save(tmp_path / "m.png")
    line = {"image": "a.png", "expression": "x", "mask": "m.png", "box": [3, 2, 9, 5]}
    (tmp_path / "l.jsonl").write_text(json.dumps(line))
    with pytest.raises(LocheadsError, match=r"its size \[8, 10\] is not \[8, 11\]"):
        read_samples(tmp_path / "l.jsonl", "own", "val")


def test_an_inverted_mask_is_known_by_its_box(tmp_path: Path) -> None:
    """Whatever its form; the object covers a quarter, half or most of the box, or sticks out by a pixel."""
    Image.new("RGB", (10, 8)).save(tmp_path / "a.png")
    for name, picture in {**FORMS, "holes": _palette([0, 0, 0, 255, 255, 255])}.items():
        if picture.has_transparency_data:
            continue
        for box in ([3, 2, 9, 5], [3.4, 2.2, 8.6, 4.9], [2, 1, 10, 8], [4, 2, 9, 5], [0, 0, 10, 8]):
            line = {"image": "a.png", "expression": "x", "mask": "m.png", "box": box}
            (tmp_path / "l.jsonl").write_text(json.dumps(line))
            picture.save(tmp_path / "m.png")
            assert np.array_equal(read_samples(tmp_path / "l.jsonl", "own", "val")[0].mask, OBJECT), (
                name,
                box,
            )
            values = np.asarray(picture.convert("RGB") if picture.mode == "RGB" else picture) == 0
            other = Image.fromarray(values.any(-1) if values.ndim == 3 else values).convert("P")
            other.save(tmp_path / "m.png")
            if box != [0, 0, 10, 8]:  # nothing lies outside
                with pytest.raises(LocheadsError, match=r"m\.png: the mask covers what lies outside the box"):
                    read_samples(tmp_path / "l.jsonl", "own", "val")


def test_a_palette_that_has_all_corners_is_refused_without_a_box(tmp_path: Path) -> None:
    picture = Image.fromarray((~OBJECT).astype(np.uint8), "P")
    picture.putpalette([255, 255, 255, 0, 0, 0])
    picture.save(tmp_path / "m.png")
    with pytest.raises(LocheadsError, match=r"m\.png: .*all four corners \(test\).*give the object's box"):
        read_mask_file(tmp_path / "m.png", "test")
    for corner in ((0, 0), (7, 0), (0, 9), (7, 9)):  # an object that fills the picture but for a corner
        values = np.ones((8, 10), np.uint8)
        values[corner] = 0
        Image.fromarray(values, "P").save(tmp_path / "m.png")
        assert np.array_equal(read_mask_file(tmp_path / "m.png", "test"), values.astype(bool))
    Image.fromarray(np.ones((8, 10), np.uint8), "P").save(tmp_path / "m.png")
    assert read_mask_file(tmp_path / "m.png", "test").all()
