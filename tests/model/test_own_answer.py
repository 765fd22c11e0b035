"""Answers as several models write them, by hand; regions against the specimen's own words for a place."""

from __future__ import annotations

import numpy as np
import pytest

from locheads.data.scenes.expressions import column_word, row_word
from locheads.data.scenes.scenes import SIDE, Thing
from locheads.errors import LocheadsError
from locheads.method.geometry import Window
from locheads.model.lvlm import Lvlm
from locheads.model.own_answer import COLUMNS, ROWS, parse_numbers, parse_place, region_box, region_of, to_box


class Padded(Lvlm):
    """A model of which only the geometry is asked for: pictures padded to a square."""

    def __init__(self, fit: str = "pad", image_size: int | None = None) -> None:
        object.__setattr__(self, "fit", fit)
        object.__setattr__(self, "image_size", image_size)

    def window(self, size: tuple[int, int]) -> Window:
        return (Window.pad_to_square if self.fit == "pad" else Window.stretch)(size, (24, 24))


@pytest.mark.parametrize(
    ("answer", "numbers"),
    [
        ("[0.12, 0.3, 0.5, 0.9]", (0.12, 0.3, 0.5, 0.9)),
        ("The box is [.12,.3,.5,1.].", (0.12, 0.3, 0.5, 1)),
        ("<box>123,456,789,1000</box>", (123, 456, 789, 1000)),
        ("<ref>the dog</ref><box>(12,34),(56,78)</box>", (12, 34, 56, 78)),
        ("<box>[[12, 34, 56, 78]]</box>", (12, 34, 56, 78)),
        ('```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "dog 2"}]\n```', (10, 20, 30, 40)),
        ('{"x1": 1, "y1": 2, "x2": 3, "y2": 4}', (1, 2, 3, 4)),
        ("x_min: 0.1, y_min: 0.2, x_max: 0.3, y_max: 0.4", (0.1, 0.2, 0.3, 0.4)),
        ("2 dogs: [1, 2, 3, 4] and [5, 6, 7, 8]", (1, 2, 3, 4)),
        ("I'm sorry, I can't locate it.", None),
        ("There are 2 dogs, 3 cats, 4 cows and 5 hens.", None),
        ("It is about 40%, 30%, 20%, 10% of it.", None),
        ("red ring small top left", None),
        ("[12, 34, 56]", None),
        ("", None),
    ],
)
def test_numbers_of_several_models(answer: str, numbers: tuple[float, ...] | None) -> None:
    assert parse_numbers(answer) == numbers


SIZE = (200, 100)


@pytest.mark.parametrize(
    ("answer", "convention", "frame", "box"),
    [
        ("[0.1, 0.5, 0.5, 0.9]", "unit", "image", [20, 50, 100, 90]),
        ("[0.1, 0.5, 0.5, 0.9]", "auto", "image", [20, 50, 100, 90]),
        ("[100, 500, 500, 900]", "thousand", "image", [20, 50, 100, 90]),
        ("[100, 500, 500, 900]", "auto", "image", [20, 50, 100, 90]),
        ("[20, 50, 100, 90]", "auto", "image", [20, 50, 100, 90]),
        ("[100, 90, 20, 50]", "pixels", "image", [20, 50, 100, 90]),  # corners swapped
        ("[-5, 50, 300, 90]", "pixels", "image", [0, 50, 200, 90]),  # cut off
        # the square that a padded picture becomes is 200 × 200, 50 pixels above and below
        ("[0.1, 0.25, 0.5, 0.75]", "unit", "view", [20, 0, 100, 100]),
        ("[20, 60, 100, 140]", "pixels", "view", [20, 10, 100, 90]),
        ("[0.1, 0.0, 0.5, 0.2]", "unit", "view", None),  # in the padding alone
        ("[0.1, 0.5, 0.1, 0.9]", "unit", "image", None),  # no area
        ("ring top left", "place", "view", [0, 0, 80, 40]),
        ("Middle-right, I think", "place", "view", [120, 40, 200, 60]),
        ("no idea", "place", "view", None),
    ],
)
def test_boxes_by_hand(answer: str, convention: str, frame: str, box: list[float] | None) -> None:
    found = to_box(answer, Padded(), SIZE, convention, frame)
    assert (found is None) == (box is None)
    if box is not None:
        np.testing.assert_allclose(found, box, atol=1e-9)


def test_pixels_count_in_the_square_that_the_processor_gets() -> None:
    found = to_box("[336, 0, 672, 336]", Padded("stretch", 672), SIZE, "pixels")
    np.testing.assert_allclose(found, [100, 0, 200, 50])


@pytest.mark.parametrize(
    ("convention", "frame", "said"),
    [
        ("percent", "view", "convention 'percent': give auto or unit"),
        ("unit", "page", "frame 'page': give view"),
    ],
)
def test_unknown_conventions_are_refused(convention: str, frame: str, said: str) -> None:
    with pytest.raises(LocheadsError, match=said):
        to_box("[1, 2, 3, 4]", Padded(), SIZE, convention, frame)


def test_the_last_place_counts() -> None:
    assert parse_place("not top left but bottom center") == (2, 1)
    assert parse_place("left") is None and parse_place("") is None


def test_regions_are_the_places_of_the_specimen() -> None:
    for x, y in np.random.default_rng(0).uniform(1, SIDE - 1, (200, 2)).tolist():
        thing = Thing("ring", "red", "plain", "small", x, y, 50.0, 0.0)
        box = np.array([[x - 1, y - 1, x + 1, y + 1]])
        row, column = region_of(box, np.array([[SIDE, SIDE]], float))[0].tolist()
        assert (ROWS[row], COLUMNS[column]) == (row_word(thing), column_word(thing))
        x0, y0, x1, y1 = region_box((row, column), (SIDE, SIDE))
        assert x0 <= x <= x1 and y0 <= y <= y1
