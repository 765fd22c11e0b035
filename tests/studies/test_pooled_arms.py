"""What is read out of the records of pooled arms, and maps pooled afterwards."""

from __future__ import annotations

import numpy as np
import pytest

from locheads.method.selection import Head
from locheads.studies import pooled


@pytest.fixture(scope="module")
def records() -> dict:
    return pooled.read()


def test_all_arms_are_judged_on_the_same_pictures(records: dict) -> None:
    assert list(records) == list(pooled.ARMS)
    for arm, seeds in records.items():
        for one in seeds:
            assert (one["image"] == records["grid"][0]["image"]).all(), arm
            assert one["levels"].shape == (len(pooled.LEVELS), len(one["image"]))
            np.testing.assert_allclose(one["levels"][0], one["box_iou"], atol=1e-5)


def test_the_table_holds_what_the_records_say(records: dict) -> None:
    table = pooled.table(records)
    assert table.patches["average"] == pytest.approx(4) and table.patches["cls"] == pytest.approx(576)
    assert 1 < table.patches["perceiver"] < 576
    assert table.Acc["grid"] == pytest.approx(100 * (records["grid"][0]["box_iou"] >= 0.5).mean())
    assert np.isnan(table.rho["cls"])


def test_a_loss_is_paired_and_told_with_its_interval() -> None:
    rng = np.random.default_rng(0)
    grid, images = rng.random(50).astype(np.float32), np.arange(50)
    records = {
        "grid": [{"box_iou": grid, "image": images}],
        "average": [{"box_iou": grid - 0.1, "ceiling": grid - 0.1, "image": images}],
    }
    lost = pooled.lost(records, "grid", "box_iou").loc["average"]
    assert (lost["mean"], lost.low, lost.high) == pytest.approx((10, 10, 10), abs=1e-3)
    assert pooled.told(lost, "the grid") == "10.0 points [10.0, 10.0] below the grid"
    gained = pooled.lost(records, "grid", "box_iou").loc["average"] * -1
    gained[["low", "high"]] = -5.0, 2.0
    assert pooled.told(gained, "it") == "not distinguishable from it (10.0 points [-2.0, 5.0] above)"
    gained[["low", "high"]] = -12.0, -8.0
    assert pooled.told(gained, "it") == "10.0 points [8.0, 12.0] above it"
    none = pooled.lost({"average": records["average"]}, "itself", "ceiling").loc["average"]
    assert pooled.told(none, "its ceiling").startswith("not distinguishable from its ceiling")


def test_pooled_maps_keep_their_sum_and_are_even_in_a_block() -> None:
    maps = np.random.default_rng(1).random((2, 3, 6, 12))
    back = pooled.pooled(maps, 3)
    np.testing.assert_allclose(back.sum((-2, -1)), maps.sum((-2, -1)))
    np.testing.assert_allclose(
        back[..., :3, 3:6], maps[..., :3, 3:6].mean((-2, -1), keepdims=True) + np.zeros((3, 3))
    )
    np.testing.assert_allclose(pooled.pooled(maps, 1), maps)
    assert pooled.blocks_of((6, 12)) == [1, 2, 3, 6] and pooled.blocks_of((7, 5)) == [1]


def test_a_kept_map_is_carried_back_with_its_own_shares(records: dict) -> None:
    record, heads = records["perceiver"][0], [Head(0, 1), Head(3, 2)]
    shares, rows = record["shares"][1].astype(float), record["token_maps"][1].astype(float)
    expected = sum(rows[layer, head] @ (shares / shares.sum(-1, keepdims=True)) for layer, head in heads)
    np.testing.assert_allclose(pooled.carried_of(record, 1, heads).ravel(), expected)
    best = int((rows[0, 1] + rows[3, 2]).argmax())
    np.testing.assert_allclose(pooled.token_of(record, 1, heads).ravel(), shares[best])
