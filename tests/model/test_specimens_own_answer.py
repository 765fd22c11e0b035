"""The specimen's own words, generated."""

from __future__ import annotations

import pytest
import torch

from locheads.data import read_samples
from locheads.model.loading import load_lvlm
from locheads.model.own_answer import ask, asking, parse_place


@pytest.mark.slow
def test_answers_are_those_of_a_loop_over_tokens_whatever_the_batch() -> None:
    lvlm = asking(load_lvlm(), "{expression}")
    samples = read_samples("specimen", "refcocog", "val", limit=5)
    together = ask(lvlm, samples, batch=5)
    assert together == ask(lvlm, samples, batch=2)
    assert all(parse_place(answer) for answer in together)
    tokenizer = lvlm.processor.tokenizer
    inputs = lvlm.prompted([samples[0].image], [samples[0].expression])
    ids, pixels = inputs["input_ids"], inputs["pixel_values"]
    for _ in together[0].split():
        with torch.inference_mode():
            likeliest = lvlm.model(input_ids=ids, pixel_values=pixels).logits[:, -1].argmax(-1)
        ids = torch.cat([ids, likeliest[:, None]], dim=1)
    assert tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :]) == together[0]
