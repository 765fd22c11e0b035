"""Phrases of captions, grounded by the row of their own last word instead of a period put after them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from locheads.data.samples import Sample
from locheads.data.values import Box
from locheads.evaluation.evaluate import Heads
from locheads.evaluation.intervals import mean_interval
from locheads.evaluation.metrics import box_iou
from locheads.method.grounding import ground
from locheads.model.lvlm import Lvlm
from locheads.model.words import WordMaps
from locheads.profiling.profile import BATCH, maps_of
from locheads.studies.several_objects import Text, plain_text

FIRST, LATER = "first thing of a caption", "later things"
AT_WORD, AT_PERIOD = "last word of the phrase", "period after the phrase"


def captions_of(phrases: Sequence[Sample], limit: int) -> list[Text]:
    """Returns the captions of narratives whose phrases of single things follow one another, one per picture.

    Args:
        phrases: All phrases of the captions, as `locheads.data.narratives` reads them: an expression is the
            caption up to the phrase's end.
        limit: At most so many captions.
    """
    by_caption: dict[str, list[Sample]] = defaultdict(list)
    for one in phrases:
        by_caption[one.sample_id.rpartition("-")[0]].append(one)
    texts = []
    for name, some in list(by_caption.items())[:limit]:
        longest = max(some, key=lambda one: len(one.expression))
        things = [one for one in some if one.is_thing and not one.is_plural and one.box is not None]
        ends = tuple(plain_text(one) for one in things)
        texts.append(
            Text(name, longest, plain_text(longest), tuple(one.box for one in things if one.box), ends)
        )
    return texts


def words_before(text: str, found: WordMaps) -> int:
    """Returns how many of the words of a text its beginning `text` holds: the place after its last word."""
    length, read = len("".join(text.split())), 0
    for place, word in enumerate(found.words):
        read += len(word)
        if read >= length:
            return place + 1
    return len(found.words)


def readings(
    lvlm: Lvlm, captions: Sequence[Text], words: pd.DataFrame, maps: Mapping[str, WordMaps], heads: Heads,
    batch: int = BATCH,
) -> pd.DataFrame:  # fmt: skip
    """Grounds each phrase of captions by its last word, and by a period after it as in notebook 11.

    Args:
        lvlm: The frozen model.
        captions: From `captions_of`.
        words: Of these captions, from `words_of`.
        maps: Likewise.
        heads: The localization heads.
        batch: Expressions in one forward pass.

    Returns:
        Two rows per phrase: `image_id`, `place` (`FIRST` or `LATER`), `reading` and `hit` (an IoU of 0.5).
    """
    boxes = words.set_index(["text", "place"]).box
    rows, cut = [], []
    for one in captions:
        for number, (until, box) in enumerate(zip(one.phrases, one.boxes, strict=True)):
            found = boxes[one.name, words_before(until, maps[one.name]) - 1]
            row: dict[str, Any] = {"image_id": one.sample.image_id, "place": LATER if number else FIRST}
            rows.append(row | {"reading": AT_WORD, "hit": _right(found, box)})
            cut.append(replace(one.sample, expression=until, box=box))
    for row, sample, some in zip(list(rows), cut, maps_of(lvlm, cut, batch, heads), strict=True):
        found = ground(some, lvlm.window(sample.size)).box
        rows.append(row | {"reading": AT_PERIOD, "hit": _right(tuple(found), sample.box)})
    return pd.DataFrame(rows)


def _right(found: Sequence[float], true: Box | None) -> bool:
    return bool(box_iou(np.array([found], float), np.array([true], float))[0] >= 0.5)


def reading_table(table: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Compares the two readings of `readings`, paired by phrase.

    Returns:
        By place: `phrases`, the share of hits of each reading, and the `gain` of the last word over the
        period with its 95 % interval (`low`, `high`; pictures resampled).
    """
    rows = {}
    for place, some in table.groupby("place", sort=False):
        word, period = (some[some.reading == one].hit.to_numpy(float) for one in (AT_WORD, AT_PERIOD))
        pictures = some[some.reading == AT_WORD].image_id.to_numpy()
        row = {"phrases": len(word), AT_WORD: word.mean(), AT_PERIOD: period.mean()}
        gain = {"gain": word.mean() - period.mean()}
        rows[place] = row | gain | vars(mean_interval(word - period, pictures, seed=seed))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("place")
