"""A dry run tells sizes that are true, and needs neither the hub nor the models."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest
import torch
from segment_anything import sam_model_registry
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    DeepseekVLConfig,
    DeepseekVLHybridConfig,
    LlamaConfig,
    LlavaConfig,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    SiglipVisionConfig,
)

from locheads.paper.published import EXPRESSIONS, MODELS, SEGMENTERS
from locheads.run import outputs, runner
from locheads.run.dry_run import plan
from locheads.run.parameters import check_parameters, declared, read_preset

PARAMS = outputs.ROOT / "notebooks" / "params"
PRESETS = sorted(path.stem for path in PARAMS.glob("*.yaml"))
SIGLIP = SiglipVisionConfig(
    hidden_size=1024,
    intermediate_size=4096,
    num_hidden_layers=24,
    num_attention_heads=16,
    image_size=384,
    patch_size=16,
)


def llama(width: int, inner: int, layers: int, words: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=width // 128,
        vocab_size=words,
    )


def llava(text: LlamaConfig) -> LlavaConfig:
    clip = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    return LlavaConfig(vision_config=clip, text_config=text)


QWEN = {
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
}
SHAPES: dict[str, PreTrainedConfig] = {
    "llava-hf/llava-1.5-7b-hf": llava(llama(4096, 11008, 32, 32064)),
    "llava-hf/llava-1.5-13b-hf": llava(llama(5120, 13824, 40, 32064)),
    "deepseek-community/deepseek-vl-1.3b-chat": DeepseekVLConfig(
        text_config=llama(2048, 5632, 24, 102400), vision_config=SIGLIP, tie_word_embeddings=False
    ),
    "deepseek-community/deepseek-vl-7b-chat": DeepseekVLHybridConfig(
        text_config=llama(4096, 11008, 30, 102400), vision_config=SIGLIP, tie_word_embeddings=False
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": Qwen2_5_VLConfig(
        text_config=QWEN, vision_config={"hidden_size": 1280, "out_hidden_size": 3584}
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_those_of_the_published_shape(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(SHAPES[name])
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(MODELS[name].parameters, rel=1e-3)


@pytest.mark.parametrize("name", SEGMENTERS)
def test_so_are_the_segmenters(name: str) -> None:
    kind = re.search("vit_[bhl]", name)
    assert kind is not None
    with torch.device("meta"):
        sam = sam_model_registry[kind[0]]()
    parameters = sum(p.numel() for p in sam.parameters())
    assert parameters == pytest.approx(SEGMENTERS[name].parameters, rel=1e-3)
    assert SEGMENTERS[name].file_bytes == pytest.approx(4 * parameters, rel=1e-2)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_fit_the_notebooks_and_name_known_models(name: str) -> None:
    preset = read_preset(name, PARAMS)
    check_parameters(preset, {path.stem: declared(path) for path in runner.notebooks()})
    assert preset["world"] == name and preset["model"] in MODELS
    assert Path(preset["segmenter"]).name in SEGMENTERS
    given = {"model", "revision", "prompt", "data", "samples", "held_out", "segmenter", "dtype", "batch"}
    assert given <= preset.keys()
    assert re.fullmatch("[0-9a-f]{40}", preset["revision"])


def test_the_presets_asked_for_are_there() -> None:
    asked = {"llava-1.5-7b", "llava-1.5-13b", "deepseek-vl-1.3b", "deepseek-vl-7b", "qwen2.5-vl-7b"}
    assert asked <= set(PRESETS)


def test_a_dry_run_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unplugged(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", unplugged)
    given, world = runner.gather([], [], "llava-1.5-7b")
    told = runner.dry_run([], given, str(world))
    assert "14.1 GB from the hub" in told and "model 14.1" in told
    assert "2.6 GB from https://" in told and "vit_h" in told
    assert f"{sum(EXPRESSIONS.values()):,} grounded" in told


def test_what_is_there_is_said_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "sam.pth").touch()
    defaults = {"model": "specimen", "segmenter": "specimen", "data": "specimen", "samples": 5, "held_out": 2}
    notebooks = {"01_one": defaults}
    given = {"model": "mine", "segmenter": "sam.pth", "data": "mine", "elsewhere": 1}
    told = dict(line.split("  ", 1) for line in plan(notebooks, given, tmp_path).splitlines())
    assert "changed" in told and "elsewhere" not in told["changed"]
    assert told["model"].strip() == "mine, a local folder"
    assert told["segmenter"].strip() == "sam.pth, found" and told["data"].strip() == "mine, found"
    assert told["work"].strip() == "5 expressions profiled, 16 grounded in all splits"


def test_the_time_is_two_operations_a_parameter_and_token(tmp_path: Path) -> None:
    """7.063e9 parameters, 636 tokens, 1,000 + 8 expressions, SAM of the specimen: 9.06e15 operations."""
    notebooks = {
        "03_x": {"model": "llava-hf/llava-1.5-7b-hf", "segmenter": "specimen", "samples": 1000, "held_out": 1}
    }
    told = plan(notebooks, {}, tmp_path)
    assert pytest.approx(0.0252, rel=0.01) == 2 * 7.063e9 * 636 * 1008 / 1e14 / 3600
    assert "about 0.0 h at 100 TFLOP/s" in told
    more = plan(notebooks, {"samples": 100_000}, tmp_path)
    assert "about 2.5 h at 100 TFLOP/s" in more
