"""Weights that are not used, files that are damaged or foreign, and code that is never run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from family_checks import EXPRESSIONS, picture
from safetensors.torch import load_file, save_file
from tiny_models import save

from locheads.errors import LocheadsError
from locheads.model.attention import capture
from locheads.model.loading import load_lvlm

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 123\n"
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("llava", tmp_path_factory.mktemp("llava"))


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    return shutil.copytree(original, tmp_path / "model")


def change(folder: Path, do: Callable[[Weights], object]) -> None:
    weights = load_file(folder / "model.safetensors")
    do(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def settings(path: Path, **values: object) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | values))


Q = "language_model.model.layers.0.self_attn.q_proj"


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("language_model.model.layers.0.self_attn.q_norm.weight", "q_norm.weight; its config.json belongs"),
        ("language_model.model.layers.0.self_attn.q_proj.bias", "q_proj.bias; its config.json belongs"),
        (f"{Q}.lora_A.default.weight", "lora_A.default.weight; merge the adapter first"),
        ("second_tower.stem.weight", "second_tower.stem.weight"),
    ],
)
def test_a_weight_that_the_model_has_no_place_for_is_named(folder: Path, key: str, named: str) -> None:
    change(folder, lambda weights: weights.update({key: torch.ones(4, 4)}))
    with pytest.raises(LocheadsError, match=f"1 weights of the checkpoint have no place.*{named}"):
        load_lvlm(str(folder))


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("gemma4", "model.language_model.layers.3.self_attn.k_proj.weight"),
        ("qwen3_5", "mtp.layers.0.fc.weight"),
    ],
)
def test_a_weight_that_the_class_leaves_out_by_design_does_no_harm(
    name: str, key: str, tmp_path: Path
) -> None:
    """Keys of layers that take another one's, and of the head that predicts further tokens, are published."""
    save(name, tmp_path)
    given = [picture((60, 40))], EXPRESSIONS[:1]
    right = capture(load_lvlm(str(tmp_path)), *given)
    change(tmp_path, lambda weights: weights.update({key: torch.ones(24, 48)}))
    torch.testing.assert_close(capture(load_lvlm(str(tmp_path)), *given), right, atol=0, rtol=0)


def test_what_is_wrong_with_the_weights_is_said_once(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(folder, lambda weights: weights.update({"second_tower.weight": torch.ones(2)}))
    capfd.readouterr()
    with pytest.raises(LocheadsError, match="second_tower"):
        load_lvlm(str(folder))
    assert "".join(capfd.readouterr()).strip() == ""


def test_a_configuration_with_fewer_layers_than_the_weights_is_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"] |= {"num_hidden_layers": 2, "layer_types": None}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(LocheadsError, match="have no place in the model, the first is .*layers.2"):
        load_lvlm(str(folder))


def test_buffers_that_the_model_computes_itself_do_no_harm(folder: Path, original: Path) -> None:
    ids = {"vision_tower.vision_model.embeddings.position_ids": torch.arange(37)[None]}
    change(folder, lambda weights: weights.update(ids))
    given = [picture((60, 40))], EXPRESSIONS[:1]
    torch.testing.assert_close(
        capture(load_lvlm(str(folder)), *given), capture(load_lvlm(str(original)), *given), atol=0, rtol=0
    )


def test_a_weight_of_another_shape_is_named(folder: Path) -> None:
    key = "multi_modal_projector.linear_1.weight"

    def cut(weights: Weights) -> None:
        found = next(name for name in weights if name.endswith(key))
        weights[found] = weights[found][:-1].contiguous()

    change(folder, cut)
    with pytest.raises(LocheadsError, match="linear_1.weight|size mismatch|mismatched"):
        load_lvlm(str(folder))


def test_an_adapters_folder_is_refused_with_its_base(folder: Path) -> None:
    settings(folder / "adapter_config.json", base_model_name_or_path="llava-hf/llava-1.5-7b-hf")
    with pytest.raises(LocheadsError, match="an adapter .LoRA. of 'llava-hf/llava-1.5-7b-hf'; merge"):
        load_lvlm(str(folder))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.write_text(POINTER), "a pointer of Git LFS"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "cut off"),
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "cut off"),
    ],
    ids=["pointer", "empty", "header cut off", "tail cut off"],
)
def test_damaged_weights_are_named_with_the_reason(
    folder: Path, damage: Callable[[Path], object], why: str
) -> None:
    intact = (folder / "model.safetensors").read_bytes()
    for name in ("model.safetensors", "pytorch_model.bin"):
        path = folder / name
        if name.endswith(".bin"):
            (folder / "model.safetensors").write_bytes(intact)
            torch.save(load_file(folder / "model.safetensors"), path)
            (folder / "model.safetensors").unlink()
        damage(path)
        with pytest.raises(LocheadsError, match=f"cannot be loaded: .*{name}: {why}"):
            load_lvlm(str(folder))


@pytest.mark.parametrize("name", ["config.json", "processor_config.json", "tokenizer.json"])
def test_damaged_settings_are_named_with_the_reason(folder: Path, name: str) -> None:
    (folder / name).write_text(POINTER)
    with pytest.raises(LocheadsError, match=f"{name}: a pointer of Git LFS"):
        load_lvlm(str(folder))


def test_weights_of_torch_before_1_6_give_the_same_maps(folder: Path, original: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (folder / "model.safetensors").unlink()
    given = [picture((60, 40))], EXPRESSIONS[:1]
    torch.testing.assert_close(
        capture(load_lvlm(str(folder)), *given), capture(load_lvlm(str(original)), *given), atol=0, rtol=0
    )


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("OpenGVLab/InternVL3-1B", "OpenGVLab/InternVL3-1B-hf"),
        ("OpenGVLab/InternVL3_5-8B", "OpenGVLab/InternVL3_5-8B-HF"),
        ("deepseek-ai/deepseek-vl-7b-chat", "deepseek-community/deepseek-vl-7b-chat"),
    ],
)
def test_the_name_of_a_repository_with_own_code_points_to_its_twin(name: str, twin: str) -> None:
    with pytest.raises(LocheadsError, match=f"'{name}' needs code out of .* never run; take '{twin}'"):
        load_lvlm(name, local_files_only=True)


def test_code_in_a_folder_is_not_run(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text("raise SystemExit(3)\n")
    auto = {"AutoConfig": "modeling_evil.C", "AutoModelForImageTextToText": "modeling_evil.M"}
    settings(folder / "config.json", model_type="internvl_chat", auto_map=auto)
    with pytest.raises(LocheadsError, match="internvl_chat.*needs code out of its own repository.*'…-hf'"):
        load_lvlm(str(folder))


def test_a_known_family_with_an_auto_map_loads_on_the_code_of_transformers(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text("raise SystemExit(3)\n")
    settings(folder / "config.json", auto_map={"AutoModelForImageTextToText": "modeling_evil.M"})
    assert type(load_lvlm(str(folder)).model).__module__.startswith("transformers.")
