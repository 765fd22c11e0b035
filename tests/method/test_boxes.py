"""The agreement of boxes, by hand and for any boxes; their IoU is tested with the other metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from locheads.method.boxes import agreement, box_iou

corners = hnp.arrays(
    np.float64, st.tuples(st.integers(2, 6), st.just(4)), elements=st.floats(0, 24, width=32)
)


def test_three_boxes_by_hand() -> None:
    boxes = np.array([[0, 0, 4, 4], [0, 0, 4, 2], [2, 0, 6, 4]])
    # 8 of 16 cells; 8 of 24; 4 of 20
    assert agreement(boxes) == pytest.approx((1 / 2 + 1 / 3 + 1 / 5) / 3)
    assert agreement(boxes * 13) == pytest.approx(agreement(boxes))  # cells or pixels alike


def test_fewer_than_two_boxes_have_nothing_to_agree_with() -> None:
    assert np.isnan(agreement(np.array([[0, 0, 1, 1]]))) and np.isnan(agreement(np.zeros((0, 4))))


def test_a_box_that_is_not_there_agrees_with_none() -> None:
    one, none = [0.0, 0.0, 2.0, 2.0], [np.nan] * 4
    assert agreement(np.array([one, one, none])) == pytest.approx(1 / 3)
    assert agreement(np.array([none, none])) == 0
    assert box_iou(np.array([none]), np.array([one])).tolist() == [0]


@given(corners)
def test_it_is_a_share_and_blind_to_the_order(points: np.ndarray) -> None:
    boxes = np.concatenate([points[:, :2], points[:, :2] + points[:, 2:]], axis=1)
    found = agreement(boxes)
    assert 0 <= found <= 1 + 1e-12
    assert agreement(boxes[::-1]) == pytest.approx(found)


@given(corners)
def test_equal_boxes_agree_entirely(points: np.ndarray) -> None:
    boxes = np.repeat(
        np.concatenate([points[:1, :2], points[:1, :2] + 1 + points[:1, 2:]], axis=1), 3, axis=0
    )
    assert agreement(boxes) == pytest.approx(1)
