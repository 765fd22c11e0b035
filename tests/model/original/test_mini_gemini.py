"""Mini-Gemini-2B: a tiny checkpoint with the published keys gives the features of plain PyTorch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from family_checks import EXPRESSIONS, picture
from llava_layout import make, write
from plain_towers import clip, convnext, linear, norm
from test_yi_and_intern import features
from tiny_models import make_tokenizer
from torch.nn import functional as F
from transformers import CLIPVisionConfig, CLIPVisionModel

from locheads.errors import LocheadsError
from locheads.model.attention import capture
from locheads.model.loading import load_lvlm

Weights = dict[str, torch.Tensor]
WIDTHS, DEPTHS = (8, 16, 24, 32), (1, 1, 2, 1)
SHARD = "pytorch_model-00001-of-00002.bin"
PUBLISHED = {
    "architectures": ["MGMGemmaForCausalLM"],
    "model_type": "mgm_gemma",
    "image_size_aux": 768,
    "mm_vision_tower_aux": "model_zoo/OpenAI/openclip-convnext-large-d-320-laion2B-s29B-b131K-ft-soup",
    "tie_word_embeddings": True,
}


def fine() -> Weights:
    """A ConvNeXt by the keys of `model.vision_tower_aux`."""
    shapes: dict[str, tuple[int, ...]] = {
        "vision_stem.0.weight": (WIDTHS[0], 3, 4, 4),
        "vision_stem.0.bias": (WIDTHS[0],),
        "vision_stem.1.weight": (WIDTHS[0],),
        "vision_stem.1.bias": (WIDTHS[0],),
    }
    for stage, (width, depth) in enumerate(zip(WIDTHS, DEPTHS, strict=True)):
        at = f"vision_stages.{stage}"
        if stage:
            before = WIDTHS[stage - 1]
            shapes |= {f"{at}.downsample.0.weight": (before,), f"{at}.downsample.0.bias": (before,)}
            shapes |= {
                f"{at}.downsample.1.weight": (width, before, 2, 2),
                f"{at}.downsample.1.bias": (width,),
            }
        for block in range(depth):
            here = f"{at}.blocks.{block}"
            shapes |= {f"{here}.gamma": (width,)}
            shapes |= {f"{here}.conv_dw.weight": (width, 1, 7, 7), f"{here}.conv_dw.bias": (width,)}
            shapes |= {f"{here}.norm.weight": (width,), f"{here}.norm.bias": (width,)}
            shapes |= {f"{here}.mlp.fc1.weight": (4 * width, width), f"{here}.mlp.fc1.bias": (4 * width,)}
            shapes |= {f"{here}.mlp.fc2.weight": (width, 4 * width), f"{here}.mlp.fc2.bias": (width,)}
    return {key: 0.2 * torch.randn(shape) + 0.05 for key, shape in shapes.items()}


def mining() -> Weights:
    made: Weights = {}
    for part, width in (("query", 64), ("aux", sum(WIDTHS)), ("val", sum(WIDTHS))):
        made |= {f"vlm_uni_{part}_projector.0.{end}": torch.randn(width) for end in ("weight", "bias")}
        made[f"vlm_uni_{part}_projector.1.weight"] = 0.3 * torch.randn(64, width)
        made[f"vlm_uni_{part}_projector.1.bias"] = torch.randn(64)
    return made


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Weights]:
    """Folder and all weights by published keys; both encoders are in the checkpoint, without `lm_head`."""
    torch.manual_seed(7)
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"), decoder="GemmaConfig")
    folder = tmp_path_factory.mktemp("gemini") / "MGM-2B"
    write(folder, model, "clip", "mlp2x_gelu", **PUBLISHED)
    config = json.loads((folder / "config.json").read_text())
    name = "model_zoo/OpenAI/clip-vit-large-patch14-336"
    (folder / "config.json").write_text(json.dumps(config | {"mm_vision_tower": name}))
    shape = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 3, "intermediate_size": 48}
    tower = CLIPVisionModel(CLIPVisionConfig(**shape, image_size=336, patch_size=14))
    for weight in tower.parameters():
        weight.data.add_(0.1 * torch.randn(weight.shape))
    own = {key.removeprefix("vision_model."): one.detach() for key, one in tower.state_dict().items()}
    added = {f"model.vision_tower.vision_tower.vision_model.{key}": one for key, one in own.items()}
    added |= {f"model.vision_tower_aux.{key}": one for key, one in fine().items()}
    added |= {f"model.{key}": one for key, one in mining().items()}
    weights: Weights = {}
    for file in sorted(folder.glob("*.bin")):
        kept = {key: one for key, one in torch.load(file).items() if key != "lm_head.weight"}
        torch.save(kept | (added if file.name == SHARD else {}), file)
        weights |= torch.load(file)
    return folder, weights


def plain(pixels: torch.Tensor, weights: Weights) -> torch.Tensor:
    """The formula, token by token: each attends to the 8 × 8 details of its own cell."""
    part = {
        start: {key.removeprefix(start): one for key, one in weights.items() if key.startswith(start)}
        for start in ("model.vision_tower.vision_tower.vision_model.", "model.vision_tower_aux.", "model.")
    }
    first, second, rest = part.values()
    small = F.interpolate(pixels, (336, 336), mode="bilinear")
    seen = clip(small, first, heads=1, layers=2, act=lambda x: x * torch.sigmoid(1.702 * x))
    details = convnext(pixels, second)
    assert details.shape[-2:] == (192, 192) and seen.shape[1] == 576

    def project(name: str, x: torch.Tensor) -> torch.Tensor:
        at = f"vlm_uni_{name}_projector"
        return linear(rest, f"{at}.1", norm(rest, f"{at}.0", x))

    found = torch.empty_like(seen)
    for cell in range(576):
        row, column = 8 * (cell // 24), 8 * (cell % 24)
        patch = details[:, :, row : row + 8, column : column + 8].flatten(2).mT
        scores = project("query", seen[:, cell : cell + 1]) @ project("aux", patch).mT / 64**0.5
        found[:, cell] = (scores.softmax(-1) @ project("val", patch))[:, 0]
    inner = F.gelu(linear(rest, "mm_projector.0", seen + found))
    return linear(rest, "mm_projector.2", inner) * 48**0.5  # Gemma's scale of embeddings


def test_mini_gemini_has_the_features_of_the_formula(original: tuple[Path, Weights]) -> None:
    folder, weights = original
    lvlm = load_lvlm(str(folder), dtype="float64", local_files_only=True)
    pixels = lvlm.encode([picture((60, 40))], EXPRESSIONS[:1]).inputs["pixel_values"]
    assert pixels.shape[-2:] == (768, 768) and lvlm.grid == (24, 24) and lvlm.fit == "pad"
    expected = plain(pixels, {key: tensor.double() for key, tensor in weights.items()})
    assert expected.std(1).mean() > 1e-2
    torch.testing.assert_close(features(lvlm, pixels), expected, atol=1e-5, rtol=1e-5)
    maps = capture(lvlm, [picture((60, 40))], EXPRESSIONS[:1])
    assert maps.shape == (1, 3, 4, 24, 24)
    twin = load_lvlm(str(folder), dtype="float64", local_files_only=True)
    again = capture(twin, [picture((60, 40))], EXPRESSIONS[:1])
    torch.testing.assert_close(maps, again, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("key", "what"),
    [
        ("model.vision_tower_aux.vision_stages.2.blocks.1.conv_dw.bias", "missing.*convnext.*dwconv.bias"),
        ("model.vlm_uni_aux_projector.0.weight", r"missing.*aux\.0\.weight"),
        ("model.vision_tower_aux.vision_stages.2.blocks.1.grn.weight", "no place.*grn.weight"),
        ("model.vlm_uni_key_projector.0.weight", "no place.*vlm_uni_key_projector"),
    ],
)
def test_mini_gemini_is_used_completely(
    key: str, what: str, original: tuple[Path, Weights], tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    folder.mkdir()
    for file in original[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = torch.load(folder / SHARD)
    if key in weights:
        del weights[key]
    else:
        weights[key] = torch.ones(3)
    torch.save(weights, folder / SHARD)
    with pytest.raises(LocheadsError, match=f"1 weights .*{what}"):
        load_lvlm(str(folder), local_files_only=True)


def test_tiles_and_a_second_encoder_that_is_nowhere_are_refused(
    original: tuple[Path, Weights], tmp_path: Path
) -> None:
    folder = tmp_path / "changed"
    folder.mkdir()
    for file in original[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"image_grid": 2}))
    with pytest.raises(LocheadsError, match="image_grid cuts pictures into tiles"):
        load_lvlm(str(folder), local_files_only=True)
    (folder / "config.json").write_text(json.dumps(config))
    weights = {key: one for key, one in torch.load(folder / SHARD).items() if "tower_aux" not in key}
    torch.save(weights, folder / SHARD)
    with pytest.raises(LocheadsError, match=r"tower 'model_zoo/OpenAI/openclip.*' \(mm_vision_tower_aux"):
        load_lvlm(str(folder), local_files_only=True)


def test_a_second_encoder_of_openclip_beside_the_checkpoint_is_the_same(
    original: tuple[Path, Weights], tmp_path: Path
) -> None:
    """OpenCLIP publishes a ConvNeXt with its head, and with the half that reads text."""
    folder = tmp_path / "MGM-2B"
    folder.mkdir()
    for file in original[0].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = torch.load(folder / SHARD)
    at = "model.vision_tower_aux.vision_"
    apart = {f"visual.trunk.{key.removeprefix(at)}": one for key, one in weights.items() if at in key}
    torch.save({key: one for key, one in weights.items() if at not in key}, folder / SHARD)
    others = {"visual.trunk.head.norm.weight": torch.ones(3), "visual.head.proj.weight": torch.ones(3)}
    place = folder / str(PUBLISHED["mm_vision_tower_aux"])
    place.mkdir(parents=True)
    torch.save(apart | others | {"logit_scale": torch.ones(1)}, place / "open_clip_pytorch_model.bin")
    given = [picture((60, 40))], EXPRESSIONS[:1]
    maps = [capture(load_lvlm(str(one), local_files_only=True), *given) for one in (original[0], folder)]
    torch.testing.assert_close(*maps, atol=0, rtol=0)
