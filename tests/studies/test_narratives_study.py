from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from locheads.data.masks import encode_mask
from locheads.data.samples import Sample
from locheads.studies import narratives


def phrase(name: str, text: str, ends: str, plural: bool = False, thing: bool = True) -> Sample:
    mask = np.zeros((10, 10), bool)
    mask[:, :4] = True
    return Sample(
        name, Path("x"), name, text, (10, 10), (0.0, 0.0, 4.0, 10.0), encode_mask(mask),
        phrase=ends, is_plural=plural, is_thing=thing,
    )  # fmt: skip


PHRASES = [
    phrase("a", "the ring.", "the ring"),
    phrase("b", "the ring is above the star.", "the star"),
    phrase("c", "the ring and the two stars", "the two stars", plural=True),
    phrase("d", "the ring below the sky", "the sky", thing=False),
]


def outcomes(ious: dict[str, float], variant: str = "largest") -> pd.DataFrame:
    rows = [
        {"sample_id": name, "image_id": name, "variant": variant, "box_iou": iou, "box": (0, 0, 2, 10),
         "intersection": round(100 * iou), "union": 100, "covered": iou}
        for name, iou in ious.items()
    ]  # fmt: skip
    return pd.DataFrame(rows)


IOUS = {"a": 0.8, "b": 0.2, "c": 0.6, "d": 0.0}


def test_places_in_the_caption():
    assert [narratives.place(one) for one in PHRASES] == list(narratives.PLACES)


def test_groups_overlap_and_count_all():
    table = narratives.recalls(outcomes(IOUS), PHRASES).set_index("group")
    assert table.samples.to_dict() == {"all": 4, "things": 3, "stuff": 1, "singular": 3, "plural": 1}
    assert table.value["things"] == pytest.approx(1.6 / 3) and table.value["stuff"] == 0
    kinds = narratives.ious_by_kind(outcomes(IOUS), PHRASES)
    assert {kind: list(values) for kind, values in kinds.items()} == {
        "things, singular": [0.8, 0.2], "things, plural": [0.6], "stuff": [0.0]
    }  # fmt: skip
    assert narratives.sizes(PHRASES).loc["plural"].tolist() == [1, 1, "the ring and the two stars"]


def test_the_gain_of_all_cells_by_hand():
    both = pd.concat([outcomes(IOUS), outcomes({**IOUS, "c": 0.9, "a": 0.5}, "all")])
    table = narratives.one_box(both, PHRASES)
    assert table.gain["plural"] == pytest.approx(0.3) and table.gain["singular"] == pytest.approx(-0.1)
    assert table["covered, all"]["plural"] == pytest.approx(0.9)


def test_half_of_the_mask_is_in_half_of_the_box():
    assert narratives._covered(PHRASES[0], (0.0, 0.0, 2.0, 10.0)) == 0.5
    assert narratives._covered(PHRASES[0], (4.0, 0.0, 10.0, 10.0)) == 0


def test_readings_are_paired_by_phrase():
    alone = outcomes({"a": 0.8, "b": 0.7, "c": 0.6, "d": 0.0})[::-1]
    both = pd.concat([outcomes(IOUS).assign(reading="in its caption"), alone.assign(reading="phrase alone")])
    places = {one.sample_id: narratives.place(one) for one in PHRASES}
    table = narratives.context_table(both.assign(place=both.sample_id.map(places)))
    assert table.gain["later: singular things"] == pytest.approx(0.5)
    assert table.gain["first of a caption"] == 0 and table.phrases["later: stuff"] == 1


def test_table_9_beside_this_model():
    table = narratives.beside_the_paper(narratives.recalls(outcomes(IOUS), PHRASES), "mine")
    assert table["all"].tolist() == pytest.approx([66.7, 65.7, 40.0])
    assert table.loc["mine, largest component", "plural"] == pytest.approx(60)
