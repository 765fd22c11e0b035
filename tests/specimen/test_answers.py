"""Packed turns are what the model meets at inference, and no turn sees another."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration

from locheads.data.scenes.expressions import STYLES
from locheads.data.scenes.scenes import Scene, draw_scene
from locheads.model.prompts import SPECIMEN_SYSTEM
from locheads.specimen.answers import LAYERS, answer_logits, deepened, make_model, turn_mask
from locheads.specimen.jobs import turn_of
from locheads.specimen.tower import VISION
from locheads.specimen.training import ScenePool
from locheads.specimen.turns import CROWDED, PATCHES, Conversations, Turns, pack_turns
from locheads.specimen.vocabulary import make_processor, make_tokenizer

EVEN, ASK = (0.25, 0.25, 0.25, 0.25), (1.0, 0.0, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return draw_scene(np.random.default_rng(5))


@pytest.fixture(scope="module")
def model() -> LlavaForConditionalGeneration:
    torch.manual_seed(0)
    return make_model(make_tokenizer()).eval()


@pytest.fixture(scope="module")
def turns(scene: Scene) -> Turns:
    other = draw_scene(np.random.default_rng(6))
    draw = partial(turn_of, shares=EVEN, jobs=ASK)
    return pack_turns(scene, other, make_tokenizer(), draw, np.random.default_rng(1))


def test_turns_are_numbered_from_their_own_start(turns: Turns) -> None:
    assert turns.turn.max() >= 3
    for number in range(turns.turn.max() + 1):
        mine = turns.turn == number
        assert (turns.offset[mine] == np.arange(mine.sum())).all()
        following = turns.tokens[mine][1:]
        labels = turns.labels[mine][:-1]
        assert (labels[labels >= 0] == following[labels >= 0]).all()
        assert turns.labels[mine][-1] == make_tokenizer().eos_token_id


def test_the_mask_equals_a_loop() -> None:
    turn = torch.tensor([[0, 0, 1, 1, -1]])
    mask = turn_mask(turn, visible=3)[0, 0]
    for i in range(8):
        for j in range(8):
            sees = j <= i
            if i >= 3 and j >= 3:
                sees &= bool(turn[0, i - 3] == turn[0, j - 3])
            assert mask[i, j] == sees, (i, j)


def test_a_system_sentence_that_is_not_shown_is_seen_by_nothing_behind_it() -> None:
    turn, shown = torch.tensor([[0, 0], [0, 0]]), torch.tensor([True, False])
    with_it, without = turn_mask(turn, 6, 2, shown)[:, 0]
    assert with_it[3:, 1:3].all() and not without[3:, 1:3].any()
    assert (with_it[:, 3:] == without[:, 3:]).all() and without[:, 0].all()


@pytest.mark.parametrize("shown", [True, False])
@torch.no_grad()
def test_a_packed_turn_is_the_sequence_of_inference(
    scene: Scene, model: LlavaForConditionalGeneration, turns: Turns, shown: bool
) -> None:
    """Logits after a turn's tokens equal those of the model run on image and text alone."""
    processor, image = make_processor(VISION.image_size, VISION.patch_size), Image.fromarray(scene.image)
    pixels = processor.image_processor(image, return_tensors="pt")["pixel_values"]
    features = model.model.vision_tower(pixels).last_hidden_state[:, 1:]
    batch = {name: torch.from_numpy(getattr(turns, name))[None] for name in Turns.__annotations__}
    batch |= {
        "features": features,
        "seen": torch.arange(PATCHES)[None],
        "system": torch.tensor(make_tokenizer().convert_tokens_to_ids(SPECIMEN_SYSTEM.split()))[None],
        "shown": torch.tensor([shown]),
    }
    prompt = (SPECIMEN_SYSTEM if shown else "") + " <image> "
    packed = answer_logits(model, batch)
    labelled = turns.turn[turns.labels != -100]
    for number in range(turns.turn.max() + 1):
        ids = turns.tokens[turns.turn == number]
        inputs = processor(images=image, text=prompt + processor.tokenizer.decode(ids), return_tensors="pt")
        alone = model(**inputs).logits[0, -len(ids) :]
        known = torch.from_numpy(turns.labels[turns.turn == number] != -100)
        torch.testing.assert_close(
            packed[torch.from_numpy(labelled == number)], alone[known], atol=1e-4, rtol=0
        )


def test_styles_have_their_shares(scene: Scene) -> None:
    draw = partial(turn_of, shares=(0.0, 1.0, 0.0, 0.0), jobs=ASK)
    only = pack_turns(scene, scene, make_tokenizer(), draw, np.random.default_rng(2))
    places = make_tokenizer().convert_tokens_to_ids(["left", "right", "top", "bottom"])
    first = [only.tokens[only.turn == n][0] for n in range(only.turn.max() + 1)]
    assert not set(first) & set(places) and len(STYLES) == 4


@torch.no_grad()
def test_more_layers_are_the_same_function_at_first(model: LlavaForConditionalGeneration) -> None:
    deeper = deepened(model).eval()
    layers = deeper.model.language_model.layers
    assert len(layers) == LAYERS > len(model.model.language_model.layers)
    tokens = torch.arange(5, 25)[None]
    assert torch.equal(deeper(input_ids=tokens).logits, model(input_ids=tokens).logits)
    assert layers[-1].self_attn.q_proj.weight.std() > 0.01


def test_scenes_come_as_often_as_they_have_pairs_to_tell_apart() -> None:
    things = [draw_scene(np.random.default_rng(seed)).things for seed in range(12)]
    pool = ScenePool(np.empty(0), things)
    chance = Conversations(pool, np.empty(0), steps=1, seed=0, course=CROWDED).late
    two, four = (next(i for i, seen in enumerate(things) if len(seen) == n) for n in (2, 4))
    assert chance.sum() == pytest.approx(1) and chance[four] == pytest.approx(6 * chance[two])
