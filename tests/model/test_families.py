"""Every family: exact rows, the right pixels, the query token; on tiny models of the real classes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from family_checks import (
    EXPRESSIONS,
    SIZES,
    TABLE,
    changes,
    fits,
    load,
    passes,
    picture,
    pixels_are_right,
    row_error,
    shared_error,
)
from PIL import Image
from tiny_models import BUILDERS, QUERIES, save
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from locheads.errors import LocheadsError, LocheadsWarning
from locheads.model.attention import Wanted, capture, capture_each, forward
from locheads.model.families import FAMILIES, REFUSED
from locheads.model.lvlm import Lvlm
from locheads.model.shared_image import SharedImage, capture_image, shares
from locheads.model.words import capture_words

pytestmark = pytest.mark.slow

DYNAMIC = [name for name in BUILDERS if FAMILIES[name].cells is None]


@pytest.fixture(scope="module", params=list(BUILDERS))
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(family: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(family, tmp_path_factory.mktemp(family))


@pytest.fixture(scope="module")
def lvlm(family: str, folder: Path) -> Lvlm:
    return load(family, folder)


def test_rows_equal_eager_attention(lvlm: Lvlm, folder: Path) -> None:
    assert row_error(lvlm, folder) < 1e-5


def test_two_loads_give_equal_maps(lvlm: Lvlm, family: str, folder: Path) -> None:
    given = [picture(SIZES[0])], EXPRESSIONS[:1]
    torch.testing.assert_close(capture(load(family, folder), *given), capture(lvlm, *given), atol=0, rtol=0)


def test_a_token_of_the_model_itself_in_an_expression_is_named(lvlm: Lvlm) -> None:
    tokens = {str(lvlm.processor.image_token), "</s>", *re.findall(r"<[^<>]+>", lvlm.image)}
    for token in sorted(tokens):
        for ask in (lambda e: capture(lvlm, [picture(SIZES[0])] * 2, e), lambda e: shared(lvlm, e)):
            with pytest.raises(LocheadsError, match=re.escape(f"'{token}' is a token of the model")):
                ask(["the red ring", f"the red {token} ring"])


def shared(lvlm: Lvlm, expressions: list[str]) -> torch.Tensor:
    return capture_image(lvlm, picture(SIZES[0]), expressions)


def test_image_tokens_stand_where_the_text_has_them(lvlm: Lvlm) -> None:
    """Behind the system sentence, as many as cells, in the order of the text; not at a guessed place."""
    ids = lvlm.encode([picture(SIZES[0])], EXPRESSIONS[:1])
    repeated, counts = ids.inputs["input_ids"][0].unique(return_counts=True)
    most = repeated[counts.argmax()]  # no other token is as frequent as the image's
    if lvlm.carried:  # but for a few queries
        most = lvlm.processor.tokenizer.convert_tokens_to_ids("<image>")
    where = (ids.inputs["input_ids"][0] == most).nonzero()[:, 0]
    cells = QUERIES if lvlm.carried else lvlm.grid[0] * lvlm.grid[1]
    assert int(where[0]) > 100 or (lvlm.image == "" and int(where[0]) == 0)
    assert len(where) >= cells  # base view first, where tiles follow
    assert ids.image_tokens[0].tolist() == where[:cells].tolist()


@pytest.mark.parametrize("name", ["qwen2_vl", "qwen2_5_vl", "gemma3"])
def test_a_sliding_layer_sees_no_further_than_its_window(name: str, tmp_path: Path) -> None:
    lvlm = load(name, save(name, tmp_path))
    maps = capture(lvlm, [picture(SIZES[0])], ["the ring"])[0]
    kinds = lvlm.model.config.get_text_config().layer_types
    unseen = [bool((layer == 0).any()) for layer in maps]
    assert unseen == [kind == "sliding_attention" for kind in kinds]


def test_the_map_lands_on_the_painted_pixels(family: str, folder: Path) -> None:
    for fit in fits(family):
        lvlm = load(family, folder, fit=fit)
        for size in SIZES:
            assert pixels_are_right(lvlm, size), (fit, size)


def test_a_batch_changes_nothing(lvlm: Lvlm) -> None:
    images = [picture(SIZES[0], seed) for seed in range(2)]
    together = capture(lvlm, images, EXPRESSIONS[:2])
    alone = torch.cat([capture(lvlm, [i], [e]) for i, e in zip(images, EXPRESSIONS[:2], strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)
    assert together.shape[1:] == (lvlm.layers, lvlm.heads, *lvlm.grid)


NOT_SHARED = {"paligemma", "instructblip", "blip-2", "qwen3_5", "qwen3_5_moe", "lfm2_vl"}
"""Their image tokens see the expression, their layers fold the past into a state, or each pass wants it."""
WITHOUT_CHAT = {"blip-2", "instructblip"}
PROMPTS = ["release", "plain", "chat", "See {image} Where is {expression}? Here:"]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_expressions_share_one_pass_over_their_image(family: str, folder: Path, prompt: str) -> None:
    if prompt == "chat" and family in WITHOUT_CHAT:
        with pytest.raises(LocheadsError, match="no chat template"):
            load(family, folder, prompt=prompt)
        return
    lvlm = load(family, folder, prompt=prompt)
    whole = lvlm.encode([picture(SIZES[0])] * 3, EXPRESSIONS).inputs["input_ids"]
    if family in NOT_SHARED:
        assert not shares(lvlm) and passes(lvlm) == [tuple(whole.shape)]
    else:
        (one, before), (three, after) = passes(lvlm)
        assert (one, three, before + after) == (1, 3, whole.shape[1]) and after < 40
    assert shared_error(lvlm) < 1e-5


def test_some_heads_are_those_of_all(lvlm: Lvlm) -> None:
    images, heads = [picture(SIZES[0])] * 3, [(1, 3), (0, 2), (1, 0)]
    every = capture(lvlm, images, EXPRESSIONS)
    some = torch.stack([every[:, layer, head] for layer, head in heads], dim=1)
    torch.testing.assert_close(capture(lvlm, images, EXPRESSIONS, heads), some, atol=1e-6, rtol=0)
    torch.testing.assert_close(capture_image(lvlm, images[0], EXPRESSIONS, heads), some, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("query", "added"), [("period", "."), ("word", "")])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_the_query_is_the_period_or_the_last_word(
    family: str, folder: Path, prompt: str, query: str, added: str
) -> None:
    if prompt == "chat" and family in WITHOUT_CHAT:
        prompt = "{image}Question: {expression}? Answer:"
    lvlm = load(family, folder, prompt=prompt, query=query)
    encoded = lvlm.encode([picture(SIZES[0])] * 3, EXPRESSIONS)
    tokenizer = lvlm.processor.tokenizer
    for ids, query_at, text in zip(encoded.inputs["input_ids"], encoded.query, EXPRESSIONS, strict=True):
        before = tokenizer.decode(ids[: int(query_at) + 1])
        assert before.endswith(text + added), (text, before[-40:])


def test_the_query_is_the_last_token_of_all_when_asked(family: str, folder: Path) -> None:
    prompt = "plain" if family in WITHOUT_CHAT else "chat"
    encoded = load(family, folder, prompt=prompt, query="last").encode([picture(SIZES[0])] * 3, EXPRESSIONS)
    assert (encoded.query == encoded.inputs["attention_mask"].sum(1) - 1).all()


@pytest.mark.parametrize("name", DYNAMIC)
def test_grids_that_depend_on_the_picture(name: str, tmp_path: Path) -> None:
    lvlm = load(name, save(name, tmp_path), fit="own")
    images = [picture((120, 80)), picture((54, 90))]
    maps = capture_each(lvlm, images, EXPRESSIONS[:2])
    for one, image, expression in zip(maps, images, EXPRESSIONS, strict=False):
        window = lvlm.window(image.size)
        assert one.shape[-2:] == (window.rows, window.columns)
        torch.testing.assert_close(one, capture(lvlm, [image], [expression])[0], atol=1e-5, rtol=0)
    assert maps[0].shape != maps[1].shape
    with pytest.raises(LocheadsError, match="grid depends on the picture"):
        capture(lvlm, images, EXPRESSIONS[:2])
    with pytest.raises(LocheadsError, match="take fit 'pad' or 'stretch'"):
        _ = lvlm.grid


def test_what_llavas_processor_crops_away_reaches_no_token(tmp_path: Path) -> None:
    save("llava", tmp_path)
    plain = np.asarray(picture((120, 80)))
    painted = plain.copy()
    painted[:, :18] = (255, 0, 0)  # the crop begins at column 20
    pictures = Image.fromarray(plain), Image.fromarray(painted)
    cropping, padding = (load("llava", tmp_path, fit=fit) for fit in ("own", None))
    assert changes(cropping, *pictures).max() == 0 < changes(padding, *pictures).max()
    box = np.array([0.0, 0.0, 18.0, 80.0])
    assert cropping.window((120, 80)).visible(box) == 0 and padding.window((120, 80)).visible(box) == 1


def test_the_committed_table_lists_the_tested_families() -> None:
    text, _, refused = TABLE.read_text().partition("## Those that are refused")
    rows = [line.split("|") for line in text.splitlines() if re.match(r"\| (?!family)", line)]
    assert [row[1].strip() for row in rows] == [FAMILIES[name].title for name in BUILDERS]
    assert [row[2].strip(" `") for row in rows] == list(BUILDERS)
    assert set(BUILDERS) == set(FAMILIES)
    assert all(float(row[-3]) < 1e-5 and row[-2].strip() == "yes" for row in rows)
    reasons = [line.split("|")[1:3] for line in refused.splitlines() if line.startswith("| `")]
    assert {name.strip(" `"): reason.strip() for name, reason in reasons} == REFUSED


def test_every_family_of_transformers_gives_maps_or_is_refused_with_its_reason() -> None:
    """A new release that adds a family fails here: measure it, or say why it is refused."""
    known = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES)
    assert known == (set(FAMILIES) | set(REFUSED)) - {"pixtral"}  # a LLaVA with another tower
    assert not set(FAMILIES) & set(REFUSED)


@pytest.mark.parametrize("name", ["mistral3", "pixtral"])
def test_a_square_number_of_tokens_is_no_square_of_cells(name: str, tmp_path: Path) -> None:
    lvlm = load(name, save(name, tmp_path), fit="own")
    cell = 8 * lvlm.processor.spatial_merge_size
    for rows, columns in ((4, 9), (9, 4), (2, 8)):
        size = (columns * cell, rows * cell)
        encoded = lvlm.encode([picture(size)], EXPRESSIONS[:1])
        assert encoded.grids == ((rows, columns),) and encoded.image_tokens.shape == (1, rows * columns)
        assert (lvlm.window(size).rows, lvlm.window(size).columns) == (rows, columns)


CARRIED = {"blip-2": "Q-Former", "instructblip": "Q-Former", "idefics2": "Perceiver resampler"}


@pytest.mark.parametrize("name", CARRIED)
def test_maps_that_are_carried_back_say_so_and_keep_the_attention_of_the_tokens(
    name: str, tmp_path: Path
) -> None:
    with pytest.warns(LocheadsWarning, match=f"its {CARRIED[name]} pools .* carried back"):
        lvlm = load(name, save(name, tmp_path))
    assert lvlm.carried == CARRIED[name]
    wanted, encoded = Wanted.of(lvlm, None), lvlm.encode([picture(SIZES[0])], EXPRESSIONS[:1])
    inputs = dict(encoded.inputs)
    rows = wanted.stack(lvlm, forward(lvlm, inputs, wanted, encoded.query, encoded.image_tokens))
    maps = capture(lvlm, [picture(SIZES[0])], EXPRESSIONS[:1])
    assert rows.shape[-1] == QUERIES < maps[0, 0, 0].numel()
    torch.testing.assert_close(maps.sum((-2, -1)), rows.sum(-1), atol=1e-6, rtol=1e-5)
    left = [module for module in lvlm.model.modules() if module._forward_hooks]
    assert not left


def test_other_models_are_not_carried_back(tmp_path: Path) -> None:
    assert load("llava", save("llava", tmp_path)).carried is None


def test_every_word_is_carried_back(tmp_path: Path) -> None:
    lvlm = load("blip-2", save("blip-2", tmp_path))
    image, heads = picture(SIZES[0]), [(0, 1), (2, 3)]
    words = capture_words(lvlm, image, "the red ring", heads)
    last = capture(lvlm, [image], ["the red ring"], heads)[0].numpy()
    assert words.words == ("the", "red", "ring", ".")
    np.testing.assert_allclose(words.maps[-1], last, atol=1e-6)


def test_cells_that_are_no_tokens_cannot_be_steered(tmp_path: Path) -> None:
    lvlm = load("idefics2", save("idefics2", tmp_path))
    with pytest.raises(LocheadsError, match="no cells"):
        SharedImage(lvlm, picture(SIZES[0]), EXPRESSIONS)


def test_an_encoder_decoder_behind_a_q_former_is_refused(tmp_path: Path) -> None:
    config = transformers.Blip2Config(text_config=transformers.T5Config())
    config.save_pretrained(tmp_path)
    with pytest.raises(LocheadsError, match="encoder-decoder"):
        load("blip-2", tmp_path)


@pytest.mark.parametrize("name", ["qwen3_5", "qwen3_5_moe", "lfm2_vl"])
def test_layers_without_softmax_are_left_out_and_named(name: str, tmp_path: Path) -> None:
    with pytest.warns(LocheadsWarning, match="2 of 4 layers have softmax .* are the model's layers 1, 3"):
        lvlm = load(name, save(name, tmp_path))
    assert (lvlm.attending, lvlm.layers) == ((1, 3), 2) and not shares(lvlm)
    with pytest.raises(LocheadsError, match="layer"):
        capture(lvlm, [picture(SIZES[0])], EXPRESSIONS[:1], [(2, 0)])
