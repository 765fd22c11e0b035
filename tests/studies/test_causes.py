"""Trials do to the specimen's heads what they say; records, curves and sentences say what was measured."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from PIL import Image

from locheads.data.scenes.questions import Pair, draw_pairs
from locheads.errors import LocheadsError
from locheads.method.selection import Head
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.studies import causes, causes_curves, causes_records
from locheads.studies.causes import RANDOM, Trial, matched, mean_outputs, measure, ranked, trials
from locheads.studies.causes_records import Kept, Records, load, records_of, save

LAYERS, HEADS = 3, 4
EVERY = [Head(layer, head) for layer in range(LAYERS) for head in range(HEADS)]


def test_equal_heads_are_ranked_by_the_other_value() -> None:
    values, ties = np.array([[0.0, 0.5], [0.0, 0.0]]), np.array([[0.1, 0.0], [0.9, 0.1]])
    assert ranked(values, ties) == (Head(0, 1), Head(1, 0), Head(0, 0), Head(1, 1))


def test_random_heads_match_the_layers_and_are_others_while_there_are_others() -> None:
    few, many = [Head(0, 1), Head(2, 0), Head(2, 3)], [Head(1, 0), Head(1, 1), Head(1, 2)]
    drawn = [matched(few, HEADS, np.random.default_rng(i)) for i in range(20)]
    assert all([head.layer for head in one] == [0, 2, 2] and not {*one} & {*few} for one in drawn)
    assert len({*drawn}) > 1 and all(len({*one}) == 3 for one in drawn)
    filled = matched(many, HEADS, np.random.default_rng(0))
    assert Head(1, 3) in filled and len({*filled} & {*many}) == 2


def test_every_size_has_its_rankings_and_as_many_random_choices() -> None:
    parts = trials({"frequency": EVERY, "IoU": EVERY[::-1]}, HEADS, sizes=(2, 3, 5), draws=8)
    counted = Counter((t.kind, t.order, t.size) for part in parts.values() for t in part)
    for kind in ("zero", "mean", "patch", "steer"):
        for size in (2, 3, 5):
            assert counted[kind, "frequency", size] == counted[kind, "IoU", size] == 1
            assert counted[kind, RANDOM, size] == 8
        assert counted[kind, "all", 12] == 1
    assert counted["everywhere", RANDOM, 3] == 2 and counted["everywhere", RANDOM, 2] == 0
    assert [t.heads for t in parts["single"]] == [(head,) for head in EVERY]
    drawn = {kind: [t.heads for t in parts["text"] if (t.kind, t.order) == (kind, RANDOM)] for kind in
             ("zero", "patch")}  # fmt: skip
    assert drawn["zero"] == drawn["patch"]
    assert parts["text"][0] == Trial("none", "", 0, 0, ())


@pytest.fixture(scope="module")
def lvlm() -> Lvlm:
    return load_lvlm("specimen")


@pytest.fixture(scope="module")
def pair() -> Pair:
    return draw_pairs(2)[1]


def every(lvlm: Lvlm) -> tuple[Head, ...]:
    return tuple(Head(layer, head) for layer in range(lvlm.layers) for head in range(lvlm.heads))


def of(kind: str, heads: tuple[Head, ...]) -> Trial:
    return Trial(kind, "", len(heads), 0, heads)


def test_what_trials_measure_is_what_whole_passes_of_the_model_say(lvlm: Lvlm, pair: Pair) -> None:
    image = Image.fromarray(pair.scene.image)
    encoded = lvlm.encode([image] * 2, [question.text for question in pair.questions])
    with torch.inference_mode():
        said = lvlm.model(**encoded.inputs).logits[torch.arange(2), encoded.query].log_softmax(-1)
    words = lvlm.processor.tokenizer.convert_tokens_to_ids([q.answer for q in pair.questions])
    found = measure(lvlm, pair, [of("none", ()), of("everywhere", ())], {})
    for number in range(2):
        np.testing.assert_allclose(found.answer[number], said[[0, 1], words], atol=1e-3)
        np.testing.assert_allclose(found.rival[number], said[[0, 1], words[::-1]], atol=1e-3)
        assert found.right[number].tolist() == (said.argmax(-1) == torch.tensor(words)).tolist()


@pytest.mark.slow
def test_swapping_all_heads_swaps_the_answers(lvlm: Lvlm, pair: Pair) -> None:
    """What follows the picture then differs from the other question by its words' own embeddings alone."""
    plain, swapped, own = measure_rows(
        lvlm, pair, [of("none", ()), of("patch", every(lvlm)), of("patch", ())]
    )
    assert plain.right.all() and swapped.follows.all() and not swapped.right.any()
    np.testing.assert_allclose(own.answer, plain.answer, atol=1e-4)
    np.testing.assert_allclose(swapped.rival, plain.answer[::-1], atol=0.5)


def measure_rows(lvlm: Lvlm, pair: Pair, made: list[Trial]) -> list[causes.Outcome]:
    found = measure(lvlm, pair, made, mean_outputs(lvlm, pairs=1))
    return [causes.Outcome(**{name: rows[n] for name, rows in vars(found).items()}) for n in range(len(made))]


def test_heads_steered_to_the_other_object_answer_for_it_and_to_their_own_do_not(
    lvlm: Lvlm, pair: Pair
) -> None:
    heads = every(lvlm)
    steered, own, none = measure_rows(lvlm, pair, [of("steer", heads), of("own", heads), of("none", ())])
    assert steered.follows.all() and own.right.all()
    assert (steered.rival > none.rival + 1).all()


@pytest.mark.slow
def test_no_head_is_left_and_the_mean_of_one_pair_is_that_pairs(lvlm: Lvlm, pair: Pair) -> None:
    zero, none = measure_rows(lvlm, pair, [of("zero", every(lvlm)), of("none", ())])
    assert (zero.answer < none.answer - 1).all()
    means = mean_outputs(lvlm, pairs=1)
    shapes = {layer: tuple(value.shape) for layer, value in means.items()}
    assert shapes == dict.fromkeys(range(lvlm.layers), (1, 1, lvlm.heads, 24))


def made_up(right: dict[tuple[str, str, int], list[list[int]]]) -> Records:
    """Records of two pictures with two questions each: `(kind, order, size)` → draws × questions."""
    made, rows = [], []
    for (kind, order, size), draws in right.items():
        for draw, row in enumerate(draws):
            made.append(Trial(kind, order, size, draw, (Head(0, draw),)))
            rows.append(row)
    truth = np.array(rows, bool)
    outcome = causes.Outcome(np.where(truth, -0.25, -2.0), np.where(truth, -2.0, -0.25), truth, ~truth)
    halves = [
        causes.Outcome(**{n: v[:, s] for n, v in vars(outcome).items()}) for s in (slice(2), slice(2, 4))
    ]
    return records_of(made, halves)


RECORDS = made_up(
    {
        ("none", "", 0): [[1, 1, 1, 1]],
        ("zero", "frequency", 3): [[1, 0, 0, 0]],
        ("zero", "IoU", 3): [[0, 0, 0, 0]],
        ("zero", RANDOM, 3): [[1, 1, 1, 1], [1, 1, 0, 0]],
    }
)


def test_curves_are_shares_and_draws_are_averaged() -> None:
    table = causes_curves.curve(RECORDS, "zero").set_index("order")
    assert table.value.to_dict() == {"frequency": 25.0, "IoU": 0.0, RANDOM: 75.0}
    assert table.answer[RANDOM] == pytest.approx(-(6 * 0.25 + 2 * 2.0) / 8)
    assert (table.low["IoU"], table.high["IoU"]) == (0, 0) and table.high["frequency"] == 50
    assert causes_curves.untouched(RECORDS)[0] == 100


def test_differences_are_paired_by_picture() -> None:
    """IoU is below frequency by 50 % on the first picture and by 0 on the second."""
    gap = causes_curves.gaps(RECORDS, "zero", "IoU", "frequency").iloc[0]
    assert (gap.value, gap.low, gap.high) == (-25, -50, 0)
    sentence = causes_curves.removed(RECORDS, "zero", 3).sentence
    assert sentence.startswith("without the 3 most frequent heads 25.0 % of the answers are right, without 3")
    assert "75.0 % (-50.0 points [" in sentence


@pytest.mark.parametrize(("row", "holds"), [([0] * 4, True), ([1] * 4, False)])
def test_the_verdict_follows_the_numbers(row: list[int], holds: bool) -> None:
    cells = {("zero", "frequency", 3): [row], ("zero", RANDOM, 3): [[1, 1, 1, 1]]}
    records = made_up(cells | {("steer", "frequency", 1): [[1] * 4], ("steer", "frequency", 3): [row],
                               ("steer", RANDOM, 3): [[1] * 4]})  # fmt: skip
    found = causes_curves.removed(records, "zero", 3)
    assert found.holds == holds and ("matter more than others" in found.sentence) == holds
    assert causes_curves.moved(records, "steer", 3).holds == holds
    assert causes_curves.half_way(records, "steer") == (3 if holds else None)


def test_which_ranking_finds_more_is_said_with_its_sizes() -> None:
    worse = made_up({("zero", "frequency", 3): [[1] * 4], ("zero", "IoU", 3): [[0] * 4],
                     ("zero", "frequency", 9): [[0] * 4], ("zero", "IoU", 9): [[1] * 4]})  # fmt: skip
    assert causes_curves.better_order(worse, "zero").endswith("IoU for 3 heads; frequency for 9 heads")
    assert causes_curves.better_order(RECORDS, "zero").endswith("at no number of heads")


def test_single_losses_are_against_the_untouched_model_on_the_same_questions() -> None:
    single = made_up({("single", "each", 1): [[1, 1, 1, 1], [0, 0, 1, 1]]})
    table = causes_curves.singles(single, RECORDS, {"frequency [%]": np.array([[7.0, 9.0]])})
    assert table.loss.tolist() == [0, pytest.approx(1.75 / 2)]
    assert table["frequency [%]"].tolist() == [7, 9] and table.low.iloc[1] == 0
    assert list(table.index) == [Head(0, 0), Head(0, 1)]


def tiny(seed: int = 0) -> Kept:
    """Made-up outcomes of all trials of a model of 12 heads."""
    rng = np.random.default_rng(seed)
    values = {name: rng.random((LAYERS, HEADS)) for name in ("frequency", "IoU", "attention sum")}
    parts = {}
    for part, made in trials(causes_records.rankings_of(values), HEADS, seed).items():
        truth = rng.random((2, len(made), 2)) < 0.5
        parts[part] = records_of(
            made, [causes.Outcome(-rng.random(t.shape), -rng.random(t.shape), t, ~t) for t in truth]
        )
    return Kept("abc", values, seed, parts)


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    kept = tiny()
    save(tmp_path / "kept.npz", kept)
    read = load(tmp_path / "kept.npz")
    assert (read.weights, read.rankings, read.seed) == (kept.weights, kept.rankings, kept.seed)
    for part, records in kept.parts.items():
        assert read.parts[part].trials == records.trials
        assert np.array_equal(read.parts[part].right, records.right)
        assert np.array_equal(read.parts[part].follows, records.follows)
        np.testing.assert_allclose(read.parts[part].answer, records.answer, atol=0.00501)


def test_missing_and_damaged_records_are_named_with_their_command(tmp_path: Path) -> None:
    with pytest.raises(
        LocheadsError, match="not there; make it with `python -m locheads.studies.causes_records`"
    ):
        load(tmp_path / "none.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK no archive")
    with pytest.raises(LocheadsError, match="damaged"):
        load(tmp_path / "bad.npz")


@pytest.mark.slow
def test_what_was_made_is_not_made_again(lvlm: Lvlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heads = every(lvlm)
    few = {
        "text": [of("none", ())],
        "single": [of("single", heads[:1])],
        "everywhere": [of("everywhere", ())],
    }
    monkeypatch.setattr(causes_records, "trials", lambda *_, **__: few)
    monkeypatch.setattr(causes_records, "mean_outputs", lambda _: {})
    pairs = {"text": 2, "single": 1, "everywhere": 1}
    values = dict.fromkeys(("frequency", "IoU", "attention sum"), np.zeros((lvlm.layers, lvlm.heads)))
    first = causes_records.run(lvlm, values, tmp_path, pairs)
    monkeypatch.setattr(causes_records, "measure", lambda *_: pytest.fail("made again"))
    again = causes_records.run(lvlm, values, tmp_path, pairs)
    assert np.array_equal(first.parts["text"].answer, again.parts["text"].answer)
    assert first.parts["text"].right.shape == (1, 4) and len(list(tmp_path.rglob("*.npz"))) == 4


def test_another_model_gets_the_specimens_records_and_is_told(
    lvlm: Lvlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "kept.npz", tiny())
    monkeypatch.setattr(causes_records, "RECORDS", tmp_path / "kept.npz")
    kept = causes_records.records_for(replace(lvlm, name="other"), xr.Dataset(), tmp_path, 4)
    assert kept.weights == "abc"
    assert "other did not learn to answer questions about these scenes" in capsys.readouterr().out


@pytest.mark.parametrize(("moved", "made"), [(0.004, False), (0.02, True)])
def test_the_records_hold_where_a_machine_rounds_otherwise_but_not_for_other_heads(
    lvlm: Lvlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moved: float, made: bool
) -> None:
    """Two heads of nearly equal values may change places between machines."""
    kept, noise = load(causes_records.RECORDS), np.random.default_rng(0)
    values = {
        name: one + moved * (1 - 2 * noise.integers(0, 2, one.shape)) for name, one in kept.values.items()
    }
    assert causes_records.rankings_of(values) != kept.rankings
    monkeypatch.setattr(causes_records, "values_of", lambda profiled, seed: values)
    monkeypatch.setattr(causes_records, "run", lambda *given: replace(kept, weights="made"))
    found = causes_records.records_for(lvlm, xr.Dataset(), tmp_path, 4)
    assert (found.weights == "made") is made
    assert found.rankings == kept.rankings


@pytest.mark.slow
def test_trials_made_again_agree_with_their_records(lvlm: Lvlm) -> None:
    heads = every(lvlm)
    made = [of("none", ()), Trial("zero", "frequency", 5, 0, heads[40:45])]
    records = records_of(made, [measure(lvlm, pair, made, {}) for pair in draw_pairs(2)])
    found = causes_curves.made_again(lvlm, records, ["zero"], 5, pairs=2)
    assert (found.questions, found.trials, found.agree) == (4, 2, 1) and found.apart < 1e-3
    moved = replace(records, answer=records.answer - pd.Series([0.0, 0.25]).to_numpy()[:, None])
    assert causes_curves.made_again(lvlm, moved, ["zero"], 5, 1).apart == pytest.approx(0.25, abs=1e-3)
