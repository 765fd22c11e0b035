"""Expressions whose object is not in the picture are so by the annotations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locheads.data import Annotated, annotated_of, read_samples
from locheads.data.samples import Sample
from locheads.studies import absent

BOX, OTHER = (0.0, 0.0, 4.0, 4.0), (5.0, 5.0, 9.0, 9.0)
OBJECTS = {
    "one": [Annotated(BOX, "ring", False), Annotated(OTHER, "star", False)],
    "two": [Annotated(BOX, "cross", False), Annotated(OTHER, "star", True)],
    "odd": [Annotated(BOX, "", False)],
}


def sample(image: str, text: str, box: tuple[float, float, float, float] = BOX) -> Sample:
    return Sample(f"{image}-{text}", Path("x"), image, text, (10, 10), box)


SAMPLES = [
    sample("one", "the red Ring."),
    sample("one", "the star", OTHER),
    sample("two", "left cross"),
    sample("two", "the crossing"),
    sample("odd", "the thing"),
]


def test_an_expression_has_to_say_the_category_of_its_own_object() -> None:
    named = [absent.named_category(one, OBJECTS) for one in SAMPLES]
    assert named == ["ring", "star", "cross", None, None]
    assert absent.named_category(sample("one", "the star"), OBJECTS) is None  # its object is the ring
    assert absent.present_expressions(SAMPLES, OBJECTS) == [0, 1, 2]


def test_no_object_of_the_category_is_in_the_picture() -> None:
    found = {one.image_id: one for one in absent.absent_expressions(SAMPLES, OBJECTS, 10)}
    assert found["one"].expression == "left cross" and found["two"].expression == "the red Ring."
    assert set(found) == {"one", "two"}  # a crowd of stars is there; unknown objects may be anything
    assert found["two"].box is None and found["two"].segmentation is None
    assert len(absent.absent_expressions(SAMPLES, OBJECTS, 1)) == 1
    assert absent.absent_expressions(SAMPLES, {}, 10) == []


def test_in_the_scenes_the_word_of_the_shape_is_missing() -> None:
    samples, objects = (
        read_samples("specimen", "refcoco", "val", limit=60),
        annotated_of("specimen", "refcoco"),
    )
    found = absent.absent_expressions(samples, objects, 20)
    shapes = {one.category for some in objects.values() for one in some}
    assert len(found) == 20 and len({one.image_id for one in found}) == 20
    for one in found:
        said = shapes & set(one.expression.replace(".", "").split())
        assert said and not said <= {other.category for other in objects[one.image_id]}


def test_detection_by_hand() -> None:
    training = pd.DataFrame({"x": [0.2, 0.4, 0.6, 0.8], "hit": [True, True, True, True]})
    present = pd.DataFrame({"x": [0.9, 0.7, 0.1], "hit": [True, True, False], "image_id": list("abc")})
    gone = pd.DataFrame({"x": [0.3, 0.5], "hit": False, "image_id": list("de")})
    row = absent.detection(present, gone, training, ["x"], share=0.75).loc["x"]
    assert row["AUROC"] == pytest.approx(4 / 6)
    assert (row["hits kept"], row["misses refused"], row["absent refused"]) == (1, 1, 0.5)
    assert 0 <= row["refused_low"] <= 0.5 <= row["refused_high"] <= 1
    none = absent.detection(present.assign(hit=True), gone, training, ["x"]).loc["x"]
    assert np.isnan(none["misses refused"])


def test_without_hits_in_training_nothing_is_known_at_a_threshold() -> None:
    training = pd.DataFrame({"x": [0.2, 0.4], "hit": [False, False]})
    present = pd.DataFrame({"x": [0.9, 0.1], "hit": [True, False], "image_id": list("ab")})
    gone = pd.DataFrame({"x": [0.3], "hit": False, "image_id": ["c"]})
    row = absent.detection(present, gone, training, ["x"]).loc["x"]
    assert row["AUROC"] == 0.5
    assert row[["hits kept", "misses refused", "absent refused", "refused_low", "refused_high"]].isna().all()
