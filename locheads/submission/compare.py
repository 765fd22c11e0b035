"""Compares two submissions: differences of their scores, paired by expression."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from locheads.errors import LocheadsError
from locheads.evaluation.scores import differences
from locheads.submission.form import outcomes_of, read_sealed
from locheads.submission.merge import different

KEY = ["dataset", "split", "sample_id"]


@dataclass(frozen=True)
class Comparison:
    """Holds what two submissions have in common and where they differ.

    Attributes:
        differing: Fields of the first line that differ.
        alone: How many expressions only the first and only the second file has.
        same_boxes: Share of the common expressions whose boxes are equal within 0.01 pixels.
        table: First minus second over the common expressions: `dataset`, `split`, `expressions`, `metric`,
            `value`, `low`, `high` (95 %, pictures resampled) and `p`, as by `evaluation.scores.differences`.
    """

    differing: tuple[str, ...]
    alone: tuple[int, int]
    same_boxes: float
    table: pd.DataFrame


def compare(first: Path | str, second: Path | str, seed: int = 0) -> Comparison:
    """Compares two submissions on the expressions that both hold.

    Args:
        first: A file.
        second: The file that is subtracted.
        seed: Of the resamples.

    Raises:
        LocheadsError: A file is not a submission or was changed, or they have no expression in common.
    """
    sent = [read_sealed(path) for path in (first, second)]
    both = [outcomes_of(one.rows).drop_duplicates(KEY).set_index(KEY, drop=False) for one in sent]
    common = both[0].index.intersection(both[1].index, sort=False)
    if not len(common):
        raise LocheadsError(f"{first} and {second}: no expression in common; nothing to compare")
    a, b = (table.loc[common] for table in both)
    equal = [_near(one, other) for one, other in zip(a.box, b.box, strict=True)]
    pairs = pd.concat([a.assign(variant="first"), b.assign(variant="second")], ignore_index=True)
    rows = []
    for (dataset, split), group in pairs.groupby(["dataset", "split"], sort=False):
        found = differences(_with_masks_in_both(group), "second", seed=seed).query("variant == 'first'")
        rows.append(found.assign(dataset=dataset, split=split, expressions=len(group) // 2))
    columns = ["dataset", "split", "expressions", "metric", "value", "low", "high", "p"]
    table = pd.concat(rows, ignore_index=True)[columns]
    alone = len(both[0]) - len(common), len(both[1]) - len(common)
    return Comparison(tuple(different(*sent)), alone, sum(equal) / len(equal), table)


def _near(one: list[float], other: list[float]) -> bool:
    return max(abs(x - y) for x, y in zip(one, other, strict=True)) <= 0.01


def _with_masks_in_both(group: pd.DataFrame) -> pd.DataFrame:
    """Leaves masks out of a split in which one side lacks some: what is compared has to be paired."""
    return group.assign(union=float("nan")) if group["union"].isna().any() else group
