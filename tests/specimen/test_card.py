"""The cards of the weights say what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from locheads.data.scenes.expressions import ATTRIBUTES
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.model.shipped import WEIGHTS, save_weights
from locheads.specimen.card import (
    answers_table,
    curve_table,
    held_out_answers,
    held_out_questions,
    ious_table,
    write_card,
)
from locheads.specimen.vocabulary import make_tokenizer


@pytest.fixture(scope="module")
def lvlm() -> Lvlm:
    return load_lvlm("specimen")


@pytest.mark.slow
def test_held_out_answers_are_those_of_the_model_one_by_one(
    lvlm: Lvlm, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = held_out_answers(lvlm, scenes=8)
    monkeypatch.setattr("locheads.specimen.card.BATCH", 1)
    pd.testing.assert_frame_equal(rows, held_out_answers(lvlm, scenes=8))
    assert set(rows["asked"]) <= {*ATTRIBUTES, "place"}


@pytest.mark.slow
def test_a_model_that_says_one_word_is_right_where_it_is_asked_for(lvlm: Lvlm) -> None:
    """With a bias that drowns all else, every answer is "red": right for some colours, for nothing else."""
    red, head = make_tokenizer().get_vocab()["red"], lvlm.model.lm_head
    handle = head.register_forward_hook(lambda module, inputs, logits: logits + 1e4 * _one_hot(logits, red))
    try:
        rows = held_out_answers(lvlm, scenes=60)
    finally:
        handle.remove()
    assert 1 <= rows["right"].sum() < 30 and set(rows["asked"][rows["right"]]) == {"color"}


def _one_hot(logits: torch.Tensor, index: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(index), logits.shape[-1])


def test_guessing_names_any_object_of_the_scene() -> None:
    table = held_out_questions(40, seed=3, styles=["refcoco+"])
    asked = table[table.asked != "place"]
    assert table.guess.between(0.2, 1).all() and 0 < asked.telling.mean() < 1
    assert ((asked.guess < 1) == asked.telling).all()


def test_tables() -> None:
    rows = pd.DataFrame(
        {
            "asked": ["color", "color", "place"],
            "telling": [True, False, True],
            "right": [True, False, True],
        }
    )
    assert "| color | 50% (2) | 100% (1) |" in answers_table(rows)
    assert "| box | 0.500 | 33% | 0.12 |" in ious_table({"box": np.array([0.1, 0.2, 1.2])})
    curve = [{"step": i, "loss": i / 10, "place": 0.5} for i in (100.0, 200.0, 300.0)]
    assert curve_table(curve, every=2).splitlines()[2:] == [
        "| 200 | 20.00 | 0.50 |",
        "| 300 | 30.00 | 0.50 |",
    ]


@pytest.mark.parametrize("name", ["lvlm", "sam"])
def test_a_card_names_the_hash_and_leaves_no_hole(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()
    digest = save_weights(folder, {"a": torch.zeros(2)})
    write_card(folder, 12_345, "some steps", "RESULTS", "CURVE")
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert all(said in card for said in (digest, "12,345", "some steps", "RESULTS", "CURVE"))
    assert "{" not in card and (WEIGHTS / name / "README.md").exists()
