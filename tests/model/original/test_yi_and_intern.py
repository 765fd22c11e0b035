"""Yi-VL-6B and InternVL-6B: tiny checkpoints with the published keys give the features of plain PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from family_checks import EXPRESSIONS, picture
from llava_layout import make, write
from plain_towers import clip, intern_vit, linear, norm
from safetensors.torch import save_file
from tiny_models import make_tokenizer
from transformers import CLIPVisionConfig, CLIPVisionModel

from locheads.errors import LocheadsError
from locheads.model.attention import capture
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm

Weights = dict[str, torch.Tensor]
YI = "./vit/clip-vit-H-14-laion2B-s32B-b79K-yi-vl-6B-448"


def checkpoint(folder: Path, projector: Weights, **config: object) -> Path:
    """A tiny Llama in LLaVA's own layout, with this projector."""
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    write(folder, model, "clip", "mlp2x_gelu", **config)
    for file in folder.glob("*.bin"):
        torch.save({key: one for key, one in torch.load(file).items() if "mm_projector" not in key}, file)
    shard = folder / "pytorch_model-00001-of-00002.bin"
    torch.save(
        torch.load(shard) | {f"model.mm_projector.{key}": one for key, one in projector.items()}, shard
    )
    return folder


def layers(**shapes: tuple[int, ...]) -> Weights:
    """Random weights; keys are given with underscores for dots."""
    return {key: 0.3 * torch.randn(shape) for key, shape in shapes.items()}


def features(lvlm: Lvlm, pixels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return torch.stack(list(lvlm.model.get_image_features(pixels).pooler_output))


def mlp(width: int) -> Weights:
    return {
        "0.weight": 0.3 * torch.randn(48, width),
        "0.bias": torch.randn(48),
        "2.weight": 0.3 * torch.randn(48, 48),
        "2.bias": torch.randn(48),
    }


@pytest.fixture
def yi(tmp_path: Path) -> tuple[Path, Weights, Weights]:
    """Folder, projector and tower: heads of 80 channels, the plain GELU, 448 pixels, in a subfolder."""
    torch.manual_seed(5)
    projector = {
        f"{place}.{part}": torch.randn(shape)
        for place, width in (("0", 160), ("1", 0), ("3", 48), ("4", 0))
        for part, shape in (("weight", (48, width) if width else (48,)), ("bias", (48,)))
    }
    folder = checkpoint(
        tmp_path / "Yi-VL-6B", projector, mm_projector_type="mlp2x_gelu_Norm", mm_vision_tower=YI
    )
    shape = {"hidden_size": 160, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 64}
    tower = CLIPVisionModel(CLIPVisionConfig(**shape, image_size=448, patch_size=14, hidden_act="gelu"))
    for weight in tower.parameters():
        weight.data.add_(0.1 * torch.randn(weight.shape))
    tower.save_pretrained(folder / YI)
    return folder, projector, {key: one.detach() for key, one in tower.state_dict().items()}


def test_yi_vl_has_the_features_of_the_formula(yi: tuple[Path, Weights, Weights]) -> None:
    folder, projector, tower = yi
    lvlm = load_lvlm(str(folder))
    encoded = lvlm.encode([picture((60, 40))], EXPRESSIONS[:1])
    pixels = encoded.inputs["pixel_values"]
    assert pixels.shape[-2:] == (448, 448) and lvlm.grid == (32, 32)
    tower = {key.removeprefix("vision_model."): one for key, one in tower.items()}
    seen = clip(pixels, tower, heads=2, layers=2, act=torch.nn.functional.gelu)
    inner = torch.nn.functional.gelu(norm(projector, "1", linear(projector, "0", seen)))
    expected = norm(projector, "4", linear(projector, "3", inner))
    torch.testing.assert_close(features(lvlm, pixels), expected, atol=1e-5, rtol=1e-5)
    maps = capture(lvlm, [picture((60, 40))], EXPRESSIONS[:1])
    assert maps.shape == (1, 3, 4, 32, 32)
    again = capture(load_lvlm(str(folder)), [picture((60, 40))], EXPRESSIONS[:1])
    torch.testing.assert_close(maps, again, atol=0, rtol=0)


@pytest.mark.parametrize("place", ["1", "4"])
def test_yi_vl_needs_both_norms(place: str, yi: tuple[Path, Weights, Weights]) -> None:
    shard = yi[0] / "pytorch_model-00001-of-00002.bin"
    weights = torch.load(shard)
    del weights[f"model.mm_projector.{place}.bias"]
    torch.save(weights, shard)
    with pytest.raises(
        LocheadsError, match=r"1 weights are missing .* norm_\d\.bias|projector\.norm_\d\.bias"
    ):
        load_lvlm(str(yi[0]))


INTERN = {"num_attention_heads": 2, "num_hidden_layers": 5, "qk_normalization": True, "qkv_bias": False}


@pytest.fixture
def intern(tmp_path: Path) -> tuple[Path, Weights, Weights]:
    """Folder, projector and tower: InternViT for 224 pixels beside the checkpoint."""
    torch.manual_seed(6)
    projector = mlp(32)
    path = "./pretrained/intern_vit_6b_224px"
    folder = checkpoint(tmp_path / "InternVL", projector, mm_vision_tower=path, mm_vision_select_layer=-4)
    tower = {
        "embeddings.class_embedding": torch.randn(1, 1, 32),
        "embeddings.patch_embedding.weight": 0.05 * torch.randn(32, 3, 14, 14),
        "embeddings.patch_embedding.bias": torch.randn(32),
        "embeddings.position_embedding": torch.randn(1, 257, 32),
    }
    for layer in range(5):
        shapes = {
            "attn.qkv.weight": (96, 32),
            "attn.q_norm.weight": (32,),
            "attn.k_norm.weight": (32,),
            "attn.proj.weight": (32, 32),
            "attn.proj.bias": (32,),
            "norm1.weight": (32,),
            "norm2.weight": (32,),
            "ls1": (32,),
            "ls2": (32,),
            "mlp.fc1.weight": (64, 32),
            "mlp.fc1.bias": (64,),
            "mlp.fc2.weight": (32, 64),
            "mlp.fc2.bias": (32,),
        }
        for key, shape in shapes.items():
            tower[f"encoder.layers.{layer}.{key}"] = 0.4 * torch.randn(shape) + 0.1
    place = folder.parent / "intern_vit_6b_224px"
    place.mkdir()
    save_file(tower, place / "model.safetensors", metadata={"format": "pt"})
    (place / "config.json").write_text(
        json.dumps(INTERN | {"model_type": "intern_vit_6b", "image_size": 224})
    )
    return folder, projector, tower


def plain(intern: tuple[Path, Weights, Weights], pixels: torch.Tensor) -> torch.Tensor:
    _, projector, tower = intern
    seen = intern_vit(pixels, tower, heads=2, layers=2, cells=24)  # -4 of 1 + 5 hidden states
    return linear(projector, "2", torch.nn.functional.gelu(linear(projector, "0", seen)))


def test_internvl_has_the_features_of_the_formula(intern: tuple[Path, Weights, Weights]) -> None:
    lvlm = load_lvlm(str(intern[0]))
    pixels = lvlm.encode([picture((60, 40))], EXPRESSIONS[:1]).inputs["pixel_values"]
    assert pixels.shape[-2:] == (336, 336) and lvlm.grid == (24, 24) and lvlm.fit == "pad"
    torch.testing.assert_close(features(lvlm, pixels), plain(intern, pixels), atol=1e-5, rtol=1e-5)
    assert lvlm.processor.image_processor.image_mean == (0.485, 0.456, 0.406)
    assert lvlm.processor.image_processor.image_std == (0.229, 0.224, 0.225)
    maps = capture(lvlm, [picture((60, 40))], EXPRESSIONS[:1])
    assert maps.shape == (1, 3, 4, 24, 24)


def test_internvit_within_the_checkpoint_is_the_same(intern: tuple[Path, Weights, Weights]) -> None:
    folder, _, tower = intern
    shard = folder / "pytorch_model-00002-of-00002.bin"
    own = {f"model.vision_tower.vision_tower.{key}": tensor for key, tensor in tower.items()}
    torch.save(torch.load(shard) | own, shard)
    (folder.parent / "intern_vit_6b_224px" / "model.safetensors").unlink()
    lvlm = load_lvlm(str(folder))
    pixels = torch.randn(2, 3, 336, 336)
    torch.testing.assert_close(features(lvlm, pixels), plain(intern, pixels), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("key", "what"), [("ls1", "missing"), ("attn.q_norm.weight", "missing"), ("extra", "no place")]
)
def test_internvit_is_used_completely(key: str, what: str, intern: tuple[Path, Weights, Weights]) -> None:
    folder, _, tower = intern
    at = f"encoder.layers.3.{key}"
    tower = tower | {at: torch.ones(3)} if key == "extra" else {k: t for k, t in tower.items() if k != at}
    save_file(tower, folder.parent / "intern_vit_6b_224px" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(LocheadsError, match=f"1 weights .*{what}.*vision_tower.encoder.layer.3"):
        load_lvlm(str(folder))
