"""Heads of one profile described: by hand, and the two extremes that are compared."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from made_up_profile import made_up

from locheads.method.selection import Head, select_heads
from locheads.studies import profiles


def test_the_most_scattered_head_is_one_that_passes() -> None:
    made = made_up()
    selection = select_heads(made.attention_sum.values, made.spatial_entropy.values)
    entropies = np.where(selection.passing, 1.0, 9.0)
    head = Head(*map(int, np.argwhere(selection.passing)[-1]))
    entropies[head] = 2.0
    assert profiles.most_scattered(selection, entropies) == head


def test_components_are_counted_on_the_very_maps() -> None:
    made = made_up(samples=2)
    selection = select_heads(made.attention_sum.values, made.spatial_entropy.values)
    maps = np.zeros((*made.iou.shape, 1, 5))
    maps[..., 0] = 1.0
    maps[:, *selection.heads[0], 0, :] = [1.0, 0.0, 1.0, 0.0, 0.0]
    made = made.assign(maps=xr.DataArray(maps, dims=("sample", "layer", "head", "row", "column")))
    table = profiles.components_of(made, selection)
    assert table["components per map"].tolist() == [2.0, 1.0]
    assert table["head"].iloc[0] == str(selection.heads[0])


def test_the_summary_holds_the_selection() -> None:
    made = made_up()
    selection = select_heads(made.attention_sum.values, made.spatial_entropy.values)
    saved = profiles.summary(selection, 40)
    assert [(row["layer"], row["head"]) for row in saved["selected_heads"]] == list(selection.heads)
    assert saved["n_passing"] == selection.passing.sum() and saved["threshold"] == pytest.approx(
        selection.threshold.value
    )


def test_the_papers_heads_stand_beside() -> None:
    made = made_up()
    selection = select_heads(made.attention_sum.values, made.spatial_entropy.values, k=4)
    table = profiles.beside_paper("here", selection)
    assert table.iloc[:, 0].tolist() == ["L14 H24 (≈ 45 %)", "L14 H13", "L14 H26", ""]
    assert table.iloc[0, 1].startswith(str(selection.heads[0]))
