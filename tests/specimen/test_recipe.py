"""The recipe of the specimens: the command trains every part, and the second model is what its card says."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from locheads.cli.models import Part
from locheads.errors import LocheadsError
from locheads.model.shipped import SPECIMENS
from locheads.specimen import recipe
from locheads.specimen.recipe import DECODER_PARTS, ENDINGS, NARROW_PARTS, STEPS, THIRD_PARTS, TOWER_PARTS


def test_the_command_knows_every_part_of_the_recipe_in_its_order() -> None:
    assert [part.value for part in Part] == list(STEPS)
    assert {*TOWER_PARTS, *DECODER_PARTS, *NARROW_PARTS, *THIRD_PARTS, "segmenter"} == set(STEPS)
    assert {ending.specimen for ending in ENDINGS} == set(SPECIMENS)


STEPS_OF_ENDINGS = [pair for ending in ENDINGS for pair in pairwise(ending.parts[-4:])]


@pytest.mark.parametrize(("before", "part"), STEPS_OF_ENDINGS, ids=[part for _, part in STEPS_OF_ENDINGS])
def test_a_part_builds_on_the_one_before_it(
    before: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "WORK", tmp_path)
    with pytest.raises(LocheadsError, match=f"run `locheads train specimen --part {before}` first"):
        recipe.train_part(part)


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_shipped_model_is_of_the_size_on_its_card(name: str) -> None:
    text = json.loads((SPECIMENS[name] / "config.json").read_text(encoding="utf-8"))["text_config"]
    card = " ".join((SPECIMENS[name] / "README.md").read_text(encoding="utf-8").split())
    size = f"{text['num_hidden_layers']} layers × {text['num_attention_heads']} heads of {text['head_dim']}"
    assert f"({size}, {text['hidden_size']} wide)" in card
