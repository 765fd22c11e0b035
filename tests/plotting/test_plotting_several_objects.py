from __future__ import annotations

import numpy as np
from PIL import Image

from locheads.plotting import several_objects as figures

PICTURE = Image.new("RGB", (10, 10))


def test_a_panel_for_every_word_and_a_frame_for_names() -> None:
    one = np.arange(100.0).reshape(10, 10)
    short = (PICTURE, ["ring"], [one], [0.5], [True])
    long = (PICTURE, ["the", "star"], [one, one], [0.25, 0.75], [False, True])
    axes = figures.word_maps([short, long]).axes
    assert [a.get_title() for a in axes] == ["ring\n0.50", "", "the\n0.25", "star\n0.75"]
    assert [len(a.patches) for a in axes] == [1, 0, 0, 1]


def test_titles_count_objects_and_boxes_of_which_there_may_be_none() -> None:
    box = (0.0, 0.0, 4.0, 4.0)
    axes = figures.box_sets([(PICTURE, "the ring", [box, box], [box]), (PICTURE, "the sky", [], [])]).axes
    assert axes[0].get_title() == "the ring\n1 object, 2 found" and len(axes[0].patches) == 3
    assert axes[1].get_title() == "the sky\n0 objects, 0 found" and not axes[1].patches
