"""Pictures as people have them: turned, 16 bits deep, transparent, too large, no files; pixels by hand."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from locheads.data import read_samples
from locheads.data.pictures import open_picture, picture_size, to_rgb
from locheads.errors import LocheadsError

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def _opened(path: Path) -> np.ndarray:
    picture = open_picture(path, "test")
    assert picture.mode == "RGB" and picture.size == picture_size(path, "test")
    return np.asarray(picture)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [  # of the stored rows [[0, 1, 2], [3, 4, 5]], as EXIF defines the eight values
        (1, [[0, 1, 2], [3, 4, 5]]),
        (2, [[2, 1, 0], [5, 4, 3]]),
        (3, [[5, 4, 3], [2, 1, 0]]),
        (4, [[3, 4, 5], [0, 1, 2]]),
        (5, [[0, 3], [1, 4], [2, 5]]),
        (6, [[3, 0], [4, 1], [5, 2]]),
        (7, [[5, 2], [4, 1], [3, 0]]),
        (8, [[2, 5], [1, 4], [0, 3]]),
    ],
)
@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
def test_a_picture_is_turned_as_its_exif_data_say(
    tmp_path: Path, kind: str, orientation: int, expected: list[list[int]]
) -> None:
    exif = Image.Exif()
    exif[0x112] = orientation
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)[..., None].repeat(3, -1)
    more = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(stored).save(tmp_path / f"a.{kind}", exif=exif, **more)
    assert _opened(tmp_path / f"a.{kind}")[..., 0].tolist() == expected


def test_annotations_count_in_the_turned_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "phone.jpg", exif=exif)
    line = '{"image": "phone.jpg", "expression": "x", "box": [0, 0, 10, 20]%s}'
    (tmp_path / "l.jsonl").write_text(line % "")
    (sample,) = read_samples(tmp_path / "l.jsonl", "own", "val")
    assert sample.size == sample.image.size == (10, 20)
    (tmp_path / "l.jsonl").write_text(line.replace("10, 20]", "20, 10]") % ', "size": [20, 10]')
    (stored,) = read_samples(tmp_path / "l.jsonl", "own", "val")
    with pytest.raises(LocheadsError, match=r"\(10, 20\), turned as its EXIF data say and not, as annotated"):
        _ = stored.image


def test_sixteen_bits_of_grey_are_scaled(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    for kind in ("png", "tiff"):
        Image.fromarray(values).save(tmp_path / f"a.{kind}")
        # 65535 / 257 = 255; 128 / 257 and 129 / 257 lie on either side of a half
        assert _opened(tmp_path / f"a.{kind}")[0].tolist() == [[v] * 3 for v in (0, 0, 1, 1, 128, 255)]
    (tmp_path / "a.pgm").write_bytes(b"P5 3 1 65535\n" + struct.pack(">3H", 0, 257, 65535))
    assert _opened(tmp_path / "a.pgm")[0, :, 0].tolist() == [0, 1, 255]


def test_transparency_is_composed_onto_white(tmp_path: Path) -> None:
    pixels = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    # of black at 51 / 255 = 0.2, white keeps 0.8: 204
    assert _opened(tmp_path / "a.png")[0].tolist() == [list(RED), list(WHITE), [204] * 3]
    grey = Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8), "LA")
    grey.save(tmp_path / "grey.png")
    assert _opened(tmp_path / "grey.png")[0].tolist() == [[9] * 3, list(WHITE)]


def test_palettes_are_looked_up(tmp_path: Path) -> None:
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([*RED, *BLUE, 7, 8, 9])
    picture.save(tmp_path / "a.png")
    assert _opened(tmp_path / "a.png")[0].tolist() == [list(RED), list(BLUE), [7, 8, 9]]
    picture.save(tmp_path / "b.png", transparency=1)
    assert _opened(tmp_path / "b.png")[0].tolist() == [list(RED), list(WHITE), [7, 8, 9]]
    picture.save(tmp_path / "c.gif", transparency=1)
    assert _opened(tmp_path / "c.gif")[0].tolist() == [list(RED), list(WHITE), [7, 8, 9]]


@pytest.mark.parametrize(("dtype", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_values_without_a_defined_white_are_refused(tmp_path: Path, dtype: type, mode: str) -> None:
    Image.fromarray(np.ones((2, 3), dtype)).save(tmp_path / "a.tiff")
    with pytest.raises(
        LocheadsError, match=rf"a\.tiff: values of Pillow's mode '{mode}' .*save it with 8 bits"
    ):
        open_picture(tmp_path / "a.tiff", "test")
    with pytest.raises(LocheadsError, match="no defined white"):
        to_rgb(Image.fromarray(np.ones((2, 3), np.float32)))


def _header(width: int, height: int) -> bytes:
    """A PNG of that size whose pixels are missing."""
    content = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + content + struct.pack(">I", zlib.crc32(content))


@pytest.mark.parametrize(("width", "height"), [(8001, 8001), (70_000, 1), (1, 70_000), (60_000, 60_000)])
def test_a_picture_too_large_is_refused_before_it_is_decoded(tmp_path: Path, width: int, height: int) -> None:
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (tmp_path / "bomb.png").write_bytes(_header(width, height) + idat)
    for read in (open_picture, picture_size):
        with pytest.raises(LocheadsError, match=r"bomb\.png: an image.* is too large \(test\); scale it to"):
            read(tmp_path / "bomb.png", "test")


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_opened(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(LocheadsError, match=r"a\.png: this is a (folder|named pipe, socket or device)"):
        open_picture(path, "test")
    (tmp_path / "l.jsonl").write_text('{"image": "a.png", "expression": "x"}')
    with pytest.raises(LocheadsError, match=r"a\.png: this is a"):
        read_samples(tmp_path / "l.jsonl", "own", "val")


@pytest.mark.parametrize("name", ["a\0b.png", "\ud800.png", "n" * 300 + ".png"])
def test_names_that_no_file_can_have_are_refused(name: str) -> None:
    with pytest.raises(LocheadsError, match=r"no file can have this name|does not decode|no such image"):
        open_picture(name, "test")


def test_a_format_outside_the_list_is_refused(tmp_path: Path) -> None:
    """PostScript would be handed to an interpreter."""
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(LocheadsError, match="does not decode"):
        open_picture(tmp_path / "a.png", "test")
