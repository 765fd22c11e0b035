"""Vision towers of LLaVA's own layout: found, completely used, or refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from llava_layout import make, write
from safetensors.torch import load_file, save_file
from test_llava_layout import maps_of
from tiny_models import VISION, make_tokenizer
from transformers import (
    CLIPConfig,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    PreTrainedModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from locheads.errors import LocheadsError
from locheads.model.loading import load_lvlm
from locheads.model.original import layout, towers


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkpoint whose tower lies beside it, in the folder `clip`."""
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    return write(tmp_path / "original", model, "clip", "mlp2x_gelu")


def name_tower(folder: Path, named: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"mm_vision_tower": named}))


def put_into(folder: Path, tower: PreTrainedModel) -> None:
    """Adds a tower's weights to those of the checkpoint."""
    own = {f"model.vision_tower.vision_tower.{key}": one for key, one in tower.state_dict().items()}
    shard = folder / "pytorch_model-00001-of-00002.bin"
    torch.save(torch.load(shard) | own, shard)


@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("google/siglip-so400m-patch14-384", "SigLIP"),
        ("facebook/dinov2-large", "DINOv2"),
        ("vit_large_patch14_dinov2", "DINOv2"),
        ("QuanSun/EVA02_CLIP_L_336_psz14_s6B", "EVA"),
        ("./pretrained/internvl_14b_224px", "InternVL-14B"),
        ("model_zoo/OpenAI/openclip-convnext-large-d-320-laion2B", "ConvNeXt"),
    ],
)
def test_towers_that_cannot_be_mapped_are_refused_by_name(named: str, kind: str, folder: Path) -> None:
    name_tower(folder, named)
    with pytest.raises(LocheadsError, match=f"vision tower '{named}' is {kind}, and only CLIP and InternViT"):
        load_lvlm(str(folder), local_files_only=True)


@pytest.mark.parametrize(
    "tower",
    [
        SiglipVisionModel(SiglipVisionConfig(**VISION)),
        Dinov2Model(Dinov2Config(**VISION)),
    ],
    ids=["SigLIP", "DINOv2"],
)
def test_another_tower_under_a_known_name_is_refused(tower: PreTrainedModel, folder: Path) -> None:
    name_tower(folder, "openai/clip-vit-large-patch14-336")
    put_into(folder, tower)
    with pytest.raises(LocheadsError, match="is another encoder, and only CLIP and InternViT are known"):
        load_lvlm(str(folder), local_files_only=True)


@pytest.mark.parametrize("of", ["tower", "checkpoint"])
def test_a_weight_of_the_tower_that_has_no_place_is_named(of: str, folder: Path) -> None:
    extra = {"vision_model.encoder.layers.0.self_attn.q_norm.weight": torch.ones(4)}
    file = folder.parent / "clip" / "model.safetensors"
    if of == "tower":
        save_file(load_file(file) | extra, file, metadata={"format": "pt"})
    else:
        own = {f"vision_tower.{key}": one for key, one in (load_file(file) | extra).items()}
        shard = folder / "pytorch_model-00002-of-00002.bin"
        torch.save(torch.load(shard) | {f"model.vision_tower.{key}": one for key, one in own.items()}, shard)
    with pytest.raises(LocheadsError, match=r"1 weights .* no place .*vision_tower.*self_attn.q_norm"):
        load_lvlm(str(folder))


def test_a_tower_without_some_weights_is_refused(folder: Path) -> None:
    file = folder.parent / "clip" / "model.safetensors"
    weights = load_file(file)
    gone = next(key for key in weights if key.endswith("layers.1.mlp.fc1.weight"))
    del weights[gone]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(LocheadsError, match=r"1 weights are missing .*layers\.1\.mlp\.fc1\.weight"):
        load_lvlm(str(folder))


def test_the_half_of_clip_that_reads_text_is_left_out(folder: Path) -> None:
    """OpenAI's towers are published in the repository of the whole CLIP."""
    right = maps_of(folder)
    vision = json.loads((folder.parent / "clip" / "config.json").read_text())
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
    whole = CLIPModel(CLIPConfig(text_config=text | {"vocab_size": 9}, vision_config=vision))
    vision_weights = load_file(folder.parent / "clip" / "model.safetensors")
    whole.vision_model.load_state_dict(
        {k.removeprefix("vision_model."): t for k, t in vision_weights.items()}
    )
    whole.save_pretrained(folder.parent / "clip")
    assert any(
        key.startswith("text_model") for key in load_file(folder.parent / "clip" / "model.safetensors")
    )
    torch.testing.assert_close(maps_of(folder), right, atol=0, rtol=0)


def test_a_clip_within_the_checkpoint_that_is_not_openais_needs_its_settings(folder: Path) -> None:
    """Heads of 80 channels and another GELU cannot be read from the weights of a ViT-H."""
    clip = load_file(folder.parent / "clip" / "model.safetensors")
    right = maps_of(folder)
    shard = folder / "pytorch_model-00001-of-00002.bin"
    own = {f"model.vision_tower.vision_tower.{key}": one for key, one in clip.items()}
    torch.save(torch.load(shard) | own, shard)
    name_tower(folder, "laion/CLIP-ViT-H-14-laion2B-s32B-b79K")
    with pytest.raises(LocheadsError, match="vision tower 'laion/CLIP-ViT-H-14-laion2B-s32B-b79K'"):
        load_lvlm(str(folder), local_files_only=True)
    (folder.parent / "clip").rename(folder / "CLIP-ViT-H-14-laion2B-s32B-b79K")
    torch.testing.assert_close(maps_of(folder), right, atol=0, rtol=0)


def test_the_revision_is_not_asked_of_the_towers_repository(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def fetch(repository: str, **how: object) -> str:
        asked[repository] = how.get("revision")
        return str(folder.parent / "clip" if "clip-vit" in repository else folder)

    monkeypatch.setattr(towers, "snapshot_download", fetch)
    monkeypatch.setattr(layout, "snapshot_download", fetch)
    name_tower(folder, "openai/clip-vit-large-patch14-336")
    raw = json.loads((folder / "config.json").read_text())
    where = {"revision": "1234567", "local_files_only": True}
    how = {"dtype": torch.float32, "device_map": None}
    layout.load("of the hub", "someone/llava", raw, where, how)
    assert asked == {"someone/llava": "1234567", "openai/clip-vit-large-patch14-336": None}
