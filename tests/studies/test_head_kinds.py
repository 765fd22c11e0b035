"""Planted heads are sorted right, planted sink cells found, and taking them out gives the planted effect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from PIL import Image

from locheads.data.samples import Sample
from locheads.data.scenes.changes import AWAY
from locheads.data.scenes.scenes import Thing
from locheads.method.criteria import curvature_threshold
from locheads.method.selection import Head, Selection
from locheads.model.attention import capture
from locheads.model.loading import load_lvlm
from locheads.studies import head_kinds, head_readings, head_sinks
from locheads.studies.head_kinds import evidence, kinds, sink_cells
from locheads.studies.head_readings import Cases, Looks

CASES, ROWS, COLUMNS = 6, 8, 8
NAMES = ("localizing", "objects", "positional", "diffuse", "sink", "text")
"""What is planted: the head of that number in each of two layers."""
CORNER = (0, 0)


def boxes(rng: np.random.Generator) -> list[np.ndarray]:
    """Three objects of 2 × 2 cells at different places, never the corner; `case × row × column` each."""
    spots = [(2, 1), (2, 5), (5, 1), (5, 5), (4, 3)]
    masks = np.zeros((3, CASES, ROWS, COLUMNS))
    for case in range(CASES):
        for one, spot in enumerate(rng.permutation(len(spots))[:3]):
            row, column = spots[spot]
            masks[one, case, row : row + 2, column : column + 2] = 1
    return list(masks)


def planted(sink: float = 0.0, seed: int = 0) -> Cases:
    """Maps of six kinds of heads, with a share `sink` of all attention to the picture on the corner."""
    rng = np.random.default_rng(seed)
    here, there, after = boxes(rng)
    fixed = np.zeros((ROWS, COLUMNS))
    fixed[7, 2:6] = 1
    readings = []
    for named, seen in ((here, here + there), (there, here + there), (after, after + there), (None, None)):
        noise = rng.random((CASES, ROWS, COLUMNS))
        on = noise if named is None else named
        objects = noise if seen is None else seen
        looked = [on, objects, fixed[None].repeat(CASES, 0), noise, noise, noise]
        totals = [0.8, 0.8, 0.8, 0.8, 0.05, 0.05]
        maps = np.stack(
            [t * m / m.sum((1, 2), keepdims=True) for t, m in zip(totals, looked, strict=True)], 1
        )
        maps *= 1 - sink
        maps[:, :, *CORNER] += sink * np.array(totals)
        first = np.array([0.15, 0.1, 0.1, 0.1, 0.9, 0.05])[None].repeat(CASES, 0)
        readings.append(Looks(np.stack([first] * 2, 1), np.stack([maps] * 2, 1)))
    return Cases(*readings, here, there, after)


@pytest.mark.parametrize("sink", [0.0, 0.3])
def test_planted_heads_are_sorted_right(sink: float) -> None:
    cases = planted(sink)
    marked = sink_cells(cases, ratio=8.0)
    assert np.argwhere(marked).tolist() == ([list(CORNER)] if sink else [])
    found = kinds(evidence(cases, marked), least=0.3)
    assert found.tolist() == [list(NAMES)] * 2


def test_a_cell_that_only_objects_make_bright_is_no_sink() -> None:
    cases = planted()
    bright = cases.plain.maps.copy()
    bright[..., 3, 3] += 1.0
    only_here = Cases(Looks(cases.plain.first, bright), *list(vars(cases).values())[1:])
    assert not sink_cells(only_here, ratio=8.0).any()


def test_the_evidence_of_a_perfect_head_is_all_or_nothing() -> None:
    cases = planted()
    found = evidence(cases, np.zeros((ROWS, COLUMNS), bool))
    assert found.word[0, 0] == pytest.approx(1) and found.word[0, 1] == pytest.approx(0)
    overlap = (cases.here * cases.after).sum((1, 2)) / 4
    assert found.move[0, 0] == pytest.approx((1 - overlap).mean())
    assert found.bound[0, 2] == pytest.approx(1)
    assert found.picture[0].tolist() == pytest.approx([0.8, 0.8, 0.8, 0.8, 0.05, 0.05])
    assert found.sink[0, 4] == pytest.approx(0.9) and found.text[0, 5] == pytest.approx(0.9)


def test_what_sink_cells_hold_counts_as_sink() -> None:
    cases = planted(0.3)
    marked = np.zeros((ROWS, COLUMNS), bool)
    marked[CORNER] = True
    found = evidence(cases, marked)
    noisy = cases.plain.maps[:, 0, 3, *CORNER].mean()
    assert found.sink[0, 0] == pytest.approx(0.15 + 0.3 * 0.8) and found.sink[0, 3] == pytest.approx(
        0.1 + noisy
    )
    np.testing.assert_allclose(found.picture + found.sink + found.text, 1)


def test_an_empty_map_has_no_evidence() -> None:
    cases = planted()
    nothing = [Looks(one.first, 0 * one.maps) for one in (cases.plain, cases.word, cases.move, cases.blank)]
    found = evidence(Cases(*nothing, cases.here, cases.there, cases.after), np.zeros((ROWS, COLUMNS), bool))
    assert not found.word.any() and not found.move.any() and not found.bound.any()


def test_the_table_names_heads_and_the_shares_add_up() -> None:
    cases = planted()
    found = evidence(cases, np.zeros((ROWS, COLUMNS), bool))
    heads = head_kinds.table(found, kinds(found, 0.3))
    assert heads.kind[Head(1, 2)] == "positional" and heads.word[Head(0, 0)] == pytest.approx(100)
    often = {head: float(head == Head(0, 0)) + 3 * float(head == Head(1, 3)) for head in heads.index}
    shares = head_kinds.shares(heads, often)
    assert shares.heads.tolist() == [2] * 6 and shares["of all [%]"].sum() == pytest.approx(100)
    assert head_kinds.named(shares)["choices_diffuse"] == 0.75
    assert shares["of choices [%]"].to_dict() == {
        "localizing": 25, "objects": 0, "positional": 0, "diffuse": 75, "sink": 0, "text": 0
    }  # fmt: skip


def test_scenes_have_expressions_without_places_and_objects_that_moved() -> None:
    for pair, after in head_readings.drawn(4):
        number = pair.questions[0].thing
        old, new = pair.scene.things[number], after.things[number]
        assert isinstance(new, Thing) and np.hypot(old.x - new.x, old.y - new.y) >= AWAY * old.radius
        assert not {"left", "right", "top", "bottom"} & {*pair.questions[0].text.split()}


def test_what_is_captured_is_the_attention_to_the_first_token_and_the_cells() -> None:
    lvlm = load_lvlm("specimen")
    [(pair, _)] = head_readings.drawn(1)
    text = pair.questions[0].text
    found = head_readings.looks(lvlm, [pair.scene.image] * 2, [text, "the ring"])
    maps = capture(lvlm, [Image.fromarray(pair.scene.image)], [text])
    torch.testing.assert_close(torch.from_numpy(found.maps[:1]), maps, atol=1e-5, rtol=1e-4)
    total = found.first + found.maps.sum((-2, -1))
    assert (
        found.first.shape == (2, lvlm.layers, lvlm.heads)
        and (found.first >= 0).all()
        and total.max() <= 1.001
    )
    assert (found.first > 0.5).mean() > 0.2, "a specimen's idle heads rest on the first token"


PER_HEAD = ("sample", "layer", "head")


def profile_of(maps: np.ndarray) -> xr.Dataset:
    return xr.Dataset({"maps": ((*PER_HEAD, "row", "column"), maps)})


def test_heads_that_look_at_the_sink_alone_are_not_chosen_without_it() -> None:
    """Layer 2: head 0 looks at an object and the corner, head 1 at the corner alone, the others at little."""
    rng = np.random.default_rng(0)
    maps = 0.001 * rng.random((20, 3, 4, ROWS, COLUMNS))
    maps[:, 2, 0, 3:5, 3:5], maps[:, 2, 0, 0, 0], maps[:, 2, 1, 0, 0] = 0.1, 0.4, 0.9
    cells = np.zeros((ROWS, COLUMNS), bool)
    cells[CORNER] = True
    assert head_sinks.selected_without(profile_of(maps), cells, k=1).heads == (Head(2, 0),)
    kept = head_sinks.selected_without(profile_of(maps), np.zeros_like(cells), k=2)
    assert set(kept.heads) == {Head(2, 0), Head(2, 1)} or kept.frequency[2, 1] > 0


def test_gains_are_paired_and_said() -> None:
    rows = (np.array([0, 0, 1, 0.0]), np.ones(4), np.zeros(4), np.ones(4), np.ones(4))
    right = dict(zip(head_sinks.WAYS, rows, strict=True))
    heads = dict.fromkeys(head_sinks.WAYS, (Head(1, 2),))
    boxes_of_four = head_sinks.Boxes(heads, right, np.arange(4))
    table, gained = head_sinks.scores(boxes_of_four), head_sinks.gains(boxes_of_four)
    assert table.value.tolist() == [25, 100, 0, 100, 100] and table.heads.tolist() == [1] * 5
    assert gained.value.tolist() == [75, -25, 0] and gained.changed.tolist() == [3, 1, 0]
    said = [head_sinks.verdict(gained, way) for way in head_sinks.AGAINST]
    assert said[0].startswith("sink cells out, same heads: +75.0 points [") and said[0].endswith(": gains")
    assert said[1].endswith(": neither costs nor gains for sure")
    assert said[2] == "all that pass, sink cells out: no box becomes right or wrong"
    names = head_sinks.named(table, gained)
    assert names["rec_acc50_as_they_are"] == 0.25 and names["gain_sink_cells_out_same_heads"] == 0.75


def test_the_sink_decides_the_box_until_it_is_taken_out() -> None:
    """The corner holds so much that the mean lies above the object's cells: the box is round the corner."""
    lvlm = load_lvlm("specimen")
    cells = np.zeros((24, 24), bool)
    cells[:2, :2] = True
    maps = np.zeros((1, 1, 2, 24, 24))
    maps[..., 8:16, 8:16] = 0.01
    maps[..., :2, :2] = 5.0
    sample = Sample(
        sample_id="s",
        image_path=Path("p.png"),
        image_id="p",
        expression="x",
        size=(240, 240),
        box=(80.0, 80.0, 160.0, 160.0),
    )
    profiled = xr.Dataset({"maps": (("sample", "layer", "head", "row", "column"), maps)})
    chosen = Selection(
        curvature_threshold(np.array([[0.1, 0.9]])),
        np.array([[True, True]]),
        np.ones((1, 1, 2), bool),
        np.ones((1, 2)),
        (Head(0, 0),),
    )
    found = head_sinks.boxes_without(lvlm, [sample], profiled, cells, chosen, chosen)
    assert [float(one[0]) for one in found.right.values()] == [0, 1, 1, 0, 1]
    assert [len(one) for one in found.heads.values()] == [1, 1, 1, 2, 2]


def test_clear_heads_are_shown_and_those_below_the_threshold_named() -> None:
    cases = planted()
    found = evidence(cases, np.zeros((ROWS, COLUMNS), bool))
    heads = head_kinds.table(found, kinds(found, 0.3))
    shown = head_kinds.typical(heads)
    assert {kind: one.head for kind, one in shown.items()} == {n: i for i, n in enumerate(NAMES[:4])}
    assert head_kinds.passed_over(heads) == []
    strict = head_kinds.table(found, kinds(found, 0.9))
    assert head_kinds.passed_over(strict) == [Head(0, 0), Head(1, 0)]
    means = head_kinds.by_kind(heads)
    assert means["spread [cells]"]["localizing"] == 4 and means["spread [cells]"]["diffuse"] > 32
    single = head_kinds.by_kind(heads.astype({"picture": np.float32}).assign(picture=np.float32(73.49)))
    assert {str(value) for value in single["picture [%]"].dropna()} == {"73.5"}
