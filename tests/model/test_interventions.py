"""Heads are changed alone, in every family, and the model is as before afterwards."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from family_checks import EXPRESSIONS, SIZES, load, picture
from tiny_models import BUILDERS, save

from locheads.errors import LocheadsError
from locheads.model.interventions import Replace, changed, chosen, output_projections, recorded
from locheads.model.lvlm import Lvlm
from locheads.model.shared_image import SharedImage

pytestmark = pytest.mark.slow

HEADS = [(0, 1), (1, 3), (1, 0)]


@pytest.fixture(scope="module", params=list(BUILDERS))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def lvlm(family: str, tmp_path_factory: pytest.TempPathFactory) -> Lvlm:
    return load(family, save(family, tmp_path_factory.mktemp(family)))


def logits(lvlm: Lvlm, expressions: list[str] = EXPRESSIONS[:2]) -> torch.Tensor:
    encoded = lvlm.encode([picture(SIZES[0])] * len(expressions), expressions)
    with torch.inference_mode():
        return lvlm.model(**encoded.inputs).logits


def outputs_behind(
    lvlm: Lvlm, change: Callable[[int, torch.Tensor], torch.Tensor]
) -> dict[int, torch.Tensor]:
    """What the projections read, recorded by the innermost hooks, behind the change."""
    with changed(lvlm, change), recorded(lvlm) as outputs:
        logits(lvlm)
    return outputs


def same(layer: int, outputs: torch.Tensor) -> torch.Tensor:
    return outputs


def hooks(lvlm: Lvlm) -> int:
    return sum(len(module._forward_pre_hooks) for module in output_projections(lvlm).values())


def by_hand(lvlm: Lvlm, heads: list[tuple[int, int]]) -> Lvlm:
    """The model with those columns of the projections' weights set to zero that read the heads."""
    edited = deepcopy(lvlm)
    for layer, head in heads:
        weight = output_projections(edited)[layer].weight.data
        width = weight.shape[1] // lvlm.heads
        weight[:, head * width : (head + 1) * width] = 0.0
    return edited


def test_zeroing_equals_a_projection_edited_by_hand(lvlm: Lvlm) -> None:
    with changed(lvlm, Replace(chosen(lvlm, [HEADS]))):
        found = logits(lvlm)
    torch.testing.assert_close(found, logits(by_hand(lvlm, HEADS)), atol=1e-5, rtol=1e-5)
    assert (found - logits(lvlm)).abs().max() > 1e-3


def test_other_heads_are_the_same_bits(lvlm: Lvlm) -> None:
    """In the first changed layer, where nothing has yet reached the other heads through the hidden state."""
    plain = outputs_behind(lvlm, same)
    found = outputs_behind(lvlm, Replace(chosen(lvlm, [[(0, 1)]])))
    others = [head for head in range(lvlm.heads) if head != 1]
    assert torch.equal(found[0][:, :, others], plain[0][:, :, others])
    assert (found[0][:, :, 1] == 0).all() and (plain[0][:, :, 1] != 0).any()
    assert list(found) == list(range(lvlm.layers))


def test_each_row_has_its_own_heads(lvlm: Lvlm) -> None:
    with changed(lvlm, Replace(chosen(lvlm, [HEADS, []]))):
        found = logits(lvlm)
    with changed(lvlm, Replace(chosen(lvlm, [HEADS]))):
        all_changed = logits(lvlm)
    torch.testing.assert_close(found, torch.stack([all_changed[0], logits(lvlm)[1]]), atol=1e-5, rtol=1e-5)


def test_what_a_head_put_out_elsewhere_takes_its_place(lvlm: Lvlm) -> None:
    plain = outputs_behind(lvlm, same)
    swapped = {layer: values.flip(0) for layer, values in plain.items()}
    found = outputs_behind(lvlm, Replace(chosen(lvlm, [HEADS]), swapped))
    for layer, head in HEADS:
        assert torch.equal(found[layer][:, :, head], plain[layer][:, :, head].flip(0))


def test_replacing_all_heads_by_their_own_outputs_changes_nothing(lvlm: Lvlm) -> None:
    every = [[(layer, head) for layer in range(lvlm.layers) for head in range(lvlm.heads)]]
    with changed(lvlm, Replace(chosen(lvlm, every), outputs_behind(lvlm, same))):
        found = logits(lvlm)
    assert torch.equal(found, logits(lvlm))


def test_nothing_stays_after_the_block_or_an_exception(lvlm: Lvlm) -> None:
    plain = logits(lvlm)

    def fails(layer: int, outputs: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(f"in layer {layer}")

    with pytest.raises(RuntimeError, match="in layer 0"), changed(lvlm, fails):
        logits(lvlm)
    with changed(lvlm, Replace(chosen(lvlm, [HEADS]))):
        assert hooks(lvlm) == lvlm.layers
    assert hooks(lvlm) == 0
    assert torch.equal(logits(lvlm), plain)


NOT_AGAIN = {
    "paligemma": "see the expression",
    "qwen3_5": "fold the past",
    "qwen3_5_moe": "fold the past",
    "lfm2_vl": "fold the past",
    "qwen2_vl": "a sliding window",
    "qwen2_5_vl": "a sliding window",
    "gemma3": "a sliding window",
    "gemma3n": "a sliding window",
    "gemma4": "a sliding window",
    "cohere2_vision": "a sliding window",
    "aya_vision": "a sliding window",
    "llama4": "chunks",
    "exaone4_5": "a sliding window",
}
"""Families whose expressions cannot stand one after another behind one picture, and why."""


def test_the_next_word_behind_a_shared_picture_is_that_of_a_whole_pass(lvlm: Lvlm, family: str) -> None:
    if family in NOT_AGAIN:
        with pytest.raises(LocheadsError, match="cannot be read again"):
            SharedImage(lvlm, picture(SIZES[0]), EXPRESSIONS)
        return
    if lvlm.carried:
        with pytest.raises(LocheadsError, match="tokens of the picture"):
            SharedImage(lvlm, picture(SIZES[0]), EXPRESSIONS)
        return
    shared = SharedImage(lvlm, picture(SIZES[0]), EXPRESSIONS)
    encoded = lvlm.encode([picture(SIZES[0])] * 3, EXPRESSIONS)
    whole = logits(lvlm, EXPRESSIONS)[torch.arange(3), encoded.query].log_softmax(-1)
    rows = [2, 0, 1, 0]
    torch.testing.assert_close(shared.next_word(rows), whole[rows], atol=1e-4, rtol=1e-4)
    with changed(lvlm, Replace(chosen(lvlm, [HEADS, [], HEADS, []]))):
        found = shared.next_word([0, 0, 1, 1])
    torch.testing.assert_close(found[[1, 3]], whole[[0, 1]], atol=1e-4, rtol=1e-4)
    assert ((found - whole[[0, 0, 1, 1]]).abs().amax(-1) > 1e-3).tolist() == [True, False, True, False]


def test_a_head_that_does_not_exist_is_named(lvlm: Lvlm) -> None:
    with pytest.raises(LocheadsError, match="L9H0"):
        chosen(lvlm, [[(9, 0)]])


def test_a_decoder_without_a_known_projection_is_refused(tmp_path: Path) -> None:
    lvlm = load("llava", save("llava", tmp_path))
    for layer in lvlm.model.get_decoder().layers:
        layer.self_attn.o_proj = torch.nn.Sequential(layer.self_attn.o_proj)
        layer.self_attn.unheard = layer.self_attn.o_proj
        del layer.self_attn.o_proj
    with pytest.raises(LocheadsError, match="3 layers have no output projection of a known name"):
        output_projections(lvlm)
