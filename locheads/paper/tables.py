"""Holds what the paper (arXiv 2503.06287) reports, with table and cell.

Numbers are per cent unless a note says otherwise. A computed number is never stored here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import pandas as pd

from locheads.errors import LocheadsError

REFER_SPLITS = {
    "refcoco": ("val", "testA", "testB"),
    "refcoco+": ("val", "testA", "testB"),
    "refcocog": ("val", "test"),
}
"""Data sets and splits of Tables 1, 2 and 7."""
REFER_COLUMNS = tuple((dataset, split) for dataset, splits in REFER_SPLITS.items() for split in splits)
"""Columns of these tables: data set and split."""


@dataclass(frozen=True)
class Reported:
    """Describes one printed number.

    Attributes:
        value: As printed, in per cent (Spearman's ρ: in [-1, 1]).
        table: Where it is printed, such as `"Table 1"`.
        task: `"rec"` (Acc@0.5), `"res"` (cIoU), `"png"` (panoptic narrative grounding) or
            `"spearman"` (selection frequency against IoU).
        model: As the paper calls it; `"mean"` for the printed mean of the models.
        dataset: `"refcoco"`, `"refcoco+"`, `"refcocog"`, `"reasonseg"`, `"png"`.
        split: Split of it; `""` where the paper names none.
        setting: What is varied in an ablation (`"k=4"`, `"fixed, both"`), else `""`.
        kind: `"heads"` (the paper's method), `"trained"` or `"training-free"` (baselines),
            `"text"` (the model's own textual box) or `"summary"` (a printed mean).
    """

    value: float
    table: str
    task: str
    model: str
    dataset: str
    split: str
    setting: str = ""
    kind: str = "heads"


_REC = """
DeepSeek-VL-1.3B 73.2/77.7/70.7 62.0/66.7/57.1 65.2/69.3
Mini-Gemini-2B   74.0/77.5/71.1 62.5/67.8/59.3 65.1/69.3
InternVL-6B      85.2/86.4/78.5 78.0/83.3/71.9 81.1/80.5
Yi-VL-6B         85.1/86.8/78.4 78.9/84.2/72.2 80.5/80.9
DeepSeek-VL-7B   85.3/87.2/81.0 77.8/83.9/73.5 81.1/82.8
ShareGPT4V-7B    86.1/87.1/80.5 79.7/86.2/71.3 82.4/82.9
LLaVA-7B         80.3/83.5/77.4 74.5/80.2/69.3 77.5/77.1
LLaVA-1.5-7B     86.5/89.8/80.2 80.1/86.3/71.9 82.3/83.0
LLaVA-13B        82.8/85.3/79.8 79.3/82.4/73.0 79.8/79.5
LLaVA-1.5-13B    87.2/90.0/83.3 82.7/88.5/74.0 84.3/85.5
"""
_RES = """
DeepSeek-VL-1.3B 56.3/57.0/52.7 51.2/55.5/49.2 52.3/55.8
Mini-Gemini-2B   59.8/60.3/55.5 56.3/59.9/51.8 55.1/60.3
InternVL-6B      62.1/65.8/60.9 62.2/65.5/55.5 63.5/65.4
Yi-VL-6B         62.5/65.8/60.7 61.0/65.3/56.0 64.0/67.0
DeepSeek-VL-7B   73.9/76.6/70.7 63.1/66.1/56.5 64.0/68.9
ShareGPT4V-7B    73.5/76.7/70.1 59.4/63.8/55.9 60.7/65.1
LLaVA-7B         65.4/66.2/61.1 59.9/63.2/52.7 59.7/63.3
LLaVA-1.5-7B     74.2/76.5/70.4 62.5/65.2/56.0 64.2/68.1
LLaVA-13B        66.8/68.0/63.7 62.3/66.9/57.3 65.0/68.2
LLaVA-1.5-13B    76.1/78.9/72.8 64.1/67.1/57.3 67.7/69.0
"""
_REC_TRAINED = """
MDETR          86.8/89.6/81.4 79.5/84.1/70.6 81.6/80.9
SeqTR          87.0/90.2/83.6 78.7/84.5/71.9 82.7/83.4
ONE-PEACE      92.6/94.2/89.3 88.8/92.2/83.2 89.2/89.3
UNINEXT        92.6/94.3/91.5 85.2/89.6/79.8 88.7/89.4
Shikra-7B      87.0/90.6/80.2 81.6/87.4/72.1 82.3/82.2
Shikra-13B     87.8/91.1/81.8 82.9/87.8/74.4 82.6/83.2
Ferret-7B      87.5/91.4/82.5 80.8/87.4/73.1 83.9/84.8
Ferret-13B     89.5/92.4/84.4 82.8/88.1/75.2 85.8/86.3
CogVLM-17B     92.8/94.8/89.0 88.7/92.9/83.4 89.8/90.8
Grounding DINO 89.2/91.9/86.0 81.1/87.4/74.7 84.2/84.9
"""
_REC_FREE = """
ReCLIP     45.8/46.1/47.1 47.9/50.1/45.1 59.3/59.0
Han et al. 49.4/47.8/51.7 48.9/50.0/46.9 61.0/60.0
GroundVLP  65.0/73.5/55.0 68.8/78.1/57.3 74.7/75.0
"""
_RES_TRAINED = """
LAVT     72.7/75.8/68.8 62.1/68.4/55.1 61.2/62.1
ReLA     73.8/76.5/70.2 66.0/71.0/57.7 65.0/66.0
UniRef++ 79.1/82.1/77.5 68.4/74.0/61.5 71.4/72.8
UNINEXT  82.2/83.4/81.3 72.5/76.4/66.2 74.4/76.4
LISA-7B  74.1/76.5/71.1 62.4/67.4/56.5 66.4/68.5
LISA-13B 73.4/76.2/69.5 62.3/66.6/56.3 68.2/68.5
GSVA-7B  76.4/77.4/72.8 64.5/67.7/58.6 71.1/72.0
GSVA-13B 77.7/79.9/74.2 68.0/71.5/61.5 73.2/73.9
GLaMM    79.5/83.2/76.9 75.9/78.7/68.8 76.8/78.4
PSALM    83.6/84.7/81.6 72.9/75.5/70.1 73.8/74.4
"""
_RES_FREE = """
Yu et al. 24.9/23.6/24.7 26.2/24.9/25.8 31.1/31.0
TAS       29.5/30.3/28.2 33.2/38.8/28.0 35.8/36.2
Ref-Diff  35.2/37.4/34.5 35.6/38.7/31.4 38.6/37.5
"""
_F_LMM = """
F-LMM (LLaVA-1.5-7B)   75.2/79.1/71.9 63.7/71.8/54.7 67.1/68.1
F-LMM (DeepSeek-VL-7B) 76.1/78.8/72.0 66.4/73.2/57.6 70.1/70.4
F-LMM (DeepSeek-VL-1.3B) 75.0/78.1/69.5 62.8/70.8/56.3 68.2/68.5
F-LMM (Mini-Gemini-2B) 75.0/78.6/69.3 63.7/71.4/53.3 67.3/67.4
"""
_K = """
DeepSeek-VL-1.3B 55.1/56.3/56.3/55.3/51.2
Mini-Gemini-2B   58.0/58.5/59.8/59.1/54.2
InternVL-6B      61.3/61.8/62.1/61.0/55.7
Yi-VL-6B         61.8/62.1/62.5/62.6/55.4
DeepSeek-VL-7B   70.1/72.2/73.9/73.0/65.3
ShareGPT4V-7B    70.3/72.4/73.5/73.5/60.8
LLaVA-7B         62.7/63.1/65.4/65.3/57.7
LLaVA-1.5-7B     70.3/73.1/74.2/74.1/65.4
LLaVA-13B        63.5/64.7/66.8/66.4/57.8
LLaVA-1.5-13B    71.7/75.7/76.1/76.0/65.7
mean             64.5/66.0/67.1/65.4/58.9
"""
_REASONSEG = """
LISA-7B       52.3/48.5/48.9/48.8
LISA-13B      60.3/50.0/50.9/50.8
LLaVA-1.5-7B  52.4/48.0/49.1/48.7
LLaVA-1.5-13B 60.5/48.7/51.0/49.9
"""
_TEXT = {"DeepSeek-VL-1.3B": (1.5, 65.2), "LLaVA-1.5-7B": (2.92, 82.3), "LLaVA-1.5-13B": (5.28, 84.3)}
_SPEARMAN = {
    "InternVL-6B": 0.787,
    "LLaVA-7B": 0.783,
    "LLaVA-13B": 0.736,
    "Mini-Gemini-2B": 0.784,
    "ShareGPT4V-7B": 0.727,
    "Yi-VL-6B": 0.721,
}
# Settings of the ablations on LLaVA-1.5-13B, RefCOCO val: REC and RES.
_CRITERIA = {
    "greedy, attention sum": (23.7, 18.8),
    "greedy, entropy": (29.8, 21.5),
    "greedy, both": (67.4, 63.8),
    "fixed, attention sum": (23.9, 19.3),
    "fixed, entropy": (31.3, 25.7),
    "fixed, both": (87.2, 76.1),
}
_SMOOTHING = {
    "sigma=0": (85.5, 74.3),
    "sigma=0.4": (86.8, 75.2),
    "sigma=0.8": (87.2, 76.1),
    "sigma=1.0": (87.2, 76.1),
    "sigma=1.4": (86.8, 75.2),
    "sigma=1.8": (84.3, 72.7),
    "kernel=1": (85.5, 74.3),
    "kernel=3": (86.5, 75.2),
    "kernel=5": (86.5, 75.2),
    "kernel=7": (87.2, 76.1),
    "kernel=9": (87.2, 76.1),
    "kernel=11": (87.2, 76.1),
}

HEADS = {
    "LLaVA-1.5-7B": ((14, 24), (14, 13), (14, 26)),
    "LLaVA-1.5-13B": ((15, 39), (16, 30), (7, 2)),
}
"""Localization heads that the paper names, `(layer, head)` from 0, most frequent first."""
FREQUENCY_OF_L14_H24 = 45.0
"""Approximate selection frequency in % of the first head of LLaVA-1.5-7B, read off the paper's figure."""
THRESHOLD_OF_LLAVA_15_7B = 0.24
"""τ on the attention sum at the maximum curvature."""
STABLE_THRESHOLDS = (0.2, 0.6)
"""Range of τ over which the top three heads do not change (figure 13)."""
STABLE_KEPT = (1, 14)
"""Range of the number of candidates per sample over which the top three heads do not change (figure 14)."""
SPEARMAN_FLOOR, SPEARMAN_P = 0.7, 0.001
"""All ten models: ρ above the first, p below the second, over heads chosen in at least 1 % of samples."""


def _rows(text: str) -> Iterator[tuple[str, list[float]]]:
    """Yields model and numbers of each line of a compact table."""
    for line in text.strip().splitlines():
        words = line.split()
        first = next(i for i, word in enumerate(words) if "/" in word)
        yield " ".join(words[:first]), [float(n) for word in words[first:] for n in word.split("/")]


def _refer(text: str, table: str, task: str, kind: str = "heads") -> Iterator[Reported]:
    for model, numbers in _rows(text):
        for (dataset, split), value in zip(REFER_COLUMNS, numbers, strict=True):
            yield Reported(value, table, task, model, dataset, split, "", kind)


def _single_tables() -> Iterator[Reported]:
    """Yields the numbers of Tables 3, 4, 6 and 9 and Figure 12."""
    for model, numbers in _rows(_REASONSEG):
        kind = "trained" if model.startswith("LISA") else "heads"
        for split, value in zip(("val", "test short", "test long", "test"), numbers, strict=True):
            yield Reported(value, "Table 3", "res", model, "reasonseg", split, "", kind)
    for model, numbers in _rows(_K):
        kind = "summary" if model == "mean" else "heads"
        for k, value in enumerate(numbers, 1):
            yield Reported(value, "Table 4", "res", model, "refcoco", "val", f"k={k}", kind)
    for model, (text, heads) in _TEXT.items():  # the split is val: the heads' values are those of Table 1
        yield Reported(text, "Table 6", "rec", model, "refcocog", "val", "own text", "text")
        yield Reported(heads, "Table 6", "rec", model, "refcocog", "val", "its heads")
    yield Reported(66.7, "Table 9", "png", "DeepSeek-VL-7B", "png", "")
    yield Reported(65.7, "Table 9", "png", "F-LMM (DeepSeek-VL-7B)", "png", "", "", "trained")
    for model, rho in _SPEARMAN.items():
        yield Reported(rho, "Figure 12", "spearman", model, "refcoco", "")


def _ablations() -> Iterator[Reported]:
    """Yields the numbers of Tables 5 and 8: LLaVA-1.5-13B on RefCOCO val."""
    for table, settings in {"Table 5": _CRITERIA, "Table 8": _SMOOTHING}.items():
        for setting, values in settings.items():
            for task, value in zip(("rec", "res"), values, strict=True):
                yield Reported(value, table, task, "LLaVA-1.5-13B", "refcoco", "val", setting)


@cache
def everything() -> tuple[Reported, ...]:
    """Returns all recorded numbers of the paper, table by table."""
    return (
        *_refer(_REC, "Table 1", "rec"),
        *_refer(_REC_TRAINED, "Table 1", "rec", "trained"),
        *_refer(_REC_FREE, "Table 1", "rec", "training-free"),
        *_refer(_RES, "Table 2", "res"),
        *_refer(_RES_TRAINED, "Table 2", "res", "trained"),
        *_refer(_RES_FREE, "Table 2", "res", "training-free"),
        *_refer(_F_LMM, "Table 7", "res", "trained"),
        Reported(67.1, "Table 7", "res", "DeepSeek-VL-7B", "refcoco+", "testA", "as Table 7 prints it"),
        *_single_tables(),
        *_ablations(),
    )


def frame() -> pd.DataFrame:
    """Returns `everything()` as a tidy table: one row per number, one column per field of `Reported`."""
    return pd.DataFrame(everything())


def reported(task: str, model: str, dataset: str, split: str, setting: str = "") -> Reported:
    """Returns the printed number for a task, model, data set and split, with its table.

    Raises:
        LocheadsError: The paper reports no such number.
    """
    wanted = (task, model, dataset, split, setting)
    for entry in everything():
        if (entry.task, entry.model, entry.dataset, entry.split, entry.setting) == wanted:
            return entry
    raise LocheadsError(f"the paper reports no {' / '.join(part for part in wanted if part)}")
