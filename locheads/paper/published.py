"""Lists published models and data, known without loading them: sizes, counts, sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedModel:
    """Describes a model on the hub.

    Attributes:
        parameters: How many, all parts together.
        tokens: Image tokens of a picture as the study shows it.
        weight_bytes: Bytes of a parameter in the published files.
    """

    parameters: float
    tokens: int = 576
    weight_bytes: int = 2


MODELS = {
    "llava-hf/llava-1.5-7b-hf": PublishedModel(7.063e9),
    "llava-hf/llava-1.5-13b-hf": PublishedModel(13.351e9),
    "deepseek-community/deepseek-vl-1.3b-chat": PublishedModel(1.975e9),
    "deepseek-community/deepseek-vl-7b-chat": PublishedModel(7.344e9),
    "Qwen/Qwen2.5-VL-7B-Instruct": PublishedModel(8.292e9),
}
"""By hub name."""

TEXT_TOKENS = 60
"""Approximate number of tokens of system sentence and expression."""


@dataclass(frozen=True)
class PublishedSegmenter:
    """Describes a checkpoint of Segment Anything: number of parameters, and bytes of its file."""

    parameters: float
    file_bytes: float


SEGMENTERS = {
    "sam_vit_h_4b8939.pth": PublishedSegmenter(641.1e6, 2.565e9),
    "sam_vit_l_0b3195.pth": PublishedSegmenter(312.3e6, 1.250e9),
    "sam_vit_b_01ec64.pth": PublishedSegmenter(93.7e6, 0.375e9),
}
"""By file name; all from `SEGMENTER_SOURCE`."""
SEGMENTER_SOURCE = "https://dl.fbaipublicfiles.com/segment_anything/"

EXPRESSIONS = {
    ("refcoco", "val"): 10_834,
    ("refcoco", "testA"): 5_657,
    ("refcoco", "testB"): 5_095,
    ("refcoco+", "val"): 10_758,
    ("refcoco+", "testA"): 5_726,
    ("refcoco+", "testB"): 4_889,
    ("refcocog", "val"): 4_896,
    ("refcocog", "test"): 9_602,
}
"""Expressions in the splits that the paper reports (UNC's, and UMD's for RefCOCOg)."""

DATA_SOURCE = (
    "annotations from the refer project (github.com/lichengunc/refer), COCO's train2014 images (13.5 GB)"
)


ALIASES = {
    "llava-1.5-7b": "llava-hf/llava-1.5-7b-hf",
    "llava-1.5-13b": "llava-hf/llava-1.5-13b-hf",
    "deepseek-vl-1.3b": "deepseek-community/deepseek-vl-1.3b-chat",
    "deepseek-vl-7b": "deepseek-community/deepseek-vl-7b-chat",
    "sharegpt4v-7b": "Lin-Chen/ShareGPT4V-7B",
    "yi-vl-6b": "01-ai/Yi-VL-6B",
    "internvl-6b": "OpenGVLab/InternVL-Chat-ViT-6B-Vicuna-7B",
    "mini-gemini-2b": "YanweiLi/MGM-2B",
}
"""The paper's models that load by name: the paper's name → the hub's."""


_DELTA = (
    "was published as a difference to LLaMA's weights: merge the two with `locheads merge-delta`, "
    "and give the folder"
)


NOT_LOADABLE = {"llava-7b": _DELTA, "llava-13b": _DELTA}
"""The paper's models that do not load by name, each with the reason."""
