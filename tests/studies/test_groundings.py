"""What is shown and reported of boxes: the typical success, wording, the best and worst, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.studies.groundings import by_wording, extremes, first_of_each, median_hit


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_as_many_hits_lie_below_the_typical_one_as_above_or_one_fewer(ious: list[float]) -> None:
    at = median_hit(ious)
    hits = [iou for iou in ious if iou >= 0.5]
    if not hits:
        assert ious[at] == max(ious)
    else:
        assert ious[at] == sorted(hits)[(len(hits) - 1) // 2]


def test_nothing_grounded_is_named() -> None:
    with pytest.raises(LocheadsError, match="samples"):
        median_hit([])


def outcomes_and_samples(folder: Path) -> tuple[pd.DataFrame, dict[str, Sample]]:
    Image.new("RGB", (40, 40)).save(folder / "i.png")
    said = ["the second star from the left", "red ring", "blue ring"]
    pictures = ["p", "p", "q"]
    samples = {
        f"s{i}": Sample(f"s{i}", folder / "i.png", picture, text, (40, 40), box=(0.0, 0.0, 10.0, 10.0))
        for i, (text, picture) in enumerate(zip(said, pictures, strict=True))
    }
    boxes = [(0.0, 0.0, 20.0, 10.0), (0.0, 0.0, 10.0, 10.0), (0.0, 0.0, 40.0, 10.0)]
    rows = {"sample_id": list(samples), "image_id": pictures, "box": boxes, "box_iou": [0.5, 1.0, 0.25]}
    return pd.DataFrame(rows).assign(dataset="refcoco"), samples


def test_areas_and_hits_by_wording(tmp_path: Path) -> None:
    table = by_wording(*outcomes_and_samples(tmp_path))
    assert table.loc[("refcoco", "takes counting")].tolist() == [1, 2.0, 0.5, 100.0]
    assert table.loc[("refcoco", "does not")].tolist() == [2, 2.5, 0.625, 50.0]


def test_the_best_first_then_the_worst(tmp_path: Path) -> None:
    cases = extremes(*outcomes_and_samples(tmp_path), most=1)
    assert [case[4] for case in cases] == [1.0, 0.25]
    np.testing.assert_array_equal(cases[1][3], [0, 0, 40, 10])


def test_each_picture_is_shown_once(tmp_path: Path) -> None:
    outcomes, _ = outcomes_and_samples(tmp_path)
    assert first_of_each(outcomes) == ["s0", "s2"]
