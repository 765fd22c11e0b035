"""Describes model families: the patch grid of their image tokens, and the part of the image it covers.

transformers has no common interface for this, so each family has an entry here. A family that is not listed
is accepted when its processor is unambiguous: one view of the image, and a square number of tokens or an
explicit grid. Tiles (LLaVA-NeXT, LLaVA-OneVision) stay in the model's input, and the map is that of the base
view, the whole image. Where tiling can be switched off (InternVL, Idefics3, SmolVLM) it is, so that the map
holds all the attention that the image receives.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isqrt
from typing import Any, Literal

from transformers import PreTrainedConfig

from locheads.errors import LocheadsError
from locheads.method.geometry import Window


@dataclass(frozen=True)
class Family:
    """Properties shared by all models of one `model_type`.

    Attributes:
        title: The family's name.
        cells: Function from the model's configuration to the edge of the square grid, in cells; None: the
            processor reports the grid.
        view: `whole`: the image tokens are the grid; `tiles`: the grid comes first and tiles follow.
        options: Keyword arguments for the processor.
        image: The image placeholder in a text; `{}` is replaced by the processor's own placeholder.
        closing: Text that the processor appends to the prompt.
        sees: The attention mask: a token attends to those `before` it; image tokens also to the rest of the
            `image`; or to the whole `prompt`. Only in the last case do image tokens depend on the expression.
    """

    title: str
    cells: Callable[[Any], int] | None
    view: Literal["whole", "tiles"] = "whole"
    options: Mapping[str, object] = field(default_factory=dict)
    image: str = "{}"
    closing: str = ""
    sees: Literal["before", "image", "prompt"] = "before"


def _patches(config: Any) -> int:
    edge, patch = config.vision_config.image_size, config.vision_config.patch_size
    return int(_first(edge) // _first(patch))


def _first(edge: Any) -> int:
    return int(edge[0] if isinstance(edge, list | tuple) else edge)


_QWEN = "<|vision_start|>{}<|vision_end|>"

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
    "paligemma": Family("PaliGemma", _patches, closing="\n", sees="prompt"),
}

_QUERIES = "its {} compresses the picture into query tokens that stand for no place in it"
_CROSS = "its pictures are read by cross-attention and have no tokens in the text"
NO_GRID = {
    "blip-2": _QUERIES.format("Q-Former"),
    "instructblip": _QUERIES.format("Q-Former"),
    "instructblipvideo": _QUERIES.format("Q-Former"),
    "idefics": _QUERIES.format("Perceiver resampler"),
    "idefics2": _QUERIES.format("Perceiver resampler"),
    "kosmos-2": _QUERIES.format("resampler"),
    "kosmos-2.5": _QUERIES.format("resampler"),
    "aria": _QUERIES.format("projector"),
    "mllama": _CROSS,
    "blip": _CROSS,
}
"""Families whose visual tokens form no grid → the reason."""


def family_of(name: str, config: PreTrainedConfig) -> Family | None:
    """Returns the family of a model, or None if it is not listed.

    Raises:
        LocheadsError: The model's visual tokens form no grid.
    """
    if config.model_type in NO_GRID:
        raise LocheadsError(
            f"model '{name}' ({config.model_type}) gives no maps: {NO_GRID[config.model_type]}; "
            "take another model"
        )
    return FAMILIES.get(config.model_type)


def own_window(
    family: Family | None, image_processor: Any, size: tuple[int, int], grid: tuple[int, int]
) -> Window:
    """Returns the part of an image of `(width, height)` pixels that the grid covers under fit `own`."""
    if family and family.view == "tiles":
        return Window.stretch(size, grid)
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


def crops(family: Family | None, image_processor: Any) -> bool:
    """Returns whether the processor crops the edges of an image that is not square."""
    window = own_window(family, image_processor, (200, 100), (1, 1))
    return window.x0 > 0 or window.x1 < 200
