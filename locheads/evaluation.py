"""Ground a split with fixed heads and score boxes (REC) and masks (RES), one row a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from locheads.geometry import Window
from locheads.grounding import ground
from locheads.lvlm import Lvlm
from locheads.metrics import accuracy, bootstrap_interval, box_iou, ciou, mask_overlap
from locheads.profile import coverage_of, maps_of, true_mask
from locheads.progress import progress
from locheads.samples import Sample
from locheads.segmentation import Segmenter
from locheads.selection import Head, take_heads

Heads = tuple[Head, ...]


def evaluate(
    lvlm: Lvlm, segmenter: Segmenter, samples: Sequence[Sample], heads: Heads, rivals: Sequence[Heads] = ()
) -> pd.DataFrame:
    """Ground every sample with `heads`, and with each of the rival choices.

    Args:
        lvlm: The frozen model.
        segmenter: Turns boxes into masks; the box is its only prompt.
        samples: With box and mask.
        heads: The localization heads.
        rivals: Other choices of heads, told apart by `draw`.

    Returns:
        A row for each sample and choice: `sample_id`, `heads` ("localization" or "random"), `draw`, `box`
        (xyxy pixels), `box_iou`, `intersection` and `union` of the mask in pixels.
    """
    choices = [("localization", 0, heads), *(("random", draw, rival) for draw, rival in enumerate(rivals))]
    rows: list[dict[str, object]] = []
    with progress(len(samples), "grounding") as bar:
        for sample, maps in zip(samples, maps_of(lvlm, samples), strict=True):
            rows += _outcomes(sample, maps, lvlm.window(sample.size), segmenter, choices)
            bar.update()
    return pd.DataFrame(rows)


def _outcomes(
    sample: Sample,
    maps: Float[np.ndarray, "layer head row column"],
    window: Window,
    segmenter: Segmenter,
    choices: Sequence[tuple[str, int, Heads]],
) -> list[dict[str, object]]:
    """The rows of one sample, one a choice of heads; the picture is embedded once for all."""
    boxes = np.stack([ground(take_heads(maps[None], heads)[0], window).box for _, _, heads in choices])
    ious = box_iou(np.repeat(np.array([sample.box], float), len(boxes), 0), boxes)
    truth = np.repeat(true_mask(sample)[None], len(boxes), 0)
    overlap = mask_overlap(segmenter.masks(sample.image, boxes), truth)
    return [
        {
            "sample_id": sample.sample_id,
            "heads": name,
            "draw": draw,
            "box": tuple(boxes[i]),
            "box_iou": ious[i],
            "intersection": overlap.intersection[i],
            "union": overlap.union[i],
        }
        for i, (name, draw, _) in enumerate(choices)
    ]


def ceiling(lvlm: Lvlm, samples: Sequence[Sample]) -> Float[np.ndarray, " n"]:
    """Box IoUs that the pipeline reaches when fed with the true masks averaged onto the grid."""
    boxes = [ground(coverage_of(lvlm, sample)[None], lvlm.window(sample.size)).box for sample in samples]
    return box_iou(np.array([sample.box for sample in samples], float), np.stack(boxes))


def scores(outcomes: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """REC Acc@0.5 and RES cIoU of every data set, split and kind of heads.

    Args:
        outcomes: Rows of `evaluate`, with columns `dataset` and `split`.
        seed: Of the bootstrap over samples.

    Returns:
        Columns `dataset`, `split`, `heads`, `metric`, `value`, `low`, `high`; a random choice's
        value is the mean over its draws.
    """
    groups = outcomes.groupby(["dataset", "split", "heads"], sort=False)
    return pd.DataFrame([{**_named(key), **row} for key, group in groups for row in _scored(group, seed)])


def _named(key: tuple[str, str, str]) -> dict[str, str]:
    return dict(zip(("dataset", "split", "heads"), key, strict=True))


def _scored(group: pd.DataFrame, seed: int) -> Iterator[dict[str, object]]:
    """The two scores of one group with percentile intervals over samples, draws averaged within a sample."""
    draws = group["draw"].nunique()
    hits = (group["box_iou"] >= 0.5).to_numpy(float).reshape(-1, draws)
    areas = group[["intersection", "union"]].to_numpy(float).reshape(-1, draws, 2)
    acc = np.mean([accuracy(ious) for _, ious in group.groupby("draw")["box_iou"].apply(np.asarray).items()])
    cumulative = np.mean([ciou(areas[:, draw, 0], areas[:, draw, 1]) for draw in range(draws)])
    low_high = {
        "rec_acc50": bootstrap_interval(hits.mean(1), seed=seed),
        "res_ciou": bootstrap_interval(areas, _mean_ciou, seed=seed),
    }
    for metric, value in (("rec_acc50", acc), ("res_ciou", cumulative)):
        interval = low_high[metric]
        yield {"metric": metric, "value": float(value), "low": interval.low, "high": interval.high}


def _mean_ciou(areas: Float[np.ndarray, "resample n draws 2"]) -> Float[np.ndarray, " resample"]:
    total = areas.sum(1)
    return (total[..., 0] / total[..., 1]).mean(-1)
