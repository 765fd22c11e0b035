"""Lists published models and data, known without loading them: sizes, counts, sources."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedModel:
    """Describes a model on the hub.

    Attributes:
        parameters: How many, all parts together.
        maps: How many heads give a map: layers times heads.
        tokens: Image tokens of a picture as the study shows it.
        cells: Cells of a map, where tokens of tiles follow the grid's; None: as many as tokens.
        weight_bytes: Bytes of a parameter in the published files.
        encoder: Operations of an encoder that sees more patches than tokens, beyond two per parameter and
            token.
        picture_bytes: Memory of a picture of a batch in such an encoder.
    """

    parameters: float
    maps: int = 1024
    tokens: int = 576
    cells: int | None = None
    weight_bytes: int = 2
    encoder: float = 0.0
    picture_bytes: float = 0.0


_SAM_BRANCH = 0.6e9
"""Memory of a picture in an encoder at 1024 pixels: 0.4 to 0.8 GB by the type of number."""

MODELS = {
    "llava-hf/llava-1.5-7b-hf": PublishedModel(7.063e9),
    "llava-hf/llava-1.5-13b-hf": PublishedModel(13.351e9, 1600),
    "deepseek-community/deepseek-vl-1.3b-chat": PublishedModel(1.975e9, 384),
    "deepseek-community/deepseek-vl-7b-chat": PublishedModel(
        7.344e9, 960, encoder=0.75e12, picture_bytes=_SAM_BRANCH
    ),
    "Qwen/Qwen2.5-VL-7B-Instruct": PublishedModel(8.292e9, 784, encoder=2.3e12),
    "Lin-Chen/ShareGPT4V-7B": PublishedModel(7.063e9),
    "01-ai/Yi-VL-6B": PublishedModel(6.705e9, 1024, 1024),
    "OpenGVLab/InternVL-Chat-ViT-6B-Vicuna-7B": PublishedModel(12.68e9),
    "YanweiLi/MGM-2B": PublishedModel(3.03e9, 144, encoder=0.8e12, picture_bytes=0.3e9),
    "HuggingFaceTB/SmolVLM2-500M-Video-Instruct": PublishedModel(0.507e9, 480, 64, encoder=0.18e12),
    "llava-hf/llava-onevision-qwen2-0.5b-ov-hf": PublishedModel(
        0.894e9, 336, 3100, cells=729, encoder=0.6e12
    ),
    "OpenGVLab/InternVL3-1B-hf": PublishedModel(0.938e9, 336, 256, encoder=0.47e12),
    "Qwen/Qwen3-VL-2B-Instruct": PublishedModel(2.127e9, 448, encoder=1.4e12),
}
"""By hub name. Those of LLaVA's own layout count their towers, which lie in repositories of their own."""

TEXT_TOKENS = 60
"""Approximate number of tokens of system sentence and expression."""


@dataclass(frozen=True)
class PublishedSegmenter:
    """Describes a checkpoint of Segment Anything.

    Attributes:
        parameters: How many.
        file_bytes: Size of its file.
        operations: Of its image encoder, for one picture of 1024 pixels.
    """

    parameters: float
    file_bytes: float
    operations: float


_HUGE = PublishedSegmenter(641.1e6, 2.565e9, 5.5e12)
_LARGE = PublishedSegmenter(312.3e6, 1.250e9, 2.6e12)
_BASE = PublishedSegmenter(93.7e6, 0.375e9, 0.74e12)
SEGMENTERS = {
    "sam_vit_h_4b8939.pth": _HUGE,
    "sam_vit_l_0b3195.pth": _LARGE,
    "sam_vit_b_01ec64.pth": _BASE,
}
"""By file name; all from `SEGMENTER_SOURCE`."""
HUB_SEGMENTERS = {
    "facebook/sam-vit-huge": _HUGE,
    "facebook/sam-vit-large": _LARGE,
    "facebook/sam-vit-base": _BASE,
}
"""The same by hub name."""
EMBEDDING_BYTES = 4.2e6
"""Of one picture, of any of them."""
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

PICTURES = {
    ("refcoco", "val"): 1_500,
    ("refcoco", "testA"): 750,
    ("refcoco", "testB"): 750,
    ("refcoco+", "val"): 1_500,
    ("refcoco+", "testA"): 750,
    ("refcoco+", "testB"): 750,
    ("refcocog", "val"): 1_300,
    ("refcocog", "test"): 2_600,
}
"""Pictures in these splits; those of RefCOCO and RefCOCO+ are largely the same."""

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
