"""Tests the readings of the query token."""

import numpy as np
import pytest
from PIL import Image

from locheads.errors import LocheadsError
from locheads.model.loading import load_lvlm, varied
from locheads.model.own_answer import asking

PICTURE = Image.fromarray(np.zeros((96, 96, 3), dtype=np.uint8))
TEXTS = ["the red ring", "the red ring.", "the red ring. "]


def queried(lvlm, texts=TEXTS):
    encoded = lvlm.encode([PICTURE] * len(texts), texts)
    pairs = zip(encoded.inputs["input_ids"], encoded.query, strict=True)
    return [lvlm.processor.tokenizer.decode([ids[at]]).strip() for ids, at in pairs]


@pytest.mark.parametrize("prompt", ["specimen", "plain", "{image}\n{expression} is"])
def test_each_reading_queries_its_token_whether_the_expression_has_a_period_or_not(prompt):
    lvlm = load_lvlm(prompt=prompt)
    assert lvlm.query == "period"
    last = ["is"] * 3 if prompt.endswith("is") else ["ring", ".", "."]
    found = [queried(varied(lvlm, query=query)) for query in ("word", "period", "last")]
    assert found == [["ring"] * 3, ["."] * 3, last]


def test_a_period_is_appended_once():
    ids = load_lvlm().encode([PICTURE] * 3, TEXTS).inputs["input_ids"]
    assert (ids == ids[:1]).all()


def test_an_own_answer_is_asked_for_without_a_period_of_ours():
    lvlm = asking(load_lvlm(), "{expression}")
    texts = [lvlm.prompted([PICTURE], [text])["input_ids"][0] for text in TEXTS[:2]]
    decoded = [lvlm.processor.tokenizer.decode(ids).split() for ids in texts]
    assert decoded[0][-1] == "ring" and decoded[1][-1].endswith(".")
    assert lvlm.texts(["the red ring"]) == [lvlm.texts(["the red ring"], "word")[0] + "."]


def test_the_unknown_word_is_named_and_not_a_known_one_with_its_period():
    with pytest.raises(LocheadsError, match="does not know the word 'zebra'"):
        load_lvlm().encode([PICTURE], ["the ring. zebra."])
