"""Numbers that would kill the process or leave memory as it was, and parts of masks that are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco

from locheads.data.masks import areas, checked_rle, decode_mask, encode_mask, mask_area, runs_of

SIZE = (20, 10)
GOOD = [5, 2, 15, 2, 15, 8, 5, 8]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e9, -1e9, 10**400, 2**31])
def test_coordinates_that_kill_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a coordinate is .* must be finite"):
        checked_rle([[1, 1, 8, 1, value, 8]], SIZE)


@pytest.mark.parametrize("value", ["3", None, True, [3]])
def test_coordinates_that_are_no_numbers_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="not a number"):
        checked_rle([[1, 1, 8, 1, value, 8]], SIZE)


def test_an_endless_outline_is_refused() -> None:
    with pytest.raises(ValueError, match="outline of its polygons is longer than"):
        decode_mask([[0, 0, 9e5, 9e5, 0, 9e5] * 3], SIZE)


@pytest.mark.parametrize("part", [[7, 7, 8, 8], [7, 7], []])
def test_a_degenerate_part_is_left_out(part: list[float]) -> None:
    alone = decode_mask([GOOD], SIZE)
    assert alone.sum() == 10 * 6 and alone[2:8, 5:15].all()
    assert np.array_equal(decode_mask([part, GOOD], SIZE), alone)
    with pytest.raises(ValueError, match="no polygon of three points"):
        decode_mask([part], SIZE)


@pytest.mark.parametrize("part", [[7], [1, 2, 3, 4, 5, 6, 7]])
def test_a_part_of_half_a_point_is_refused(part: list[float]) -> None:
    with pytest.raises(ValueError, match="not an x and y for each point"):
        decode_mask([GOOD, part], SIZE)


def _compressed(counts: list[int]) -> str:
    """COCO's text of counts, by its definition: five bits a character, differences from the fourth."""
    text = ""
    for place, count in enumerate(counts):
        rest, more = count - (counts[place - 2] if place > 2 else 0), True
        while more:
            bits, rest = rest & 31, rest >> 5
            more = rest != (-1 if bits & 16 else 0)
            text += chr(48 + bits + 32 * more)
    return text


@given(st.lists(st.integers(0, 99999), min_size=1, max_size=9))
def test_compressed_counts_are_decoded(counts: list[int]) -> None:
    assert runs_of(_compressed(counts)) == counts == runs_of(_compressed(counts).encode())


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_pycocotools_writes_counts_that_fill_the_picture(mask: np.ndarray) -> None:
    rle = encode_mask(mask)
    assert sum(runs_of(rle["counts"])) == mask.size and sum(runs_of(rle["counts"])[1::2]) == mask.sum()
    assert mask_area(rle, mask.shape[::-1]) == mask.sum()


@pytest.mark.parametrize("counts", [[0, 10], [0, 4095], [0, 4097], [], [5000, -904], [4096, 1], [10**30]])
def test_runs_must_fill_the_picture(counts: list[int]) -> None:
    wrong = {"size": [64, 64], "counts": counts}
    with pytest.raises(ValueError, match="add up to|whole number"):
        decode_mask(wrong, (64, 64))
    if min(counts, default=0) >= 0 and max(counts, default=0) < 10**6:
        with pytest.raises(ValueError, match="add up to .* 64 × 64 = 4096"):
            decode_mask({**wrong, "counts": _compressed(counts)}, (64, 64))


@pytest.mark.parametrize("counts", ["\x00", "é", "PP", "P" * 40, 3, None, [1.5, 198.5], ["200"], [True, 199]])
def test_counts_that_are_none_are_refused(counts: object) -> None:
    with pytest.raises(ValueError, match="the mask is malformed"):
        decode_mask({"size": [10, 20], "counts": counts}, SIZE)


@pytest.mark.parametrize(
    ("box", "inside"),
    [
        ((5.0, 2.0, 15.0, 8.0), 60),
        ((10.0, 2.0, 21.0, 8.0), 30),
        ((9.5, 2.0, 20.0, 3.1), 12),  # 6 columns and 2 rows are touched
        ((0.0, 0.0, 4.0, 9.0), 0),
        ((-0.9, 0.0, -0.1, 9.0), 0),
    ],
)
def test_the_pixels_in_a_box_are_counted(box: tuple[float, float, float, float], inside: int) -> None:
    assert areas([GOOD], box, SIZE) == (60, inside)


@given(st.lists(st.floats(-30, 50), min_size=6, max_size=12).filter(lambda points: len(points) % 2 == 0))
def test_what_is_drawn_is_what_pycocotools_draws(points: list[float]) -> None:
    expected = coco.decode(coco.merge(coco.frPyObjects([points], 10, 20)))
    assert np.array_equal(decode_mask([points], SIZE), expected)
