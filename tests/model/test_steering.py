"""Steered heads put out what they would have, had they looked at the target."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from family_checks import EXPRESSIONS, SIZES, load, picture
from tiny_models import save

from locheads.model.attention import capture
from locheads.model.interventions import chosen, output_projections, recorded
from locheads.model.lvlm import Encoded, Lvlm
from locheads.model.shared_image import SharedImage
from locheads.model.steering import Steer, steered

pytestmark = pytest.mark.slow

HEAD = (0, 2)
CELL = 17


@pytest.fixture(scope="module", params=["llava", "qwen3_vl", "gemma3", "paligemma"])
def lvlm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Lvlm:
    return load(request.param, save(request.param, tmp_path_factory.mktemp(request.param)))


def passed(lvlm: Lvlm, steer: Steer | None = None) -> tuple[torch.Tensor, dict[int, torch.Tensor]]:
    """Logits and head outputs of a pass over two expressions."""
    encoded = given(lvlm)
    with torch.inference_mode(), recorded(lvlm) as outputs:
        if steer is None:
            logits = lvlm.model(**encoded.inputs).logits
        else:
            with steered(lvlm, steer):
                logits = lvlm.model(**encoded.inputs).logits
    return logits, outputs


def given(lvlm: Lvlm) -> Encoded:
    return lvlm.encode([picture(SIZES[0])] * 2, EXPRESSIONS[:2])


def one_cell(lvlm: Lvlm) -> torch.Tensor:
    return torch.eye(lvlm.grid[0] * lvlm.grid[1])[[CELL, CELL]]


def values(lvlm: Lvlm) -> torch.Tensor:
    """Values of the first layer for the steered head at all tokens, `batch × tokens × dim`."""
    attention = output_projections(lvlm)  # the same modules' parents hold the values' projection
    parent = next(m for m in lvlm.model.get_decoder().modules() if attention[0] in m._modules.values())
    seen: list[torch.Tensor] = []
    hook = parent.v_proj.register_forward_hook(lambda _, __, out: seen.append(out))
    passed(lvlm)
    hook.remove()
    config = lvlm.model.config.get_text_config()
    groups = config.num_key_value_heads
    return seen[0].unflatten(-1, (groups, -1))[:, :, HEAD[1] // (lvlm.heads // groups)]


def test_a_head_puts_out_the_target_cells_value_in_place_of_what_it_saw(lvlm: Lvlm) -> None:
    encoded = given(lvlm)
    query = encoded.query
    images = [picture(SIZES[0])] * 2
    maps = capture(lvlm, images, EXPRESSIONS[:2], [HEAD])[:, 0].flatten(-2)  # batch × cells
    all_values = values(lvlm)
    cells = torch.stack([row[at] for row, at in zip(all_values, encoded.image_tokens, strict=True)])
    _, plain = passed(lvlm)
    steer = Steer(chosen(lvlm, [[HEAD]] * 2), one_cell(lvlm), encoded.image_tokens)
    _, found = passed(lvlm, steer)
    both = torch.arange(2)
    moved = maps.sum(-1, keepdim=True) * cells[:, CELL] - torch.einsum("bc,bcd->bd", maps, cells)
    expected = plain[0][both, query, HEAD[1]] + moved
    torch.testing.assert_close(found[0][both, query, HEAD[1]], expected, atol=1e-6, rtol=1e-5)
    assert moved.abs().max() > 20 * (found[0][both, query, HEAD[1]] - expected).abs().max()
    others = [head for head in range(lvlm.heads) if head != HEAD[1]]
    assert torch.equal(found[0][:, :, others], plain[0][:, :, others])
    last = int(encoded.image_tokens.max())
    assert torch.equal(found[0][:, : last + 1], plain[0][:, : last + 1]), "the picture's tokens are steered"


def test_looking_where_it_looks_changes_nothing(lvlm: Lvlm) -> None:
    """The target is the query token's own map; at the other tokens the head may look elsewhere."""
    encoded = given(lvlm)
    maps = capture(lvlm, [picture(SIZES[0])] * 2, EXPRESSIONS[:2], [HEAD])[:, 0].flatten(-2)
    own = maps / maps.sum(-1, keepdim=True)
    _, plain = passed(lvlm)
    _, found = passed(lvlm, Steer(chosen(lvlm, [[HEAD]] * 2), own, encoded.image_tokens))
    both = torch.arange(2)
    same = found[0][both, encoded.query], plain[0][both, encoded.query]
    torch.testing.assert_close(*same, atol=1e-5, rtol=1e-5)


def test_nothing_stays_after_the_block(lvlm: Lvlm) -> None:
    plain, _ = passed(lvlm)
    steer = Steer(chosen(lvlm, [[HEAD]] * 2), one_cell(lvlm), given(lvlm).image_tokens)
    assert not torch.equal(passed(lvlm, steer)[0], plain)
    with pytest.raises(RuntimeError), steered(lvlm, steer):
        raise RuntimeError
    assert torch.equal(passed(lvlm)[0], plain)


def test_rows_behind_a_shared_picture_are_steered_each_for_itself(tmp_path: Path) -> None:
    lvlm = load("llava", save("llava", tmp_path))
    texts = ["the red ring", "the small left"]
    shared = SharedImage(lvlm, picture(SIZES[0]), texts)
    heads, target = chosen(lvlm, [[HEAD, (1, 1)], []]), one_cell(lvlm)
    with steered(lvlm, Steer(heads, target, shared.image_tokens)):
        found = shared.next_word([0, 1])
    encoded = lvlm.encode([picture(SIZES[0])] * 2, texts)
    with torch.inference_mode(), steered(lvlm, Steer(heads, target, encoded.image_tokens)):
        logits = lvlm.model(**encoded.inputs).logits
    whole = logits[torch.arange(2), encoded.query].log_softmax(-1)
    torch.testing.assert_close(found, whole, atol=1e-4, rtol=1e-4)
    plain = shared.next_word([0, 1])
    assert (found[0] - plain[0]).abs().max() > 1e-3 and torch.allclose(found[1], plain[1], atol=1e-5)
