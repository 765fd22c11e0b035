"""Checkpoints in LLaVA's own layout give the maps of the same weights in transformers' layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from family_checks import EXPRESSIONS, picture
from llava_layout import make, original_name, write
from safetensors.torch import save_file
from tiny_models import llava, make_tokenizer

from locheads.errors import LocheadsError
from locheads.model.attention import capture
from locheads.model.loading import load_lvlm


@pytest.mark.parametrize("tower", ["openai/clip-vit-large-patch14-336", "clip"])
@pytest.mark.parametrize("projector", ["mlp2x_gelu", "linear"])
def test_the_maps_are_those_of_transformers_layout(tower: str, projector: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer("<image>", "<im_start>", "<im_end>")
    model = make(projector, tokenizer)
    folder = write(tmp_path / "original", model, tower, projector)
    model.save_pretrained(tmp_path / "new")
    from transformers import LlavaProcessor

    images = llava()[1].image_processor
    LlavaProcessor(
        images,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(tmp_path / "new")
    both = [load_lvlm(str(folder), local_files_only=True), load_lvlm(str(tmp_path / "new"))]
    maps = [capture(lvlm, [picture((120, 80))] * 3, EXPRESSIONS) for lvlm in both]
    assert both[0].fit == both[1].fit == "pad" and both[0].prompt == both[1].prompt
    assert maps[1].std() > 1e-3
    torch.testing.assert_close(*maps, atol=1e-6, rtol=0)


def test_tokens_around_the_image_follow_the_checkpoint(tmp_path: Path) -> None:
    model = make("linear", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    folder = write(tmp_path / "original", model, "in the checkpoint", "linear", mm_use_im_start_end=True)
    assert load_lvlm(str(folder), prompt="plain").prompt == "<im_start><image><im_end>\n{expression}"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"mm_projector_type": "mlp2x_gelu_Norm"}, "mm_projector_type mlp2x_gelu_Norm"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio anyres"),
    ],
)
def test_other_kinds_are_refused(tmp_path: Path, config: dict[str, str], message: str) -> None:
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu", **config)
    with pytest.raises(LocheadsError, match=message):
        load_lvlm(str(folder))


def test_a_tower_that_is_nowhere_is_named(tmp_path: Path) -> None:
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu", mm_vision_tower="./elsewhere")
    with pytest.raises(LocheadsError, match=r"vision tower './elsewhere' \(mm_vision_tower in config.json\)"):
        load_lvlm(str(folder), local_files_only=True)


def test_missing_weights_are_named(tmp_path: Path) -> None:
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu")
    weights = {key: tensor.clone() for key, tensor in model.state_dict().items() if "layers.1." not in key}
    for file in folder.glob("*.bin"):
        file.unlink()
    save_file({original_name(key): t for key, t in weights.items()}, folder / "model.safetensors")
    with pytest.raises(
        LocheadsError, match=r"weights are missing or misshapen, the first is model\.language_model"
    ):
        load_lvlm(str(folder))
