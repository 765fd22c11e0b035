"""Describes model families: the patch grid of their image tokens, and the part of the image it covers.

transformers has no common interface for this, so each family has an entry here. A family that is not listed
is accepted when its processor is unambiguous: one square view of the image, and a square number of tokens.
Where the projector pools the patches into query tokens (`Resampler`), maps are carried back through it.
Tiles (LLaVA-NeXT, LLaVA-OneVision) stay in the model's input, and the map is that of the base view, the
whole image. Where tiling can be switched off (InternVL, Idefics3, Llama 4) it is, so that the map holds all
the attention that the image receives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isqrt
from typing import Any, Literal

from transformers import PreTrainedConfig

from locheads.errors import LocheadsError
from locheads.method.geometry import Window

Kind = Literal["own", "patches", "both"]
"""What an attention looks at: its own states, the patches, or the patches and behind them its own states."""


@dataclass(frozen=True)
class Resampler:
    """How a projector pools the patches into tokens that stand for no place; its maps are carried back.

    Attributes:
        name: What it is called.
        tokens: Function from the model's configuration to the number of visual tokens.
        looks: Function from the model to its attentions, in the order in which they are computed; each
            returns its weights as second output, `batch × head × queries × keys`.
        first: Inputs before the patches that stand for no place, such as a class token.
        exact: Function from the grid to the shares of patches in tokens, where they are known; None: from the
            attentions.
    """

    name: str
    tokens: Callable[[Any], int]
    looks: Callable[[Any], Sequence[tuple[Any, Kind]]] = lambda model: ()
    first: int = 0
    exact: Callable[[tuple[int, int]], Any] | None = None


@dataclass(frozen=True)
class Family:
    """Properties shared by all models of one `model_type`.

    Attributes:
        title: The family's name.
        cells: Function from the model's configuration to the edge of the square grid, in cells; None: the
            processor reports the grid.
        view: `whole`: the image tokens are the grid; `tiles`: the grid comes first and tiles follow.
        options: Keyword arguments for the processor.
        image: The image placeholder in a text; `{}` is replaced by the processor's own placeholder. None:
            with the markers that the model's chat template puts around it.
        closing: Text that the processor appends to the prompt.
        sees: The attention mask: a token attends to those `before` it; image tokens also to the rest of the
            `image`; or to the whole `prompt`. Only in the last case do image tokens depend on the expression.
        resampler: What pools the patches, so that maps are carried back through it; None: tokens are cells.
    """

    title: str
    cells: Callable[[Any], int] | None
    view: Literal["whole", "tiles"] = "whole"
    options: Mapping[str, object] = field(default_factory=dict)
    image: str | None = "{}"
    closing: str = ""
    sees: Literal["before", "image", "prompt"] = "before"
    resampler: Resampler | None = None


def _patches(config: Any) -> int:
    edge, patch = config.vision_config.image_size, config.vision_config.patch_size
    return int(_first(edge) // _first(patch))


def _first(edge: Any) -> int:
    return int(edge[0] if isinstance(edge, list | tuple) else edge)


def _shuffled(config: Any) -> int:
    return int(_patches(config) // config.downsample_factor)


def _q_former(model: Any) -> list[tuple[Any, Kind]]:
    """Returns the attentions of a Q-Former: the queries' own, then to the patches where a layer has it."""
    core = getattr(model, "model", model)
    looks: list[tuple[Any, Kind]] = []
    for layer in core.qformer.encoder.layer:
        looks.append((layer.attention.attention, "own"))
        if layer.has_cross_attention:
            looks.append((layer.crossattention.attention, "patches"))
    return looks


_Q_FORMER = Resampler("Q-Former", lambda config: config.num_query_tokens, _q_former, first=1)
_PERCEIVER = Resampler(
    "Perceiver resampler",
    lambda config: config.perceiver_config.resampler_n_latents,
    lambda model: [(x.self_attn, "both") for x in model.model.connector.perceiver_resampler.layers],
)
_QWEN = "<|vision_start|>{}<|vision_end|>"
_GLM = "<|begin_of_image|>{}<|end_of_image|>"

FAMILIES: dict[str, Family] = {
    "llava": Family("LLaVA", _patches),
    "llava_next": Family("LLaVA-NeXT", _patches, view="tiles"),
    "llava_onevision": Family("LLaVA-OneVision", _patches, view="tiles"),
    "deepseek_vl": Family("DeepSeek-VL", _patches),
    "deepseek_vl_hybrid": Family("DeepSeek-VL hybrid", _patches),
    "internvl": Family(
        "InternVL",
        lambda config: int(_patches(config) * config.downsample_ratio),
        options={"crop_to_patches": False},
    ),
    "qwen2_vl": Family("Qwen2-VL", None, image=_QWEN),
    "qwen2_5_vl": Family("Qwen2.5-VL", None, image=_QWEN),
    "qwen3_vl": Family("Qwen3-VL", None, image=_QWEN),
    "qwen3_vl_moe": Family("Qwen3-VL-MoE", None, image=_QWEN),
    "qwen3_5": Family("Qwen3.5", None, image=_QWEN),
    "qwen3_5_moe": Family("Qwen3.5-MoE", None, image=_QWEN),
    "glm4v": Family("GLM-4.1V", None, image=_GLM),
    "glm4v_moe": Family("GLM-4.5V", None, image=_GLM),
    "glm46v": Family("GLM-4.6V", None, image=_GLM),
    "glm_ocr": Family("GLM-OCR", None, image=_GLM),
    "lighton_ocr": Family("LightOnOCR", None, image=None),
    "exaone4_5": Family("EXAONE 4.5", None, image=None),
    "idefics3": Family(
        "Idefics3",
        lambda config: _patches(config) // config.scale_factor,
        options={"do_image_splitting": False},
    ),
    "smolvlm": Family(
        "SmolVLM",
        lambda config: _patches(config) // config.scale_factor,
        options={"do_image_splitting": False},
    ),
    "gemma3": Family(
        "Gemma 3",
        lambda config: isqrt(config.mm_tokens_per_image),
        options={"do_pan_and_scan": False},
        sees="image",
    ),
    "gemma3n": Family("Gemma 3n", lambda config: isqrt(config.vision_soft_tokens_per_image)),
    "gemma4": Family("Gemma 4", None, sees="image"),
    "mistral3": Family("Mistral 3", None),
    "pixtral": Family("Pixtral", None),
    "aya_vision": Family("Aya Vision", _shuffled, options={"crop_to_patches": False}),
    "cohere2_vision": Family("Cohere2 Vision", _shuffled, options={"crop_to_patches": False}),
    "lfm2_vl": Family("LFM2-VL", None, options={"do_image_splitting": False}),
    "llama4": Family(
        "Llama 4",
        lambda config: round(_patches(config) * config.vision_config.pixel_shuffle_ratio),
        options={"max_patches": 1},
    ),
    "fast_vlm": Family("FastVLM", lambda config: isqrt(config.image_seq_length)),
    "vipllava": Family("ViP-LLaVA", _patches),
    "paligemma": Family("PaliGemma", _patches, closing="\n", sees="prompt"),
    "blip-2": Family("BLIP-2", _patches, image="", resampler=_Q_FORMER),
    "instructblip": Family("InstructBLIP", _patches, image="", sees="prompt", resampler=_Q_FORMER),
    "idefics2": Family("Idefics2", None, options={"do_image_splitting": False}, resampler=_PERCEIVER),
}

_QUERIES = "its {} compresses the picture into query tokens that stand for no place in it"
_CROSS = "its pictures are read by cross-attention and have no tokens in the text"
_ENCODER = (
    "it is an encoder-decoder: the tokens of the picture stand in the encoder, the words in the decoder"
)
_CODES = "it reads pictures as codes of a tokenizer, whose grid has not been measured"
_TASK = "it does not answer in words about a picture ({})"
_UNMEASURED = "its maps have not been compared with eager attention yet"
REFUSED = {
    "instructblipvideo": _QUERIES.format("Q-Former"),
    "idefics": _QUERIES.format("Perceiver resampler"),
    "kosmos-2": _QUERIES.format("resampler"),
    "kosmos-2.5": _QUERIES.format("resampler"),
    "aria": _QUERIES.format("projector"),
    "mllama": _CROSS,
    "blip": _CROSS,
    "florence2": _ENCODER,
    "pix2struct": _ENCODER,
    "pp_formulanet": _ENCODER,
    "t5gemma2": _ENCODER,
    "udop": _ENCODER,
    "vision-encoder-decoder": _ENCODER,
    "chameleon": _CODES,
    "emu3": _CODES,
    "evolla": _TASK.format("it reads proteins"),
    "pi0": _TASK.format("it moves robots"),
    "shieldgemma2": _TASK.format("it classifies"),
    "diffusion_gemma": _TASK.format("it denoises blocks of text, without one query token"),
    "git": "its pictures stand before the text without tokens of their own in it",
    "fuyu": "its decoder reads the patches themselves, without an encoder, which has not been measured",
    "cohere_compass": _UNMEASURED,
    "cosmos3_edge": _UNMEASURED,
    "cosmos3_omni": _UNMEASURED,
    "deepseek_ocr2": _UNMEASURED,
    "dots3_note": _UNMEASURED,
    "ernie4_5_vl_moe": _UNMEASURED,
    "gemma4_unified": _UNMEASURED,
    "glm5_next": _UNMEASURED,
    "glmga": _UNMEASURED,
    "got_ocr2": _UNMEASURED,
    "granite4_vision": _UNMEASURED,
    "granite_docling": _UNMEASURED,
    "hunyuan_vl": _UNMEASURED,
    "hyperclovax_vision_v2": _UNMEASURED,
    "inkling2": _UNMEASURED,
    "inkling_mm_model": _UNMEASURED,
    "janus": _UNMEASURED,
    "kimi_k25": _UNMEASURED,
    "lfm3_vl": _UNMEASURED,
    "llava_next_video": _UNMEASURED,
    "minicpm_ocr": _UNMEASURED,
    "minicpmv4_6": _UNMEASURED,
    "minicpmv4_7": _UNMEASURED,
    "minimax_m3_vl": _UNMEASURED,
    "mistral4": _UNMEASURED,
    "mistral_large4": _UNMEASURED,
    "molmo2": _UNMEASURED,
    "muse_glimmer": _UNMEASURED,
    "muse_spark": _UNMEASURED,
    "nemotron_h_omni": _UNMEASURED,
    "ovis2": _UNMEASURED,
    "paddleocr_vl": _UNMEASURED,
    "perception_lm": _UNMEASURED,
    "pp_chart2table": _UNMEASURED,
    "qianfan_ocr": _UNMEASURED,
    "qwen2_5_omni_thinker": _UNMEASURED,
    "qwen3_omni_moe_thinker": _UNMEASURED,
    "qwen4_exp": _UNMEASURED,
    "step3p7": _UNMEASURED,
    "unlimited_ocr": _UNMEASURED,
    "video_llama_3": _UNMEASURED,
    "video_llava": _UNMEASURED,
}
"""Families that give no maps → the reason."""


def family_of(name: str, config: PreTrainedConfig) -> Family | None:
    """Returns the family of a model, or None if it is not listed.

    Raises:
        LocheadsError: The family is one of `REFUSED`.
    """
    if config.model_type in FAMILIES and config.get_text_config().is_encoder_decoder:
        raise LocheadsError(
            f"model '{name}' ({config.model_type}) gives no maps: {_ENCODER}; take another model"
        )
    if config.model_type in REFUSED:
        raise LocheadsError(
            f"model '{name}' ({config.model_type}) gives no maps: {REFUSED[config.model_type]}; "
            "take another model (docs/families.md lists those that do)"
        )
    return FAMILIES.get(kind_of(config))


def kind_of(config: PreTrainedConfig) -> str:
    """Returns the key of `FAMILIES`: the model type, but `pixtral` for a LLaVA with Pixtral's tower."""
    vision = getattr(config, "vision_config", None)
    tower = getattr(vision, "model_type", "")
    return "pixtral" if (config.model_type, tower) == ("llava", "pixtral") else config.model_type


def own_window(
    family: Family | None, image_processor: Any, size: tuple[int, int], grid: tuple[int, int]
) -> Window:
    """Returns the part of an image of `(width, height)` pixels that the grid covers under fit `own`."""
    if family and family.view == "tiles":
        return Window.stretch(size, grid)
    if hasattr(image_processor, "resize_to_max_canvas"):
        return _in_corner(size, grid, _first(dict(image_processor.size)["height"]))
    # DeepSeek-VL hybrid pads the image for its high-resolution encoder and downscales it for the other.
    first = getattr(image_processor, "high_res_size", None) or getattr(image_processor, "size", None)
    edges = {name: edge for name, edge in dict(first or {}).items() if edge}
    if hasattr(image_processor, "min_size") and image_processor.do_pad:
        return Window.resize_and_pad(size, grid, edges["height"], image_processor.min_size)
    if hasattr(image_processor, "pad_to_square") and image_processor.do_pad:
        return Window.pad_to_square(size, grid)
    if (
        getattr(image_processor, "do_center_crop", False)
        and "longest_edge" not in edges
        and "shortest_edge" in edges
    ):
        crop = dict(image_processor.crop_size)["height"]
        return Window.resize_and_crop(size, grid, edges["shortest_edge"], crop)
    return Window.stretch(size, grid)


def _in_corner(size: tuple[int, int], grid: tuple[int, int], side: int) -> Window:
    """Returns the window of Llama 4's tile: the longer edge fills it, padding is at the right or below."""
    edges = [max(int(edge * (side / max(size))), 1) for edge in size]
    x1, y1 = (edge * side / resized for edge, resized in zip(size, edges, strict=True))
    return Window(0.0, 0.0, x1, y1, *grid, size)


def crops(family: Family | None, image_processor: Any) -> bool:
    """Returns whether the processor crops the edges of an image that is not square."""
    window = own_window(family, image_processor, (200, 100), (1, 1))
    return window.x0 > 0 or window.x1 < 200
