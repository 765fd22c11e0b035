"""What the model sees otherwise: the same model with another prompt or square, on the specimen."""

from __future__ import annotations

import numpy as np
import pytest

from locheads.data import read_samples
from locheads.data.cropping import oblong
from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Variant
from locheads.method.selection import Head
from locheads.model.loading import load_lvlm, varied
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import load_segmenter
from locheads.profiling.profile import maps_of
from locheads.studies.audit_inputs import prompted, queries, see, squares

AFTER = "{image}\n{expression} is"


@pytest.fixture(scope="module")
def lvlm() -> Lvlm:
    return load_lvlm()


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return [oblong(one) for one in read_samples("specimen", "refcoco+", "val", limit=2)]


def test_varied_is_the_model_loaded_otherwise(lvlm):
    again = load_lvlm(prompt=AFTER, query="last", fit="stretch")
    other = varied(lvlm, AFTER, "stretch", "last")
    assert other.model is lvlm.model
    assert (other.prompt, other.query, other.fit) == (again.prompt, again.query, again.fit)
    assert (lvlm.query, lvlm.fit) == ("period", "own")


def test_what_stands_after_matters_to_the_last_token_only(lvlm, samples):
    plain, after, last = (
        next(iter(maps_of(model, samples[:1])))
        for model in (varied(lvlm, "plain"), varied(lvlm, AFTER), varied(lvlm, AFTER, query="last"))
    )
    np.testing.assert_allclose(after, plain, atol=1e-6)
    assert np.abs(last - plain).max() > 1e-3


def test_prompts_with_unknown_words_are_refused_by_name(lvlm, samples):
    prompts = {
        "release": "release",
        "chat": "chat",
        "plain": "plain",
        "after": AFTER,
        "before": "one {image}\n{expression}",
    }
    taken, refused = prompted(lvlm, prompts, samples[0], last=["after"])
    assert list(taken) == ["plain", "after", "before"] and list(refused) == ["release", "chat"]
    assert "does not know the word 'You'" in refused["release"] and "no chat template" in refused["chat"]
    assert taken["after"].query == "last" and taken["before"].query == "period"


def test_ways_of_one_model_share_their_capture_and_not_their_boxes(lvlm, samples):
    seen = see(squares(lvlm, Variant((Head(3, 0),))), load_segmenter(), samples)
    pad, stretch, _, misread = seen.iou
    assert list(seen.outcomes.variant.unique()) == list(seen.iou)
    assert seen.iou[pad] is seen.iou[misread]
    assert not np.array_equal(seen.iou[pad], seen.iou[stretch])
    boxes = seen.outcomes.pivot(index="sample_id", columns="variant", values="box")
    assert (boxes[pad] != boxes[misread]).all()
    square = varied(lvlm, fit="pad").window(samples[0].size)
    assert (square.x1 - square.x0, square.y1 - square.y0) == (256, 256)


def test_queries_are_those_that_the_model_does_not_have_itself(lvlm):
    found = queries(varied(lvlm, query="word"))
    assert {name: model.query for name, model in found.items()} == {
        "query token: the period": "period",
        "query token: the prompt's last token": "last",
    }
