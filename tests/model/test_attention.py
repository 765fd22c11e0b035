"""Captured rows equal those of eager attention with `output_attentions=True`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import save
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import LlavaForConditionalGeneration

from locheads.errors import LocheadsError
from locheads.model.attention import capture, on_host
from locheads.model.attention_layer import Enough, Recorder, attention, listening
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.model.shared_image import capture_image
from locheads.specimen.answers import make_model
from locheads.specimen.tower import VISION
from locheads.specimen.vocabulary import make_processor, make_tokenizer

Run = Callable[..., torch.Tensor]
EXPRESSIONS = ["the ring", "the small striped object on the left", "second red star from the right"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA of the specimen's architecture with random weights, sharp enough to attend unevenly."""
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("random-llava")
    model = make_model(make_tokenizer())
    for layer in model.model.language_model.layers:
        layer.self_attn.q_proj.weight.data *= 4
    model.config.text_config.max_position_embeddings = 700
    model.save_pretrained(path)
    make_processor(VISION.image_size, VISION.patch_size).save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def lvlm(folder: Path) -> Lvlm:
    return load_lvlm(str(folder), prompt="plain", query="word")


@pytest.fixture(scope="module")
def images() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)) for _ in EXPRESSIONS]


def test_rows_equal_eager_attention(folder: Path, lvlm: Lvlm, images: list[Image.Image]) -> None:
    eager = LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    maps = capture(lvlm, images, EXPRESSIONS)
    assert maps.shape == (3, 8, 8, *lvlm.grid)
    for i, (image, expression) in enumerate(zip(images, EXPRESSIONS, strict=True)):
        inputs = lvlm.processor(images=image, text=f"<image>\n{expression}", return_tensors="pt")
        is_image = inputs["input_ids"][0] == eager.config.image_token_id
        with torch.no_grad():
            attentions = eager(**inputs, output_attentions=True).attentions
        expected = torch.stack([layer[0, :, -1, is_image] for layer in attentions])
        assert expected.std() > 1e-4
        torch.testing.assert_close(maps[i].flatten(-2), expected, atol=1e-5, rtol=0)


def test_a_batch_changes_nothing(lvlm: Lvlm, images: list[Image.Image]) -> None:
    together = capture(lvlm, images, EXPRESSIONS)
    alone = torch.cat([capture(lvlm, [i], [e]) for i, e in zip(images, EXPRESSIONS, strict=True)])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


@pytest.mark.parametrize("run", [capture, lambda lvlm, images, *rest: capture_image(lvlm, images[0], *rest)])
def test_no_layer_above_the_deepest_is_computed(lvlm: Lvlm, images: list[Image.Image], run: Run) -> None:
    layers = lvlm.model.model.language_model.layers
    done: list[int] = []
    hooks = [
        part.register_forward_hook(lambda *_, number=number: done.append(number))
        for number, layer in enumerate(layers)
        for part in (layer.self_attn.q_proj, layer.mlp)
    ]
    hooks.append(lvlm.model.lm_head.register_forward_hook(lambda *_: done.append(-1)))
    run(lvlm, images, EXPRESSIONS, [(2, 1), (0, 3)])
    for hook in hooks:
        hook.remove()
    passes = 1 if run is capture else 2
    assert done == passes * [0, 0, 1, 1, 2]


def test_the_vision_encoder_reads_a_shared_image_once(lvlm: Lvlm, images: list[Image.Image]) -> None:
    seen: list[int] = []
    hook = lvlm.model.model.vision_tower.register_forward_hook(lambda *_: seen.append(1))
    capture_image(lvlm, images[0], EXPRESSIONS)
    hook.remove()
    assert seen == [1]


@pytest.mark.parametrize("run", [capture, lambda lvlm, images, *rest: capture_image(lvlm, images[0], *rest)])
def test_nothing_waits_for_the_device_layer_by_layer(lvlm: Lvlm, images: list[Image.Image], run: Run) -> None:
    """Reading a value (`item`, `tolist`, an `if`, a mask as index) makes a GPU's queue run dry."""
    counts = []
    for layer in (0, 5):
        with _Reads() as reads:
            run(lvlm, images, EXPRESSIONS, [(layer, head) for head in range(8)])
        counts.append(reads.seen)
    assert counts[0] == counts[1]


class _Reads(TorchDispatchMode):
    """Counts what has to wait for results: values read, and outcomes whose size depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = Counter[str]()

    def __torch_dispatch__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None):
        name = str(func)
        masks = (
            [i for i in args[1] if i is not None and i.dtype == torch.bool] if "aten.index" in name else []
        )
        if masks or any(wait in name for wait in ("_local_scalar", "nonzero", "masked_select", "unique")):
            self.seen[name] += 1
        return func(*args, **(kwargs or {}))  # type: ignore[operator]


def test_a_value_read_in_a_layer_would_be_seen() -> None:
    with _Reads() as reads:
        torch.arange(3).sum().item()
        torch.arange(3)[torch.tensor([True, False, True])]
    assert sum(reads.seen.values()) == 2


def test_half_precision_models_give_rows_in_single_precision(tmp_path: Path) -> None:
    folder = save("llava", tmp_path)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8))
    half, single = (
        capture(load_lvlm(str(folder), dtype=dtype), [picture] * 2, EXPRESSIONS[:2])
        for dtype in ("bfloat16", "float32")
    )
    assert half.dtype == single.dtype == torch.float32
    assert not torch.equal(half, half.bfloat16().float())  # rows were never rounded to bfloat16
    torch.testing.assert_close(half, single, atol=0.1, rtol=0)


def test_maps_in_main_memory_are_the_same_in_single_precision() -> None:
    maps = [torch.rand(2, 3, 4, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)]
    for one, kept in zip(maps, on_host(maps), strict=True):
        assert kept.dtype == torch.float32 and torch.equal(kept, one.float())


@pytest.mark.parametrize("causal", [True, False])
def test_without_a_mask_a_token_sees_those_before_it_or_all(causal: bool) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 4, 3, 8), torch.randn(2, 2, 7, 8)  # four more tokens stand in the cache
    place, image = torch.tensor([1, 2]), torch.tensor([[0, 3, 6]])
    module = torch.nn.Module()
    module.layer_idx, module.is_causal = 0, causal
    recorder = Recorder({0: None}, place, image)
    with listening(recorder), pytest.raises(Enough):
        attention(module, query, key, key, None)
    for text, head in np.ndindex(2, 4):
        at = int(place[text])
        scores = key[text, head // 2] @ query[text, head, at] / 8**0.5
        expected = (scores[: at + 5] if causal else scores).softmax(0)
        expected = torch.cat([expected, torch.zeros(7 - len(expected))])[image[0]]
        torch.testing.assert_close(recorder.rows[0][text, head], expected)


def test_heads_that_are_not_there_are_refused(lvlm: Lvlm, images: list[Image.Image]) -> None:
    for run in (capture, lambda *given: capture_image(given[0], images[0], *given[2:])):
        with pytest.raises(
            LocheadsError, match="no head L9H1: .* has 8 layers of 8 heads; give layers 0 to 7"
        ):
            run(lvlm, images, EXPRESSIONS, [(0, 0), (9, 1)])
        with pytest.raises(LocheadsError, match="give at least one"):
            run(lvlm, images, EXPRESSIONS, [])


def test_the_output_is_that_of_plain_attention(folder: Path, lvlm: Lvlm, images: list[Image.Image]) -> None:
    plain = LlavaForConditionalGeneration.from_pretrained(folder, attn_implementation="sdpa").eval()
    inputs = lvlm.encode(images, EXPRESSIONS).inputs
    with torch.no_grad():
        torch.testing.assert_close(lvlm.model(**inputs).logits, plain(**inputs).logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (" ", "empty"),
        ("the unicorn", "does not know the word 'unicorn'"),
        ("the red " * 400 + "ring", "shorten the expression"),
    ],
)
def test_unusable_expressions_are_refused(
    lvlm: Lvlm, images: list[Image.Image], expression: str, message: str
) -> None:
    with pytest.raises(LocheadsError, match=message):
        capture(lvlm, images[:1], [expression])


def test_an_unknown_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocheadsError, match="cannot be loaded"):
        load_lvlm(str(tmp_path / "nothing"))
