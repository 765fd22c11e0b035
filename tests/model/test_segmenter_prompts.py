"""What SAM is given beside the box, and that transformers' SAM gives the same masks as segment_anything's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

# isort: split
from segment_anything import SamPredictor
from segment_anything.modeling import Sam
from transformers import SamConfig, SamModel

from locheads.data.scenes.scenes import draw_scene
from locheads.errors import LocheadsError
from locheads.method.geometry import Window
from locheads.method.grounding import Grounding, ground
from locheads.model.segmenter import LOGIT, Segmenter, load_segmenter
from locheads.model.small_sam import SegmenterConfig, build_sam, load_sam

TINY = SegmenterConfig(32, 8, 16, 2, 2, (1,), 2, 16, 16)
WIDE = (48, 30)


def _picture(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (WIDE[1], WIDE[0], 3), np.uint8)


def _random_sam() -> Sam:
    """Every weight is drawn, those that start at 0 or 1 too, so that none can be mixed up unnoticed."""
    torch.manual_seed(4)
    sam = build_sam(TINY)
    with torch.no_grad():
        for name, parameter in sam.named_parameters():
            places = "rel_pos" in name or "pos_embed" in name
            parameter.add_(torch.randn_like(parameter), alpha=0.3 if places else 0.1)
    return sam


def _found(window: Window) -> Grounding:
    """Looks at the cells (1, 1) and (1, 2), most at the second; the highest value of all lies apart."""
    maps = np.zeros((1, 4, 4))
    maps[0, 1, 1:3] = 2, 3
    maps[0, 3, 3] = 4
    return ground(maps, window, kernel=1)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The arguments of every call of SAM's own driver."""
    seen: list[dict] = []
    predict = SamPredictor.predict

    def listening(self: SamPredictor, **arguments: object) -> tuple:
        result = predict(self, **arguments)
        seen.append({**arguments, "low": result[2]})
        return result

    monkeypatch.setattr(SamPredictor, "predict", listening)
    return seen


@pytest.fixture
def segmenter() -> Segmenter:
    return Segmenter("tiny", SamPredictor(_random_sam()))


BOXES = np.array([[12.0, 7.0, 36.0, 16.0], [0.0, 0.0, 20.0, 30.0]])


def test_the_box_alone_is_the_default(segmenter: Segmenter, calls: list[dict]) -> None:
    segmenter.masks(_picture(), BOXES)
    assert [sorted(call) for call in calls] == [["box", "low", "multimask_output"]] * 2


def test_the_cascade_feeds_back_the_low_resolution_mask(segmenter: Segmenter, calls: list[dict]) -> None:
    masks = segmenter.masks(_picture(), BOXES[:1], cascade=2)
    first, second, third = calls
    assert "mask_input" not in first
    assert second["mask_input"] is first["low"] and third["mask_input"] is second["low"]
    assert all(np.array_equal(call["box"], BOXES[0]) for call in calls)
    segmenter.predictor.set_image(_picture())
    by_hand = segmenter.predictor.predict(box=BOXES[0], mask_input=second["low"], multimask_output=False)
    assert np.array_equal(masks[0], by_hand[0][0])
    assert not np.array_equal(first["low"], third["low"])


def test_the_point_is_the_highest_cell_of_the_hull(segmenter: Segmenter, calls: list[dict]) -> None:
    window = Window.stretch(WIDE, (4, 4))
    segmenter.masks(_picture(), BOXES[:1], [_found(window)], window, "box+point", cascade=1)
    for call in calls:  # cells are 12 × 7.5 pixels; the hull holds (1, 1) and (1, 2), not (3, 3)
        assert call["point_coords"].tolist() == [[30.0, 11.25]] and call["point_labels"].tolist() == [1]
    assert "mask_input" not in calls[0] and calls[1]["mask_input"] is calls[0]["low"]


def test_a_point_in_the_padding_comes_back_into_the_image(segmenter: Segmenter, calls: list[dict]) -> None:
    window = Window.pad_to_square(WIDE, (4, 4))
    maps = np.zeros((1, 4, 4))
    maps[0, 0, 0] = 1
    segmenter.masks(_picture(), BOXES[:1], [ground(maps, window, kernel=1)], window, "box+point")
    assert calls[0]["point_coords"].tolist() == [[6.0, 0.0]]


def test_the_mask_prompt_is_the_hull_in_sams_frame(segmenter: Segmenter, calls: list[dict]) -> None:
    window = Window.stretch(WIDE, (4, 4))
    segmenter.masks(_picture(), BOXES[:1], [_found(window)], window, "box+mask")
    logits = calls[0]["mask_input"]
    side = calls[0]["low"].shape[-1]
    assert logits.shape == (1, side, side) == (1, 16, 16)
    # 48 × 30 pixels fill 16 × 10 of the frame, a cell 4 × 2.5: the hull spans columns 4 to 12, rows 2.5 to 5
    expected = np.full((16, 16), -LOGIT)
    expected[2:5, 4:12] = LOGIT
    assert np.array_equal(logits[0], expected)


def test_prompts_help_the_shipped_segmenter_to_the_same_object() -> None:
    scene = draw_scene(np.random.default_rng([8, 4]), most=3)
    sam = Segmenter("specimen", SamPredictor(load_sam()))
    window = Window.stretch((256, 256), (32, 32))
    found = [ground(window.mask_to_grid(mask)[None], window) for mask in scene.masks]
    for prompt in ("box", "box+mask", "box+point"):
        for cascade in (0, 1):
            masks = sam.masks(scene.image, scene.boxes, found, window, prompt, cascade)
            ious = (masks & scene.masks).sum((1, 2)) / (masks | scene.masks).sum((1, 2))
            assert ious.min() > 0.7, (prompt, cascade, ious)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"prompt": "mask"}, r"prompt = 'mask': give one of box, box\+mask, box\+point"),
        ({"cascade": -1}, "cascade = -1"),
        ({"prompt": "box+mask"}, "one grounding for each of 2 boxes, not 0"),
        ({"prompt": "box+point", "found": 1}, "one grounding for each of 2 boxes, not 1"),
        ({"prompt": "box+point", "found": 2, "window": (30, 48)}, "window of an image of 48 x 30"),
    ],
)
def test_prompts_that_do_not_fit_are_one_clear_error(
    segmenter: Segmenter, arguments: dict, message: str
) -> None:
    window = Window.stretch(arguments.pop("window", WIDE), (4, 4))
    found = [_found(window)] * arguments.pop("found", 0)
    with pytest.raises(LocheadsError, match=message):
        segmenter.masks(_picture(), BOXES, found, window, **arguments)


# SAM in transformers' layout

RENAMED = {  # segment_anything's name → transformers', in the order in which they are replaced
    "image_encoder.": "vision_encoder.",
    "patch_embed.proj.": "patch_embed.projection.",
    ".blocks.": ".layers.",
    "neck.0.": "neck.conv1.",
    "neck.1.": "neck.layer_norm1.",
    "neck.2.": "neck.conv2.",
    "neck.3.": "neck.layer_norm2.",
    ".norm": ".layer_norm",
    "pe_layer.positional_encoding_gaussian_matrix": "shared_embedding.positional_embedding",
    "point_embeddings.": "point_embed.",
    "mask_downscaling.0.": "mask_embed.conv1.",
    "mask_downscaling.1.": "mask_embed.layer_norm1.",
    "mask_downscaling.3.": "mask_embed.conv2.",
    "mask_downscaling.4.": "mask_embed.layer_norm2.",
    "mask_downscaling.6.": "mask_embed.conv3.",
    "output_upscaling.0.": "upscale_conv1.",
    "output_upscaling.1.": "upscale_layer_norm.",
    "output_upscaling.3.": "upscale_conv2.",
}


def _renamed(name: str) -> str:
    for old, new in RENAMED.items():
        name = name.replace(old, new)
    if "_mlps." in name or "iou_prediction_head." in name:
        for old, new in (("layers.0.", "proj_in."), ("layers.1.", "layers.0."), ("layers.2.", "proj_out.")):
            if f".{old}" in name:
                return name.replace(f".{old}", f".{new}")
    return name


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The random segmenter, saved by transformers."""
    config = SamConfig(
        vision_config={
            "hidden_size": 16,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
            "window_size": 2,
            "global_attn_indexes": [1],
            "num_pos_feats": 8,
        },
        prompt_encoder_config={"hidden_size": 16, "image_size": 32, "patch_size": 8},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 16,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 16,
            "layer_norm_eps": 1e-5,  # as in segment_anything; transformers' default is 1e-6
        },
    )
    model = SamModel(config)
    state = {_renamed(name): tensor for name, tensor in _random_sam().state_dict().items()}
    shared = state["prompt_encoder.shared_embedding.positional_embedding"]
    model.load_state_dict({**state, "shared_image_embedding.positional_embedding": shared})
    place = tmp_path_factory.mktemp("transformers") / "sam"
    model.save_pretrained(place)
    return place


@pytest.mark.parametrize("prompt", ["box", "box+mask", "box+point"])
def test_the_same_weights_give_the_same_masks_both_ways(
    segmenter: Segmenter, folder: Path, calls: list[dict], prompt: str
) -> None:
    window = Window.stretch(WIDE, (4, 4))
    found = [_found(window)] * 2
    ours = segmenter.masks(_picture(), BOXES, found, window, prompt, cascade=1)
    hub = load_segmenter(folder)
    theirs = hub.masks(_picture(), BOXES, found, window, prompt, cascade=1)
    assert hub.name == str(folder) and ours.shape == (2, 30, 48)
    assert 0.1 < ours.mean() < 0.9
    for one, other in zip(calls[:4], calls[4:], strict=True):
        np.testing.assert_allclose(one["low"], other["low"], rtol=1e-3, atol=1e-5)
    assert np.array_equal(ours, theirs)


def test_what_transformers_cannot_load_is_one_clear_error(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(LocheadsError, match="segmenter .* cannot be loaded"):
        load_segmenter(tmp_path)
