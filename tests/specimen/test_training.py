"""The loop of all trainings resumes exactly; what the vision tower is told of a scene is true of it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import Dataset
from transformers import CLIPVisionModel

from locheads.data.scenes.expressions import ATTRIBUTES
from locheads.data.scenes.scenes import SHAPES, draw_scene
from locheads.specimen.questions import LENGTH, Questioner, Questions, question_loss
from locheads.specimen.switches import plain_scene
from locheads.specimen.tags import (
    KEPT,
    PATCHES,
    TAGS,
    WORDS,
    TaggedScenes,
    patch_features,
    tag_loss,
    tags_of,
)
from locheads.specimen.tower import COARSE, VISION, enlarged, patch_count
from locheads.specimen.training import Batch, ScenePool, make_pool, train
from locheads.specimen.vocabulary import make_tokenizer

pytestmark = pytest.mark.slow


class Lines(Dataset):
    """Points of a line, drawn from the step alone."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, step: int) -> Batch:
        x = torch.randn(16, 1, generator=torch.Generator().manual_seed(step))
        return {"x": x, "y": 3 * x - 1}


def fit(checkpoint: Path, stop: int | None = None) -> tuple[nn.Linear, list[dict[str, float]]]:
    torch.manual_seed(5)
    line, seen = nn.Linear(1, 1), [0]

    def loss_of(batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        if seen[0] == stop:
            raise KeyboardInterrupt
        seen[0] += 1
        noise = 0.1 * torch.randn(())  # chance inside the loss must be the same after a resumption
        loss = (line(batch["x"]) - batch["y"]).square().mean() + noise * line.weight.sum()
        return loss, {"even": 1.0} if seen[0] % 2 == 0 else {}

    return line, train(line, Lines(), loss_of, 0.1, checkpoint, warm_up=1, save_every=2)


@pytest.mark.parametrize("stop", [2, 3, 5])
def test_an_interrupted_training_ends_as_an_undisturbed_one(tmp_path: Path, stop: int) -> None:
    whole, curve = fit(tmp_path / "whole.ckpt")
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "halves.ckpt", stop)
    halves, resumed = fit(tmp_path / "halves.ckpt")
    assert torch.equal(whole.weight, halves.weight) and torch.equal(whole.bias, halves.bias)
    assert [row["step"] for row in resumed] == [2, 4, 6, 7]
    assert [row["loss"] for row in resumed] == [row["loss"] for row in curve]
    assert {path.name for path in tmp_path.iterdir()} == {"whole.ckpt", "halves.ckpt"}


def test_what_needs_no_gradient_stays_and_the_rest_learns(tmp_path: Path) -> None:
    torch.manual_seed(0)
    both = nn.ModuleList([nn.Linear(1, 1), nn.Linear(1, 1)])
    both[0].requires_grad_(False)
    before = [layer.weight.clone() for layer in both]

    def loss_of(batch: Batch) -> tuple[torch.Tensor, dict[str, float]]:
        return (both[1](both[0](batch["x"])) - batch["y"]).square().mean(), {}

    train(both, Lines(), loss_of, 0.1, tmp_path / "both.ckpt")
    assert torch.equal(both[0].weight, before[0]) and not torch.equal(both[1].weight, before[1])


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> ScenePool:
    return make_pool(tmp_path_factory.mktemp("pool"), 40, COARSE.image_size, seed=3)


def test_a_pool_is_reopened_as_it_was_drawn(tmp_path: Path) -> None:
    drawn, again = (make_pool(tmp_path, 3, 48, seed=1) for _ in range(2))
    assert (drawn.images == again.images).all() and drawn.things == again.things
    scene = draw_scene(np.random.default_rng([1_000, 1, 2]))
    assert drawn.things[2] == scene.things
    small = Image.fromarray(scene.image).resize((48, 48), Image.Resampling.BOX)
    assert np.abs(drawn.images[2].astype(float) - np.asarray(small)).mean() < 8


def test_every_tag_of_a_scene_holds_of_one_object(pool: ScenePool) -> None:
    batch = TaggedScenes(pool, 4, seed=0)[2]
    chosen = np.sort(np.random.default_rng([0, 2]).choice(40, 32, replace=False))
    names = list(TAGS)
    for scene, row in zip(chosen, batch["tags"], strict=True):
        for index in row.nonzero()[:, 0].tolist():
            kinds, words = names[index]
            plain = [(k, w) for k, w in zip(kinds, words, strict=True) if k in ATTRIBUTES]
            assert any(all(getattr(t, k) == w for k, w in plain) for t in pool.things[scene])
        assert row.sum() == len({tag for thing in pool.things[scene] for tag in tags_of(thing)})
    assert batch["patches"].shape == (32, KEPT)
    assert all(len(set(row.tolist())) == KEPT and row.max() < PATCHES for row in batch["patches"])


def test_features_of_all_patches_are_those_of_the_tower(pool: ScenePool) -> None:
    torch.manual_seed(0)
    tower = CLIPVisionModel(COARSE).eval()
    pixels = pool.pixels(np.arange(2))
    every = torch.arange(PATCHES).expand(2, -1)
    with torch.no_grad():
        torch.testing.assert_close(
            patch_features(tower, pixels, every), tower(pixels).last_hidden_state[:, 1:], atol=1e-5, rtol=0
        )


def test_the_tag_loss_pools_over_patches(pool: ScenePool) -> None:
    """A head that gives every patch the logit b: pooled, it is b + log(patches / 6) / 2."""
    torch.manual_seed(0)
    head = nn.Linear(COARSE.hidden_size, len(TAGS))
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, -4.0)
    batch = TaggedScenes(pool, 4, seed=0)[0]
    loss, figures = tag_loss(CLIPVisionModel(COARSE), head, batch)
    logit, share = -4 + math.log(KEPT / 6) / 2, batch["tags"].mean().item()
    expected = math.log1p(math.exp(logit)) - share * logit
    assert loss.item() == pytest.approx(10 * expected, rel=1e-5)
    assert figures["recall"] == 0.0


def test_a_question_never_asks_what_it_says(pool: ScenePool) -> None:
    """Nor of another object: some object of the scene has all that is said and all that is answered."""
    tokenizer = make_tokenizer()
    batch, kinds = Questions(pool, 4, seed=0)[1], list(WORDS)
    chosen = np.sort(np.random.default_rng([0, 1]).choice(40, 24, replace=False))
    asked = 0
    for scene, words, answers in zip(chosen, batch["words"], batch["answers"], strict=True):
        for ids, wanted in zip(words, answers, strict=True):
            said = set(tokenizer.convert_ids_to_tokens(ids[ids > 0]))
            known = {k: WORDS[k][i] for k, i in zip(kinds, wanted.tolist(), strict=True) if i >= 0}
            attributes = {k: v for k, v in known.items() if k in ATTRIBUTES}
            given = {k: next(iter(said & set(WORDS[k])), None) for k in ATTRIBUTES}
            assert not any(given[k] for k in attributes)
            if known and len(ids[ids > 0]) < LENGTH:
                told = attributes | {k: v for k, v in given.items() if v}
                assert any(all(getattr(t, k) == v for k, v in told.items()) for t in pool.things[scene]), (
                    said,
                    known,
                )
                asked += 1
    assert asked > 100


def test_an_untrained_questioner_guesses(pool: ScenePool) -> None:
    """Its loss is about that of chance, the sum of the kinds' entropies; its gradient reaches the tower."""
    torch.manual_seed(0)
    tower, questioner = CLIPVisionModel(COARSE), Questioner(COARSE.hidden_size, len(make_tokenizer()))
    loss, _ = question_loss(tower, questioner, Questions(pool, 4, seed=0)[0])
    assert loss.item() == pytest.approx(sum(math.log(len(said)) for said in WORDS.values()), rel=0.15)
    loss.backward()
    assert tower.embeddings.patch_embedding.weight.grad.abs().sum() > 0


def test_an_enlarged_tower_knows_where_its_patches_are() -> None:
    """Position embeddings that grow along a line still do; all else is kept."""
    tower = CLIPVisionModel(COARSE)
    old, new = (int(patch_count(config) ** 0.5) for config in (COARSE, VISION))
    place = torch.arange(old).float() + 0.5
    table = tower.embeddings.position_embedding.weight.data
    table[1:, 0] = place.repeat(old) / old
    table[1:, 1] = place.repeat_interleave(old) / old
    finer = enlarged(tower).state_dict()
    table = finer.pop("embeddings.position_embedding.weight")
    middle = slice(new // 4, -new // 4)  # away from the border, where bicubic weights are cut
    tenth = 0.1 / new  # of a cell: bicubic weights follow a line nearly, not exactly
    expected = (torch.arange(new).float() + 0.5) / new
    columns, rows = table[1:, 0].view(new, new), table[1:, 1].view(new, new)
    torch.testing.assert_close(columns[3, middle], expected[middle], atol=tenth, rtol=0)
    torch.testing.assert_close(rows[middle, 3], expected[middle], atol=tenth, rtol=0)
    assert torch.equal(table[0], tower.embeddings.position_embedding.weight[0])
    assert all(torch.equal(value, finer[name]) for name, value in tower.state_dict().items() if name in finer)


def test_a_pool_of_plain_scenes_is_plain_in_its_workers_too(tmp_path: Path) -> None:
    drawn = make_pool(tmp_path, 2, 48, seed=1, draw=plain_scene)
    for index in range(2):
        scene = plain_scene(np.random.default_rng([1_000, 1, index]), 5, tuple(SHAPES), 2)
        small = Image.fromarray(scene.image).resize((48, 48), Image.Resampling.BICUBIC)
        assert (drawn.images[index] == np.asarray(small)).all()
    assert (drawn.images != make_pool(tmp_path / "varied", 2, 48, seed=1).images).any()
