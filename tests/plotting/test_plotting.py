"""What the figures of the ablations show is what they were given."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from locheads import plotting
from locheads.plotting import effect_dots, gain_lines
from locheads.plotting.style import FOUND


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def labelled(axes: plt.Axes) -> dict[str, np.ndarray]:
    return {str(line.get_label()): np.asarray(line.get_xydata()) for line in axes.get_lines()}


def table_of(x: list[float], metric: str = "rec_acc50") -> pd.DataFrame:
    value = np.arange(len(x)) / 10
    return pd.DataFrame({"x": x, "metric": metric, "value": value, "low": value - 0.1, "high": value + 0.2})


def test_gains_are_in_points():
    figure = gain_lines(table_of([1, 2, 3]), {"a": [-2.0, 0.0], "b": [1.0, 0.0]}, [1, 3], "k", "specimen")
    lines = labelled(figure.axes[0])
    np.testing.assert_allclose(lines["specimen, here"], [[1, 0], [2, 10], [3, 20]])
    np.testing.assert_allclose(lines["the paper's models"], [[1, -2], [3, 0]])


def test_effects_stand_in_their_row_with_their_interval_and_group():
    effects = pd.concat([table_of([1.0, 2.0]), table_of([1.0, 2.0], "res_ciou")], ignore_index=True)
    effects["variant"], effects["survives"] = ["a", "b"] * 2, [True, False] * 2
    figure = effect_dots(
        effects, ["b", "a"], {"rec_acc50": "REC", "res_ciou": "RES"}, {"x": ["a"], "y": ["b"]}
    )
    left, right = figure.axes
    dots = {
        line.get_color(): np.asarray(line.get_xydata())
        for line in left.get_lines()
        if len(line.get_xydata()) == 1
    }
    np.testing.assert_allclose(sorted(map(tuple, np.concatenate(list(dots.values())))), [(0, 0), (0.1, 1)])
    bars = [segment for lines in left.collections[1:] for segment in lines.get_segments()]
    np.testing.assert_allclose(sorted(np.array(bars)[:, :, 0].tolist()), [[-0.1, 0.2], [0, 0.3]], atol=1e-9)
    assert [text.get_text() for text in left.get_yticklabels()] == ["b", "a"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["x", "y"]
    assert right.get_xlabel() == "difference in RES" and left.get_xlim() == right.get_xlim()
    filled = [list(line.get_ydata()) for line in left.get_lines() if line.get_markerfacecolor() != "white"]
    assert [0] in filled and [1] not in filled  # a survives, b does not


@pytest.mark.parametrize(
    "text",
    ["the $5 bill next to the $10 bill", 'the "$100" and "$20"', "jar with $_$ on it", r"one \$ sign", "$"],
)
def test_dollar_signs_are_drawn_as_they_stand(text: str) -> None:
    image, box = Image.new("RGB", (20, 20)), np.array([1, 1, 9, 9.0])
    figure = plotting.grounding_grid([(image, text, box, box, 0.5)] * 2, columns=2)
    figure.canvas.draw()
    title = figure.axes[0].title
    assert title.get_text().split("\nIoU")[0].replace("\n", " ") == text and not title.get_parse_math()


def test_recall_is_in_per_cent_and_the_heads_are_orange():
    axes = plotting.recall_curves(
        {"heads": np.array([0.25, 0.75]), "answer": np.array([0.5])}, marked=0.5
    ).axes[0]
    heads, answer = (labelled(axes)[name] for name in ("heads", "answer"))
    np.testing.assert_allclose(heads, [[0, 100], [0.25, 100], [0.75, 50], [1, 0]])
    np.testing.assert_allclose(answer, [[0, 100], [0.5, 100], [1, 0]])
    assert axes.get_lines()[0].get_color() == FOUND
