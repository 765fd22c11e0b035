"""Checkpoints in LLaVA's own layout give the maps of the same weights in transformers' layout."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from family_checks import EXPRESSIONS, picture
from llava_layout import make, original_name, write
from safetensors.torch import save_file
from tiny_models import llava, make_tokenizer
from transformers import LlavaForConditionalGeneration, LlavaProcessor, PreTrainedTokenizerFast

from locheads.errors import LocheadsError
from locheads.model.attention import capture
from locheads.model.loading import load_lvlm

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 123\n"


def in_transformers_layout(
    model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> None:
    model.save_pretrained(folder)
    LlavaProcessor(
        llava()[1].image_processor,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)


def maps_of(folder: Path) -> torch.Tensor:
    lvlm = load_lvlm(str(folder), local_files_only=True)
    return capture(lvlm, [picture((120, 80), seed) for seed in range(3)], EXPRESSIONS)


@pytest.mark.parametrize("tower", ["openai/clip-vit-large-patch14-336", "clip"])
@pytest.mark.parametrize("projector", ["mlp2x_gelu", "linear"])
def test_the_maps_are_those_of_transformers_layout(tower: str, projector: str, tmp_path: Path) -> None:
    tokenizer = make_tokenizer("<image>", "<im_start>", "<im_end>")
    model = make(projector, tokenizer)
    folder = write(tmp_path / "original", model, tower, projector)
    in_transformers_layout(model, tokenizer, tmp_path / "new")
    both = [load_lvlm(str(folder), local_files_only=True), load_lvlm(str(tmp_path / "new"))]
    maps = [capture(lvlm, [picture((120, 80))] * 3, EXPRESSIONS) for lvlm in both]
    assert both[0].fit == both[1].fit == "pad" and both[0].prompt == both[1].prompt
    assert maps[1].std() > 1e-3
    torch.testing.assert_close(*maps, atol=1e-6, rtol=0)


def test_tokens_around_the_image_follow_the_checkpoint(tmp_path: Path) -> None:
    model = make("linear", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    folder = write(
        tmp_path / "original", model, "openai/clip-vit-large-patch14", "linear", mm_use_im_start_end=True
    )
    assert load_lvlm(str(folder), prompt="plain").prompt == "<im_start><image><im_end>\n{expression}"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"mm_projector_type": "mlp3x_gelu"}, "mm_projector_type mlp3x_gelu"),
        ({"mm_vision_select_feature": "cls_patch"}, "mm_vision_select_feature cls_patch"),
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


@pytest.mark.parametrize(
    ("decoder", "architecture"),
    [
        ("Qwen2Config", "LlavaQwen2ForCausalLM"),
        ("Qwen2Config", "LlavaQwenForCausalLM"),
        ("Qwen3Config", "LlavaQwen3ForCausalLM"),
        ("MistralConfig", "LlavaMistralForCausalLM"),
        ("LlamaConfig", "Share4VLlamaForCausalLM"),
        ("GemmaConfig", "LlavaGemmaForCausalLM"),
    ],
)
def test_every_decoder_gives_the_maps_of_transformers_layout(
    decoder: str, architecture: str, tmp_path: Path
) -> None:
    tokenizer = make_tokenizer("<image>", "<im_start>", "<im_end>")
    model = make("mlp2x_gelu", tokenizer, decoder=decoder)
    kinds = {"architectures": [architecture], "model_type": "of its own"}
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu", **kinds)
    if decoder == "GemmaConfig":  # scaled behind the projector when the layout was published
        for weight in model.model.multi_modal_projector.linear_2.parameters():
            weight.data *= 48**0.5
    in_transformers_layout(model, tokenizer, tmp_path / "new")
    maps = [maps_of(folder), maps_of(folder), maps_of(tmp_path / "new")]
    assert maps[0].std() > 1e-3
    torch.testing.assert_close(maps[0], maps[1], atol=0, rtol=0)
    torch.testing.assert_close(maps[0], maps[2], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "key",
    [
        "model.layers.0.self_attn.q_proj.bias",
        "model.layers.1.self_attn.q_norm.weight",
        "model.layers.7.mlp.up_proj.weight",
        "model.vision_tower_aux.vision_stem.0.weight",
        "model.vlm_uni_query_projector.0.weight",
        "model.mm_projector.4.weight",
        "model.image_newline",
    ],
)
def test_a_weight_that_has_no_place_is_named(key: str, tmp_path: Path) -> None:
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu")
    shard = folder / "pytorch_model-00001-of-00002.bin"
    torch.save(torch.load(shard) | {key: torch.ones(4, 4)}, shard)
    named = re.escape(key.removeprefix("model.").removeprefix("layers."))
    with pytest.raises(LocheadsError, match=f"1 weights of the checkpoint have no place .*{named}"):
        load_lvlm(str(folder))


@pytest.mark.parametrize("key", ["num_hidden_layers", "mm_projector_type"])
def test_a_config_that_says_less_than_the_weights_hold_is_refused(key: str, tmp_path: Path) -> None:
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    less = {"num_hidden_layers": 2, "mm_projector_type": "linear"}[key]
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu", **{key: less})
    with pytest.raises(LocheadsError, match="weights of the checkpoint have no place in the model"):
        load_lvlm(str(folder))


@pytest.mark.parametrize("architecture", ["LlavaMptForCausalLM", "LlavaMixtralForCausalLM", None])
def test_other_decoders_are_refused(architecture: str | None, tmp_path: Path) -> None:
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    kinds = {"architectures": [architecture] if architecture else None}
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu", **kinds)
    with pytest.raises(
        LocheadsError, match=f"architectures in its config.json is {architecture or 'none'}, .*with Llama, "
    ):
        load_lvlm(str(folder))


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda path: path.write_text(POINTER), "a pointer of Git LFS"),
        (lambda path: path.write_bytes(b""), "the file is empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "cut off"),
    ],
    ids=["pointer", "empty", "cut off"],
)
@pytest.mark.parametrize("of", ["original", "clip"])
def test_damaged_weights_are_named_with_the_reason(
    damage: Callable[[Path], object], why: str, of: str, tmp_path: Path
) -> None:
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu")
    file = next(path for path in (tmp_path / of).iterdir() if path.suffix in (".bin", ".safetensors"))
    damage(file)
    with pytest.raises(LocheadsError, match=f"{file.name}: {why}"):
        load_lvlm(str(folder))


def test_weights_of_torch_before_1_6_give_the_same_maps(tmp_path: Path) -> None:
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    folder = write(tmp_path / "original", model, "clip", "mlp2x_gelu")
    right = maps_of(folder)
    for file in folder.glob("*.bin"):
        torch.save(torch.load(file), file, _use_new_zipfile_serialization=False)
    torch.testing.assert_close(maps_of(folder), right, atol=0, rtol=0)


def test_image_tokens_stand_where_all_attentions_have_them(tmp_path: Path) -> None:
    """Their place is not assumed: behind a system sentence it is neither the start nor the edge."""
    model = make("mlp2x_gelu", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    lvlm = load_lvlm(str(write(tmp_path / "original", model, "clip", "mlp2x_gelu")))
    encoded = lvlm.encode([picture((48, 48))], EXPRESSIONS[:1])
    where = (encoded.inputs["input_ids"][0] == lvlm.model.config.image_token_id).nonzero()[:, 0]
    got = capture(lvlm, [picture((48, 48))], EXPRESSIONS[:1])[0]
    lvlm.model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = lvlm.model(**encoded.inputs, output_attentions=True).attentions
    want = torch.stack([layer[0, :, -1][:, where] for layer in attentions]).unflatten(-1, (6, 6))
    assert where[0] > 20
    torch.testing.assert_close(got, want, atol=1e-5, rtol=0)
