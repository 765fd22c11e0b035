"""Figures of models side by side, and of the finding: what is drawn are the heads' own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from made_up_profile import made_up
from PIL import Image

from locheads.data.samples import Sample
from locheads.method.geometry import Window
from locheads.method.grounding import ground
from locheads.plotting import finding, iou_panels, rank_and_depth
from locheads.studies.across_models import Compared, compared


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


@pytest.fixture
def models() -> list[Compared]:
    return [compared("one", made_up(), made_up()), compared("two", made_up(seed=1), made_up(seed=1))]


def test_a_panel_a_model_with_all_heads_and_the_chosen_ones_apart(models: list[Compared]) -> None:
    panels = iou_panels(models).axes
    assert [axes.get_title().splitlines()[0] for axes in panels] == ["one", "two"]
    for axes, one in zip(panels, models, strict=True):
        others, chosen = (points.get_offsets() for points in axes.collections)
        expected = [(100 * one.selection.frequency[h], 100 * one.iou[h]) for h in one.selection.heads]
        np.testing.assert_allclose(np.sort(chosen, axis=0), np.sort(expected, axis=0))
        assert len(others) + len(chosen) == len(one.often)


def test_ranks_fall_and_shares_of_layers_make_a_whole(models: list[Compared]) -> None:
    left, right = rank_and_depth(models, {"elsewhere": [0.5, 0.2]}, {"paper": [0.4]}).axes
    first, _, elsewhere = (line.get_ydata() for line in left.lines)
    assert (np.diff(first) <= 0).all() and first[0] == 100 * models[0].selection.frequency.max()
    np.testing.assert_allclose(elsewhere, [50, 20])
    depth, share = right.lines[1].get_data()
    assert (depth[0], depth[-1], share.sum()) == (0, 1, pytest.approx(100))
    assert right.lines[2].get_xdata() == [0.4]


def test_the_finding_shows_the_box_that_follows_from_the_maps(models: list[Compared], tmp_path: Path) -> None:
    one, maps = models[0], np.zeros((3, 4, 4))
    maps[:, 1:3, 1:3] = 0.1
    Image.new("RGB", (40, 40)).save(tmp_path / "i.png")
    sample = Sample("s", tmp_path / "i.png", "i", "the ring", (40, 40), box=(10.0, 10.0, 30.0, 20.0))
    window = Window.stretch(sample.size, (4, 4))
    figure = finding(one, [(sample, window, maps)], {"three": (0.75, 0.7, 0.8), "random": (0.2, 0.1, 0.3)})
    scatter, picture, *looks, bars = figure.axes
    assert len(scatter.collections) == 2 and len(looks) == 3
    assert picture.get_title() == "“the ring”"
    true, found = (patch.get_bbox().extents for patch in picture.patches)
    np.testing.assert_allclose(true, (10, 10, 30, 20))
    np.testing.assert_allclose(found, ground(maps, window).box)
    assert [text.get_text() for text in bars.texts] == ["75 %", "20 %"]
