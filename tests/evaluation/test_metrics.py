from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco
from scipy import stats

from locheads.evaluation.metrics import (
    accuracy,
    average_recall,
    bootstrap_interval,
    box_iou,
    ciou,
    mask_iou,
    mask_overlap,
    spearman,
)

boxes = hnp.arrays(np.float64, (5, 4), elements=st.integers(0, 12).map(float))


def ordered(xyxy: np.ndarray) -> np.ndarray:
    return np.concatenate(
        [np.minimum(xyxy[:, :2], xyxy[:, 2:]), np.maximum(xyxy[:, :2], xyxy[:, 2:])], axis=1
    )


def xywh(xyxy: np.ndarray) -> np.ndarray:
    return np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1)


def test_box_iou_by_hand():
    a = np.array([[0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2], [0, 0, 2, 2], [1, 1, 1, 1]], float)
    b = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [2, 0, 4, 2], [5, 5, 6, 6], [1, 1, 1, 1]], float)
    np.testing.assert_allclose(box_iou(a, b), [1, 1 / 7, 0, 0, 0])


@given(boxes, boxes)
def test_box_iou_equals_pycocotools(a, b):
    a, b = ordered(a), ordered(b)
    ious = box_iou(a, b)
    has_area = (xywh(a)[:, 2:].prod(axis=1) > 0) | (xywh(b)[:, 2:].prod(axis=1) > 0)
    expected = np.diag(coco.iou(xywh(a), xywh(b), [0] * 5))
    np.testing.assert_allclose(ious[has_area], expected[has_area])
    np.testing.assert_array_equal(ious, box_iou(b, a))


def test_mask_overlap_and_iou_by_hand():
    a = np.array([[[1, 1, 0]], [[0, 0, 0]], [[1, 1, 1]]], bool)
    b = np.array([[[0, 1, 1]], [[0, 0, 0]], [[0, 0, 0]]], bool)
    overlap = mask_overlap(a, b)
    np.testing.assert_array_equal(overlap.intersection, [1, 0, 0])
    np.testing.assert_array_equal(overlap.union, [3, 0, 3])
    np.testing.assert_allclose(mask_iou(a, b), [1 / 3, 1, 0])
    assert mask_iou(a[0], b[0]) == pytest.approx(1 / 3)


@given(hnp.arrays(np.bool_, (2, 4, 6, 5)))
def test_mask_iou_equals_pycocotools(masks):
    a, b = masks
    encode = [[coco.encode(np.asfortranarray(one.astype(np.uint8))) for one in side] for side in (a, b)]
    expected = np.diag(coco.iou(encode[0], encode[1], [0] * 4))
    both_empty = ~(a | b).any(axis=(1, 2))
    np.testing.assert_allclose(mask_iou(a, b)[~both_empty], expected[~both_empty])


def test_scores_by_hand():
    ious = np.array([0.5, 0.49, 1.0, 0.0])
    assert accuracy(ious) == 0.5  # exactly 0.5 counts
    assert accuracy(ious, at=0.4) == 0.75
    assert ciou(np.array([1, 0, 90]), np.array([2, 8, 90])) == 0.91


def test_cumulative_iou_weighs_by_size():
    intersections, unions = np.array([1.0, 90.0]), np.array([10.0, 100.0])
    assert ciou(intersections, unions) == pytest.approx(91 / 110)


def test_average_recall_by_hand():
    # the share that reaches t: 1 up to 0.2, two thirds up to 0.5, a third up to 1
    assert average_recall(np.array([0.5, 1.0, 0.2])) == pytest.approx(0.2 + 0.3 * 2 / 3 + 0.5 / 3)
    assert average_recall(np.zeros(3)) == 0 and average_recall(np.ones(3)) == 1


@given(hnp.arrays(np.float64, 7, elements=st.floats(0, 1)))
def test_average_recall_is_the_area_under_the_curve_of_small_steps(ious):
    steps = np.arange(0, 1, 1e-3)
    area = np.mean([accuracy(ious, at) for at in steps])
    assert average_recall(ious) == pytest.approx(area, abs=2e-3)


def test_scores_of_nothing_are_refused():
    for score in (accuracy, average_recall, bootstrap_interval):
        with pytest.raises(ValueError, match="at least one sample"):
            score(np.array([]))
    with pytest.raises(ValueError, match="union"):
        ciou(np.zeros(2), np.zeros(2))


def test_spearman_by_hand():
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    up = spearman(x, x**3)
    assert (up.rho, up.low, up.high, up.n) == (pytest.approx(1), pytest.approx(1), pytest.approx(1), 5)
    assert spearman(x, -x).rho == pytest.approx(-1)
    assert spearman(x, np.array([2.0, 1.0, 4.0, 3.0, 5.0])).rho == pytest.approx(1 - 6 * 4 / (5 * 24))


def test_spearman_equals_scipy_and_its_interval_a_loop_over_resamples():
    rng = np.random.default_rng(1)
    x = np.round(rng.random(30), 1)  # with ties
    y = x + rng.random(30)
    result = spearman(x, y, resamples=200, seed=7)
    expected = stats.spearmanr(x, y)
    assert (result.rho, result.p_value) == (expected.statistic, expected.pvalue)
    draws = np.random.default_rng(7).integers(30, size=(200, 30))
    rhos = [stats.spearmanr(x[draw], y[draw]).statistic for draw in draws]
    assert (result.low, result.high) == pytest.approx(tuple(np.percentile(rhos, [2.5, 97.5])))
    assert result.low < result.rho < result.high


def test_resamples_without_a_correlation_are_left_out():
    x, y = np.array([0.0, 0.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0])
    result = spearman(x, y)  # a third of the draws miss the only 1
    assert np.isfinite([result.low, result.high]).all()
    assert -1 <= result.low <= result.rho <= result.high <= 1


@pytest.mark.parametrize(("x", "y"), [([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]), ([1.0, 2.0], [1.0, 2.0]), ([], [])])
def test_without_a_correlation_all_values_are_nan(x, y):
    result = spearman(np.array(x), np.array(y))
    assert np.isnan([result.rho, result.p_value, result.low, result.high]).all()
    assert result.n == len(x)


def test_a_correlation_of_no_numbers_is_refused():
    with pytest.raises(ValueError, match="finite"):
        spearman(np.array([1.0, np.nan, 2.0]), np.array([1.0, 2.0, 3.0]))


@given(hnp.arrays(np.float64, 12, elements=st.integers(0, 9).map(float)), st.integers(0, 99))
def test_spearman_knows_only_the_ranks(x, seed):
    y = np.random.default_rng(seed).permutation(12).astype(float)
    plain = spearman(x, y, resamples=50)
    curved = spearman(np.exp(x), y**3, resamples=50)
    np.testing.assert_allclose(
        [plain.rho, plain.low, plain.high], [curved.rho, curved.low, curved.high], equal_nan=True
    )


def test_bootstrap_interval_equals_scipys_percentile_interval():
    values = np.random.default_rng(0).normal(size=400)
    ours = bootstrap_interval(values, resamples=4000)
    scipys = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=1
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((scipys.low, scipys.high), abs=0.01)


def test_bootstrap_interval_of_a_ratio_and_of_blocks(monkeypatch):
    pairs = np.random.default_rng(0).random((50, 2))

    def ratio(draws):
        return draws[..., 0].sum(axis=1) / draws[..., 1].sum(axis=1)

    whole = bootstrap_interval(pairs, ratio, resamples=300, seed=3)
    assert whole.low < ciou(pairs[:, 0], pairs[:, 1]) < whole.high
    assert bootstrap_interval(pairs, ratio, resamples=300, seed=4) != whole
    monkeypatch.setattr("locheads.evaluation.metrics._BLOCK", 700)  # seven resamples at a time
    assert bootstrap_interval(pairs, ratio, resamples=300, seed=3) == whole


def test_bootstrap_interval_without_any_value_is_nan():
    interval = bootstrap_interval(np.ones(3), lambda draws: np.full(len(draws), np.nan), resamples=5)
    assert np.isnan([interval.low, interval.high]).all()


def test_a_wider_confidence_gives_a_wider_interval():
    values = np.arange(30.0)
    narrow, wide = (bootstrap_interval(values, confidence=level) for level in (0.5, 0.95))
    assert wide.low < narrow.low < narrow.high < wide.high
