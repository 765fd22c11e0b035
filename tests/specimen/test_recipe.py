"""The recipe of the specimens: the command trains every part, and the second model is what its card says."""

from __future__ import annotations

import json

import pytest

from locheads.cli.models import Part
from locheads.model.shipped import SPECIMENS
from locheads.specimen.recipe import DECODER, NARROW_PARTS, STEPS, THIRD_PARTS, TOWER


def test_the_command_knows_every_part_of_the_recipe_in_its_order() -> None:
    assert [part.value for part in Part] == list(STEPS)
    assert {*TOWER, *DECODER, *NARROW_PARTS, *THIRD_PARTS, "segmenter"} == set(STEPS)


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_shipped_model_is_of_the_size_on_its_card(name: str) -> None:
    text = json.loads((SPECIMENS[name] / "config.json").read_text(encoding="utf-8"))["text_config"]
    card = " ".join((SPECIMENS[name] / "README.md").read_text(encoding="utf-8").split())
    size = f"{text['num_hidden_layers']} layers × {text['num_attention_heads']} heads of {text['head_dim']}"
    assert f"({size}, {text['hidden_size']} wide)" in card
