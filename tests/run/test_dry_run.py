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
    InternVLConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaOnevisionConfig,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen3VLConfig,
    SiglipVisionConfig,
    SmolVLMConfig,
)

from locheads.errors import LocheadsError
from locheads.paper.published import EXPRESSIONS, MODELS, SEGMENTERS
from locheads.run import costs, outputs, runner
from locheads.run.dry_run import plan, too_large
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
HALF_A_BILLION = {
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
}
SMALL: dict[str, PreTrainedConfig] = {
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": SmolVLMConfig(
        text_config=LlamaConfig(
            hidden_size=960,
            intermediate_size=2560,
            num_hidden_layers=32,
            num_attention_heads=15,
            num_key_value_heads=5,
            vocab_size=49280,
        ),
        vision_config={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 512,
            "patch_size": 16,
        },
        scale_factor=4,
        tie_word_embeddings=False,
    ),
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": LlavaOnevisionConfig(
        text_config=Qwen2Config(**HALF_A_BILLION, vocab_size=152000, tie_word_embeddings=True),
        vision_config=SiglipVisionConfig(
            hidden_size=1152,
            intermediate_size=4304,
            num_hidden_layers=26,
            num_attention_heads=16,
            image_size=384,
            patch_size=14,
            vision_use_head=False,
        ),
        tie_word_embeddings=True,
    ),
    "OpenGVLab/InternVL3-1B-hf": InternVLConfig(
        text_config=Qwen2Config(**HALF_A_BILLION, vocab_size=151674),
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "image_size": [448, 448],
            "patch_size": [14, 14],
            "attention_bias": True,
        },
        tie_word_embeddings=False,
    ),
    "Qwen/Qwen3-VL-2B-Instruct": Qwen3VLConfig(
        text_config={
            "hidden_size": 2048,
            "intermediate_size": 6144,
            "num_hidden_layers": 28,
            "num_attention_heads": 16,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "vocab_size": 151936,
            "tie_word_embeddings": True,
        },
        vision_config={
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "depth": 24,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "deepstack_visual_indexes": [5, 11, 17],
        },
        tie_word_embeddings=True,
    ),
}
SHAPES: dict[str, PreTrainedConfig] = SMALL | {
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


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_are_those_of_the_published_shape(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(SHAPES[name])
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(MODELS[name].parameters, rel=1e-3)
    text = SHAPES[name].get_text_config()
    assert MODELS[name].maps == text.num_hidden_layers * text.num_attention_heads


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
    assert preset["segmenter"] == "none" or Path(preset["segmenter"]).name in SEGMENTERS
    given = {"model", "prompt", "data", "samples", "held_out", "segmenter", "dtype", "batch"}
    assert given <= preset.keys()
    unpinned = "No revision is pinned" in (PARAMS / f"{name}.yaml").read_text("utf-8")
    assert unpinned != ("revision" in preset) and re.fullmatch(
        "[0-9a-f]{40}", preset.get("revision", "0" * 40)
    )


def test_the_presets_asked_for_are_there() -> None:
    small = {"smolvlm2-500m", "llava-onevision-0.5b", "internvl3-1b", "qwen3-vl-2b"}
    papers = {"yi-vl-6b", "internvl-6b", "mini-gemini-2b"}
    asked = (
        small
        | papers
        | {"llava-1.5-7b", "llava-1.5-13b", "deepseek-vl-1.3b", "deepseek-vl-7b", "qwen2.5-vl-7b"}
    )
    assert asked <= set(PRESETS)


def test_a_dry_run_needs_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unplugged(*_: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", unplugged)
    given, world = runner.gather([], [], "llava-1.5-7b")
    told = runner.dry_run([], given, str(world))
    assert "14.1 GB from the hub" in told and "model 14.1" in told
    assert "2.6 GB from https://" in told and "vit_h" in told
    assert "pictures for SAM" in told and "GB in runs" in told and "03_grounding" in told


def lines_of(told: str) -> dict[str, str]:
    pairs = (line.strip().split("  ", 1) for line in told.partition("\n\n")[0].splitlines())
    return {name: text.strip() for name, text in pairs}


def test_what_is_there_is_said_to_be_there(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "sam.pth").touch()
    defaults = {"model": "specimen", "segmenter": "specimen", "data": "specimen", "samples": 5, "held_out": 2}
    given = {"model": "mine", "segmenter": "sam.pth", "data": "mine", "elsewhere": 1}
    told = lines_of(plan({"01_one": defaults}, given, tmp_path))
    assert "changed" in told and "elsewhere" not in told["changed"]
    assert told["model"] == "mine, a local folder"
    assert told["segmenter"] == "sam.pth, found" and told["data"] == "mine, found"
    assert told["work"] == "5 expressions profiled, 4 other forward passes, 0 pictures for SAM"
    none = lines_of(plan({"03_x": defaults}, {"segmenter": "none"}, tmp_path))
    assert none["segmenter"] == "none: boxes alone are scored"


BIG = {"model": "llava-hf/llava-1.5-7b-hf", "dtype": "bfloat16", "batch": 16, "samples": 1000, "held_out": 0}
REFCOCO = {"dataset": "refcoco", "segmenter": "facebook/sam-vit-huge"}


def test_profiles_and_pictures_count_where_they_come_first() -> None:
    """9,900 pictures in the eight splits; all later ones are of RefCOCO val, which has 1,500 of these."""
    notebooks = dict.fromkeys(("01_x", "02_x", "03_x", "04_x", "05_x"), BIG | REFCOCO)
    done = costs.works(notebooks, EXPRESSIONS)
    assert [one.profiled for one in done] == [1000, 10_834, 0, 0, 0]
    assert [one.grounded for one in done] == [4, 0, sum(EXPRESSIONS.values()), 0, 0]
    assert [one.embedded for one in done] == [0, 0, 9_900, 0, 0]
    alone = costs.works({"04_x": BIG | REFCOCO}, EXPRESSIONS)
    assert [(one.profiled, one.embedded) for one in alone] == [(11_834, 1_500)]


def test_the_time_is_two_operations_a_parameter_and_token(tmp_path: Path) -> None:
    """7.063e9 parameters, 636 tokens, 3,600 expressions at 1e14 operations a second: 323 s."""
    notebooks = {"01_x": BIG | {"samples": 3596}}
    assert pytest.approx(323.4, rel=1e-3) == 2 * 7.063e9 * 636 * 3600 / 1e14
    told = lines_of(plan(notebooks, {}, tmp_path, rate=1e14))
    assert told["time"] == "about 5 min at 100 TFLOP/s (as given)"
    assert lines_of(plan(notebooks, {}, tmp_path, rate=1e12))["time"].startswith("about 9.0 h at 1 TFLOP/s")


def test_a_picture_takes_the_largest_sam_as_long_as_its_authors_say() -> None:
    work = costs.Work("03_x", 0, 0, 1000)
    taken = costs.seconds(work, MODELS["llava-hf/llava-1.5-7b-hf"], SEGMENTERS["sam_vit_h_4b8939.pth"], 1e14)
    assert taken == pytest.approx(150, rel=0.02)


def test_a_stored_sample_takes_what_was_seen() -> None:
    """1,024 maps of 576 halves: about 0.7 MB a sample; 4.2 MB an embedding, of 20 GB at most."""
    model, sam = MODELS["llava-hf/llava-1.5-7b-hf"], SEGMENTERS["sam_vit_b_01ec64.pth"]
    assert costs.disk([costs.Work("01", 1000, 0, 0)], model, "bfloat16", sam) == pytest.approx(
        0.7e9, rel=0.02
    )
    assert costs.disk([costs.Work("01", 0, 0, 1000)], model, "bfloat16", sam) == pytest.approx(4.2e9)
    assert costs.disk([costs.Work("01", 0, 0, 10**6)], model, "bfloat16", sam) == 20e9


def test_an_alias_is_the_same_model_and_auto_the_published_type(tmp_path: Path) -> None:
    name, alias = ({"01_x": BIG | {"model": one}} for one in ("llava-hf/llava-1.5-7b-hf", "llava-1.5-7b"))
    assert lines_of(plan(name, {}, tmp_path)) == lines_of(plan(alias, {}, tmp_path))
    auto = lines_of(plan({"01_x": BIG | {"dtype": "auto"}}, {}, tmp_path))
    assert "model 14.1" in auto["memory"]
    assert "model 28.3" in lines_of(plan({"01_x": BIG | {"dtype": "float32"}}, {}, tmp_path))["memory"]


def test_what_is_too_large_is_said_with_the_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """14.126 GB of weights, 0.1272 GB a picture, SAM 2.56 + 3 GB: 20 GB leave room for 2 pictures."""
    values = BIG | REFCOCO | {"device": "cuda"}
    monkeypatch.setattr(costs, "here", lambda _: ("a small GPU", 20e9))
    assert too_large(values) == "about 22 GB are needed, a small GPU has 20 GB; batch = 2 fits"
    monkeypatch.setattr(costs, "here", lambda _: ("a tiny GPU", 8e9))
    assert "not even a batch of 1 fits" in str(too_large(values))
    monkeypatch.setattr(costs, "here", lambda _: ("a GPU", 24e9))
    assert too_large(values) is None and too_large({"model": "mine"}) is None
    assert "about 30 GB" in str(too_large({"model": values["model"]})), "float32 and 16, as in the notebooks"


def test_deepseeks_branch_at_1024_pixels_counts() -> None:
    plain, branched = (MODELS[f"deepseek-community/deepseek-vl-{size}-chat"] for size in ("1.3b", "7b"))
    one, other = (costs.memory({"batch": 1}, model).picture for model in (plain, branched))
    assert 0.4e9 <= other - one <= 0.8e9


def test_a_rate_is_measured_where_the_device_is_here(tmp_path: Path) -> None:
    told = lines_of(plan({"01_x": BIG | {"device": "cpu", "dtype": "float32"}}, {}, tmp_path))
    assert "measured on the CPU" in told["time"]


@pytest.mark.parametrize("name", ["-1", "../../x", "a/b/c", "[[1]]"])
def test_what_cannot_be_a_model_is_said_at_once(tmp_path: Path, name: str) -> None:
    with pytest.raises(LocheadsError, match="no folder, and no name on the hub") as refused:
        plan({"03_grounding": {"model": "specimen"}}, {"model": name}, tmp_path)
    assert f"model '{name}'" in str(refused.value)


LAPTOPS = ("smolvlm2-500m", "llava-onevision-0.5b", "internvl3-1b", "qwen3-vl-2b")
LIGHT = {"smolvlm2-500m": 5, "internvl3-1b": 10, "qwen3-vl-2b": 32, "llava-onevision-0.5b": 48}
"""Minutes that notebooks 00 to 03 take at most at 0.7 TFLOP/s, half the peak of eight cores."""


@pytest.mark.parametrize("name", LAPTOPS)
def test_a_laptop_takes_minutes(name: str) -> None:
    """100 expressions to find heads, once for 00 and 01, and 50 to ground: profiled, and a few examples."""
    given, world = runner.gather(["00", "01", "02", "03"], [], name)
    told = lines_of(runner.dry_run(["00", "01", "02", "03"], given, str(world), rate=7e11))
    assert told["work"] == "150 expressions profiled, 67 other forward passes, 0 pictures for SAM"
    assert "streamed at the first run" in told["data"] and told["segmenter"].startswith("none")
    taken = sum(
        costs.seconds(work, MODELS[given["model"]], None, 7e11) for work in [costs.Work("", 150, 67, 0)]
    )
    assert taken < 60 * LIGHT[name]
