"""What `load_lvlm` refuses, and what it takes from its arguments."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from family_checks import picture
from safetensors.torch import load_file, save_file
from tiny_models import save
from transformers import AriaConfig, IdeficsConfig, Kosmos2Config

from locheads.errors import LocheadsError
from locheads.model.attention import capture
from locheads.model.families import FAMILIES
from locheads.model.loading import load_lvlm
from locheads.paper.published import NOT_LOADABLE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llava", tmp_path_factory.mktemp("llava"))


@pytest.mark.parametrize(
    ("config", "why"),
    [(AriaConfig, "projector"), (Kosmos2Config, "resampler"), (IdeficsConfig, "Perceiver resampler")],
)
def test_tokens_that_form_no_grid_are_refused(config: type, why: str, tmp_path: Path) -> None:
    config().save_pretrained(tmp_path)
    with pytest.raises(LocheadsError, match=f"gives no maps: its {why} compresses the picture"):
        load_lvlm(str(tmp_path))


@pytest.mark.parametrize("name", list(NOT_LOADABLE))
def test_models_of_the_paper_that_cannot_be_loaded_say_why(name: str) -> None:
    with pytest.raises(LocheadsError, match=NOT_LOADABLE[name].split(":")[0].replace("'", ".")):
        load_lvlm(name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtype": "int8"}, "dtype 'int8' is not a floating type"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not available"),
        ({"fit": "zoom"}, "fit 'zoom': give own or pad or stretch or crop"),
        ({"query": "first"}, "query 'first'"),
        ({"image_size": 96}, "image_size is for fit 'pad' or 'stretch' with a dynamic processor"),
        ({"prompt": "Where is it?"}, "once each"),
        ({"device_map": "auto"}, "accelerate"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    folder: Path, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(LocheadsError, match=message):
        load_lvlm(str(folder), **arguments)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LocheadsError, match="cannot be loaded"):
        load_lvlm(str(tmp_path), local_files_only=True)


@pytest.mark.parametrize("name", ["no such model", "a/b/c", "../nowhere", "*", "owner/", "x" * 200])
def test_a_name_that_names_no_model_is_one_line(name: str) -> None:
    with pytest.raises(LocheadsError, match="cannot be loaded") as error:
        load_lvlm(name, local_files_only=True)
    assert "\n" not in str(error.value)


def test_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["multi_modal_projector.linear_1.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LocheadsError, match="1 weights are missing or misshapen.*linear_1.weight"):
        load_lvlm(str(tmp_path))


def test_a_processor_of_another_model_is_noticed(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    settings = json.loads((tmp_path / "processor_config.json").read_text())
    (tmp_path / "processor_config.json").write_text(json.dumps(settings | {"patch_size": 16}))
    with pytest.raises(LocheadsError, match="9 image tokens, the grid is 6×6; processor and model"):
        load_lvlm(str(tmp_path)).encode([picture((60, 40))], ["the ring"])


def test_the_model_takes_the_dtype_and_the_rest_its_own_attention(folder: Path) -> None:
    lvlm = load_lvlm(str(folder), dtype="float64", attn_implementation="eager")
    assert lvlm.model.dtype == torch.float64
    assert lvlm.model.config.vision_config._attn_implementation == "eager"
    maps = capture(lvlm, [picture((60, 40))], ["the ring"])
    expected = capture(load_lvlm(str(folder)), [picture((60, 40))], ["the ring"])
    torch.testing.assert_close(maps.float(), expected, atol=1e-4, rtol=0)


def test_a_family_that_is_not_listed_is_taken_when_its_grid_is_plain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("vipllava", tmp_path)
    monkeypatch.delitem(FAMILIES, "vipllava")
    lvlm = load_lvlm(str(tmp_path))
    assert (lvlm.family, lvlm.fit, lvlm.grid, lvlm.image) == (None, "pad", (6, 6), "<image>")
    assert capture(lvlm, [picture((60, 40))], ["the ring"]).shape == (1, 3, 4, 6, 6)


@pytest.mark.parametrize("name", ["qwen2_5_vl", "glm4v", "mistral3", "lfm2_vl", "gemma4"])
def test_a_dynamic_family_that_is_not_listed_is_right_or_refused(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(name, tmp_path)
    listed = load_lvlm(str(tmp_path), fit="own", prompt="plain")
    size = (160, 64)
    window = listed.window(size)
    monkeypatch.delitem(FAMILIES, name)
    lvlm = load_lvlm(str(tmp_path), fit="own", prompt="plain")
    assert lvlm.family is None and lvlm.prompt == listed.prompt
    assert lvlm.window(size) == window and window.rows != window.columns
    with pytest.raises(LocheadsError, match="the grid depends on the picture"):
        _ = lvlm.grid
    sized = load_lvlm(str(tmp_path), fit="pad", image_size=128, prompt="plain")
    assert sized.grid[0] == sized.grid[1]
    with pytest.raises(LocheadsError, match="image_size is for fit 'pad' or 'stretch'"):
        load_lvlm(str(tmp_path), fit="own", image_size=128)
