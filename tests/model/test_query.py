"""Tests the readings of the query token."""

import numpy as np
import pytest
from PIL import Image

from locheads.model.loading import load_lvlm, varied


@pytest.mark.parametrize("prompt", ["specimen", "plain"])
def test_a_period_is_appended_once_and_queried(prompt):
    lvlm = load_lvlm(prompt=prompt)
    picture = Image.fromarray(np.zeros((96, 96, 3), dtype=np.uint8))
    texts = ["the red ring", "the red ring."]
    words = lvlm.encode([picture] * 2, texts)
    periods = varied(lvlm, query="period").encode([picture] * 2, texts)
    queried = [
        [
            lvlm.processor.tokenizer.decode([ids[at]]).strip()
            for ids, at in zip(e.inputs["input_ids"], e.query, strict=True)
        ]
        for e in (words, periods)
    ]
    assert queried == [["ring", "."], [".", "."]]
    assert (periods.inputs["input_ids"][0] == periods.inputs["input_ids"][1]).all()
