from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from locheads.data.samples import Sample, decode_mask, encode_mask
from locheads.errors import LocheadsError

SQUARE = [[2, 3, 6, 3, 6, 5, 2, 5]]


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    path = tmp_path / "picture.png"
    Image.fromarray(np.full((8, 10), 7, np.uint8)).save(path)
    return Sample("set-1", path, "1", "the left one", (10, 8), (2.0, 3.0, 6.0, 5.0), SQUARE)


def test_polygon_mask_is_half_open(sample: Sample) -> None:
    expected = np.zeros((8, 10), bool)
    expected[3:5, 2:6] = True
    assert np.array_equal(sample.mask, expected)


def test_polygons_are_united() -> None:
    mask = decode_mask([*SQUARE, [4, 3, 8, 3, 8, 5, 4, 5]], (10, 8))
    assert mask.sum() == 12 and mask[3:5, 2:8].all()


def test_uncompressed_rle_counts_down_the_columns() -> None:
    mask = decode_mask({"size": [2, 3], "counts": [1, 2, 3]}, (3, 2))
    assert mask.tolist() == [[False, True, False], [True, False, False]]


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_encoded_mask_decodes_to_itself(mask: np.ndarray) -> None:
    height, width = mask.shape
    assert np.array_equal(decode_mask(encode_mask(mask), (width, height)), mask)


def test_grey_image_becomes_rgb(sample: Sample) -> None:
    assert sample.image.mode == "RGB" and sample.image.getpixel((0, 0)) == (7, 7, 7)


def test_no_annotation_is_fine(sample: Sample) -> None:
    bare = replace(sample, box=None, segmentation=None)
    assert bare.checked() is bare and bare.mask is None and bare.ignored_mask is None


def test_missing_image_names_file_and_sample(sample: Sample) -> None:
    sample.image_path.unlink()
    with pytest.raises(LocheadsError, match=r"picture\.png.*set-1"):
        _ = sample.image


@pytest.mark.parametrize("kind", ["png", "jpeg"])
@pytest.mark.parametrize("cut", [0, 20, 700])
def test_undecodable_image_names_file_and_sample(sample: Sample, kind: str, cut: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(sample.image_path, kind)
    sample.image_path.write_bytes(sample.image_path.read_bytes()[:cut])
    with pytest.raises(LocheadsError, match=r"picture\.png.*does not decode.*set-1"):
        _ = sample.image


def test_image_of_another_size_is_refused(sample: Sample) -> None:
    with pytest.raises(LocheadsError, match=r"\(10, 8\) and not, as annotated, \(11, 8\)"):
        _ = replace(sample, size=(11, 8)).image


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expression": "  "}, "expression is empty"),
        ({"box": (2.0, 3.0, 2.0, 5.0)}, "is empty"),
        ({"box": (float("nan"), 3.0, 6.0, 5.0)}, "is nan, but must be finite"),
        ({"box": (2.0, 3.0, 12.0, 5.0)}, "outside the image of 10 × 8"),
        ({"box": (-3.0, 3.0, 6.0, 5.0)}, "outside the image"),
        ({"segmentation": []}, "malformed"),
        ({"segmentation": [[1, 1, 3, 3]]}, "three points"),
        ({"segmentation": [[50, 50, 60, 50, 60, 60]]}, "mask is empty"),
        ({"segmentation": {"size": [8, 10], "counts": [80]}}, "mask is empty"),
        ({"segmentation": {"size": [10, 8], "counts": [40, 40]}}, r"size \[10, 8\] is not \[8, 10\]"),
        ({"segmentation": {"size": [8, 10]}}, "malformed"),
    ],
)
def test_bad_annotations_name_file_and_sample(sample: Sample, change: dict, message: str) -> None:
    with pytest.raises(LocheadsError, match=rf"picture\.png, sample set-1: .*{message}") as caught:
        replace(sample, **change).checked()
    assert "\n" not in str(caught.value)


def test_a_box_may_stick_out_by_a_rounding(sample: Sample) -> None:
    replace(sample, box=(-0.5, 0.0, 10.4, 8.0)).checked()
