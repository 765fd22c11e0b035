from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from locheads.method.selection import Head, select_heads
from locheads.studies import mistakes
from locheads.studies.diagnosis import MOST_COVERED, diagnose_boxes, diagnose_heads, tell

SAMPLES = 200


def sums_with_a_bend() -> np.ndarray:
    """Four layers of 16 heads: 8 of layer 2 and all of layer 3 look at the picture, the rest does not."""
    sums = np.full((SAMPLES, 4, 16), 0.05)
    sums += 1e-4 * np.arange(64)[::-1].reshape(4, 16)  # no two alike: the bend is at one of the first layers
    sums[:, 2, 8:], sums[:, 3] = 0.6, 0.7
    return sums


def entropies(planted: bool) -> np.ndarray:
    drawn = np.random.default_rng(0).random((SAMPLES, 4, 16)) + 0.1
    if planted:
        drawn[:, 3, :3] = 0.0
    return drawn


def heads_of(sums: np.ndarray, scattered: np.ndarray, kept: int = 4):
    return diagnose_heads(sums, select_heads(sums, scattered, kept=kept), kept=kept)


def boxes(seed: int = 0, size: tuple[int, int] = (200, 200), n: int = 80) -> np.ndarray:
    """True boxes all over the picture, a fifth of its edges long."""
    rng = np.random.default_rng(seed)
    edge = np.array(size) / 5
    corner = rng.random((n, 2)) * (np.array(size) - edge)
    return np.concatenate([corner, corner + edge], axis=1)


def square(n: int = 80) -> np.ndarray:
    return np.full((n, 2), 200)


def test_a_healthy_profile_shows_nothing():
    blind, side, stands = heads_of(sums_with_a_bend(), entropies(planted=True))
    assert not blind.shows and blind.value == pytest.approx(0.65, abs=0.01)
    assert not side.shows and side.value == pytest.approx(24 / 64) and "below" in side.measured
    # 24 heads pass, 4 are kept: a blind draw takes each in 1/6 of the samples, the planted ones are in all
    assert not stands.shows and stands.value == pytest.approx(6.0)


def test_a_query_that_sees_all_heads_alike_is_blind():
    noise = 0.3 + 0.02 * np.random.default_rng(1).standard_normal((SAMPLES, 4, 16))
    blind, *_ = heads_of(noise, entropies(planted=True))
    assert blind.shows and abs(blind.value) < 0.02


def test_sums_that_bend_above_their_chord_show():
    """Most heads look at the picture and a low tail does not: a curve turned upside down."""
    _, side, _ = heads_of(0.75 - sums_with_a_bend(), entropies(planted=True))
    assert side.shows and "above" in side.measured


def test_sums_on_a_line_have_no_bend():
    _, side, _ = heads_of(
        np.tile(np.arange(64.0).reshape(4, 16) / 64, (SAMPLES, 1, 1)), entropies(planted=True)
    )
    assert side.shows and "on the chord" in side.measured


def test_where_every_head_passes_the_query_is_blind():
    blind, *_ = heads_of(np.full((SAMPLES, 4, 16), 0.5), entropies(planted=True))
    assert blind.shows and blind.value == 0


def test_chosen_heads_below_the_threshold_are_told():
    """Heads taken by their index, as in the first release, look away from the picture."""
    sums = sums_with_a_bend()
    selection = select_heads(sums, entropies(planted=True), kept=4)
    wrong = replace(selection, heads=(Head(2, 0), Head(2, 1), Head(2, 2)))
    blind, *_ = diagnose_heads(sums, wrong, kept=4)
    assert blind.shows and blind.value == pytest.approx(0, abs=0.01)


def test_with_random_entropies_no_head_stands_out():
    *_, stands = heads_of(sums_with_a_bend(), entropies(planted=False))
    assert stands.shows and 0.9 < stands.value < 1.5


def test_without_a_choice_no_head_stands_out():
    """24 heads pass and 30 are kept: each is a candidate of every sample, whatever its entropy."""
    *_, stands = heads_of(sums_with_a_bend(), entropies(planted=True), kept=30)
    assert stands.shows and stands.value == 1


def test_few_samples_do_not_pass_for_a_finding():
    few = slice(0, 5)
    sums, scattered = sums_with_a_bend()[few], entropies(planted=False)[few]
    *_, stands = heads_of(sums, scattered)
    assert stands.limit == pytest.approx(1 + 4 * np.sqrt((5 / 6) / (5 / 6)))


def test_true_boxes_show_nothing():
    place, displaced = diagnose_boxes(boxes(), boxes(), square())
    assert not place.shows and place.value < 0.3
    assert not displaced.shows and displaced.value == 0


def test_boxes_on_rivals_are_not_displaced():
    """Every third box is on another object: no common stretch or shift mends that."""
    found = boxes()
    found[::3] = boxes(seed=1)[::3]
    _, displaced = diagnose_boxes(found, boxes(), square())
    assert not displaced.shows


def test_boxes_of_the_whole_picture_share_a_place():
    whole = np.tile([0.0, 0.0, 190.0, 200.0], (80, 1))
    place, _ = diagnose_boxes(whole, boxes(), square())
    assert place.shows and place.value == 1 and "95%" in place.check


def test_boxes_drawn_to_a_sink_share_its_place():
    """Each box reaches from the object to one bright cell in the bottom row."""
    found = boxes()
    found[:, :2] = np.minimum(found[:, :2], [40, 190])
    found[:, 2:] = np.maximum(found[:, 2:], [60, 200])
    place, _ = diagnose_boxes(found, boxes(), square())
    assert place.shows and place.value > MOST_COVERED
    assert "the point (0.23, 0." in place.measured


@pytest.mark.parametrize("size", [(300, 200), (200, 300)])
def test_padding_taken_for_stretching_is_told_with_its_factor(size):
    """The picture is padded to 300 × 300 and the boxes are taken back as if it had been stretched."""
    width, height = size
    true = boxes(size=size)
    pad = np.tile([(300 - width) / 2, (300 - height) / 2], 2)
    found = (true + pad) * np.tile([width, height], 2) / 300
    sizes = np.tile(size, (80, 1))
    _, displaced = diagnose_boxes(found, true, sizes)
    assert displaced.shows
    assert displaced.value == pytest.approx(1.5 - 1)
    assert "× 1.00 along the longer edge, × 0.67 along the shorter" in displaced.check


def test_a_common_shift_is_told():
    found = boxes() + np.array([20, 0, 20, 0])
    _, displaced = diagnose_boxes(found, boxes(), square())
    assert displaced.shows and displaced.value == pytest.approx(20 / 40)
    assert "shifted by +0.50 and +0.00" in displaced.check


def test_boxes_too_wide_are_not_displaced():
    wide = boxes() + np.array([-10, -10, 10, 10])
    _, displaced = diagnose_boxes(wide, boxes(), square())
    assert not displaced.shows and displaced.value == pytest.approx(0, abs=1e-9)


def test_it_tells_a_line_each(capsys):
    tell(diagnose_boxes(boxes() + np.array([20, 0, 20, 0]), boxes(), square()))
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("same place: ") and first.endswith(": fine")
    assert second.startswith("WARNING, displaced boxes: ") and "; check how pictures become" in second


def test_each_mistake_of_heads_shows_its_own_signature():
    found = mistakes.of_heads(sums_with_a_bend(), entropies(planted=True), k=3)
    assert [(one.signature, one.shows) for one in found.values()] == [
        ("blind query", True), ("threshold on the other side", True), ("no head stands out", True)
    ]  # fmt: skip
