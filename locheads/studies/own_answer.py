"""Compares what a model says about a place with where its localization heads look (Table 6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped
from PIL import Image

from locheads import paper
from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Variant
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import Interval, accuracy, box_iou
from locheads.method.selection import Head
from locheads.model.lvlm import Lvlm
from locheads.model.own_answer import region_box, region_of, to_box
from locheads.profiling.profile import maps_of

OWN, HEADS, BEST = "its own answer", "its heads", "nine regions at best"

Case = tuple[Image.Image, str, np.ndarray, np.ndarray, np.ndarray]
"""Picture, title, the answer's box, the heads' box, the true box."""


@dataclass(frozen=True, eq=False)
class Answers:
    """Holds what a model said, and the boxes of it and of its heads.

    Attributes:
        samples: The samples.
        texts: The answers.
        answered: Where the answer holds a box.
        said: The answers' boxes, xyxy in pixels; zeros where there is none.
        looked: The heads' boxes.
        true: The true boxes.
        sizes: Width and height of each picture.
    """

    samples: Sequence[Sample]
    texts: Sequence[str]
    answered: Bool[np.ndarray, " n"]
    said: Float[np.ndarray, "n 4"]
    looked: Float[np.ndarray, "n 4"]
    true: Float[np.ndarray, "n 4"]
    sizes: Float[np.ndarray, "n 2"]

    @property
    def pictures(self) -> Shaped[np.ndarray, " n"]:
        """Returns the picture of each sample."""
        return np.array([sample.image_id for sample in self.samples])

    @property
    def places(self) -> Int[np.ndarray, "n 2"]:
        """Returns the region, row and column, in which the centre of each true box lies."""
        return region_of(self.true, self.sizes)

    @property
    def best(self) -> Float[np.ndarray, "n 4"]:
        """Returns the regions of `places` as boxes: no answer in words of place can be closer."""
        pairs = zip(self.places.tolist(), self.samples, strict=True)
        return np.stack([region_box((row, column), sample.size) for (row, column), sample in pairs])

    def ious(self, places: bool) -> dict[str, Float[np.ndarray, " n"]]:
        """Returns the IoU with the true box by name: own answer, heads and, where asked for, best region."""
        boxes = {HEADS: self.looked, OWN: self.said} | ({BEST: self.best} if places else {})
        return {name: box_iou(some, self.true) for name, some in boxes.items()}


def answers_of(
    lvlm: Lvlm,
    samples: Sequence[Sample],
    texts: Sequence[str],
    heads: tuple[Head, ...],
    convention: str,
    frame: str = "view",
    batch: int = 16,
) -> Answers:
    """Reads the answers as boxes, and grounds the same expressions with the heads.

    Args:
        lvlm: The model that gave the answers.
        samples: Samples with a box.
        texts: One answer per sample, from `model.own_answer.ask`.
        heads: The localization heads.
        convention: As in `model.own_answer.to_box`.
        frame: As in `model.own_answer.to_box`.
        batch: Samples in one forward pass.
    """
    pairs = zip(texts, samples, strict=True)
    boxes = [to_box(text, lvlm, sample.size, convention, frame) for text, sample in pairs]
    variant, maps = Variant(heads), maps_of(lvlm, samples, batch)
    looked = [variant.ground(m, lvlm.window(s.size), 0).box for m, s in zip(maps, samples, strict=True)]
    return Answers(
        samples=samples,
        texts=texts,
        answered=np.array([box is not None for box in boxes]),
        said=np.array([np.zeros(4) if box is None else box for box in boxes], float),
        looked=np.stack(looked),
        true=np.array([sample.box for sample in samples], float),
        sizes=np.array([sample.size for sample in samples], float),
    )


def box_scores(answers: Answers, places: bool, seed: int = 0) -> pd.DataFrame:
    """Scores the boxes of `Answers.ious`, with 95 % intervals over pictures.

    Returns:
        One row per name: `Acc@0.5`, `low`, `high` and `median IoU`, all in [0, 1].
    """
    rows = {
        name: [accuracy(one), interval.low, interval.high, float(np.median(one))]
        for name, one in answers.ious(places).items()
        for interval in [mean_interval(one >= 0.5, answers.pictures, seed=seed)]
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["Acc@0.5", "low", "high", "median IoU"])


def named(boxes: pd.DataFrame) -> dict[str, float]:
    """Names each `Acc@0.5` of `box_scores` for saving, with its interval: `rec_acc50_own_text`, `…_low`."""
    stems = {OWN: "own_text", HEADS: "its_heads", BEST: "nine_regions"}
    ends = {"": "Acc@0.5", "_low": "low", "_high": "high"}
    return {
        f"rec_acc50_{stems[str(who)]}{end}": float(row[column])
        for who, row in boxes.iterrows()
        for end, column in ends.items()
    }


@dataclass(frozen=True, eq=False)
class Regions:
    """Compares answer and heads by the region alone, of nine, in which the centre of the true box lies.

    Attributes:
        said: Where the answer's box has its centre in that region; never where there is no box.
        looked: Where the heads' box has its centre in it.
        commonest: Share of the region that is the right one most often.
        gap: Share that the heads get right minus that of the answers.
        interval: 95 % interval of the gap, paired by sample.
    """

    said: Bool[np.ndarray, " n"]
    looked: Bool[np.ndarray, " n"]
    commonest: float
    gap: float
    interval: Interval

    @property
    def ahead(self) -> str:
        """Returns which of the two names the right region more often."""
        if self.interval.low > 0:
            return HEADS
        return OWN if self.interval.high < 0 else "neither, beyond the choice of samples"

    @property
    def table(self) -> pd.DataFrame:
        """Returns how many samples each gets right or wrong: answers down, heads across."""
        words = np.array(["wrong", "right"])
        said, looked = words[self.said.astype(int)], words[self.looked.astype(int)]
        return pd.crosstab(
            pd.Series(said, name="region it says"), pd.Series(looked, name="region its heads look at")
        )


def regions_of(answers: Answers, seed: int = 0) -> Regions:
    """Compares answers and heads by region."""
    places = answers.places
    said = answers.answered & (region_of(answers.said, answers.sizes) == places).all(1)
    looked = (region_of(answers.looked, answers.sizes) == places).all(1)
    difference = looked.astype(float) - said.astype(float)
    commonest = np.unique(places, axis=0, return_counts=True)[1].max() / len(places)
    interval = mean_interval(difference, answers.pictures, seed=seed)
    return Regions(said, looked, float(commonest), float(difference.mean()), interval)


def apart(answers: Answers, regions: Regions, most: int = 4) -> list[Case]:
    """Returns cases in which one of the two is right about the region, no picture twice.

    First those in which the heads are right, then those in which the answer is, at most `most` of each.
    """
    cases: list[Case] = []
    seen: set[str] = set()
    for right, wrong in ((regions.looked, regions.said), (regions.said, regions.looked)):
        shown = 0
        for i in np.flatnonzero(right & ~wrong & answers.answered).tolist():
            sample = answers.samples[i]
            if shown == most or sample.image_id in seen:
                continue
            seen.add(sample.image_id)
            shown += 1
            title = f"{sample.expression} → {answers.texts[i]}"
            cases.append((sample.image, title, answers.said[i], answers.looked[i], answers.true[i]))
    return cases


def beside_table6(boxes: pd.DataFrame, regions: Regions, name: str) -> pd.DataFrame:
    """Puts scores beside Table 6 (RefCOCOg val), in per cent.

    Args:
        boxes: From `box_scores`.
        regions: From `regions_of`.
        name: Name of the model and the expressions.

    Returns:
        One row per model of the paper, and two for this one: by box, and by region.
    """
    settings = ("own text", "its heads")
    rows = {
        f"{model}, paper": [paper.reported("rec", model, "refcocog", "val", how).value for how in settings]
        for model in ("DeepSeek-VL-1.3B", "LLaVA-1.5-7B", "LLaVA-1.5-13B")
    }
    rows[f"{name}, box"] = [100 * boxes.loc[who, "Acc@0.5"] for who in (OWN, HEADS)]
    rows[f"{name}, region"] = [100 * regions.said.mean(), 100 * regions.looked.mean()]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["own answer [%]", "its heads [%]"])
