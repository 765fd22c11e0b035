"""Segments implicit queries (ReasonSeg) with heads found elsewhere, and replaces hints by plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from PIL import Image

from locheads import paper
from locheads.data.samples import Sample
from locheads.data.scenes.expressions import plain_words
from locheads.evaluation.evaluate import Heads, Variant, evaluate, evaluate_variants
from locheads.evaluation.scores import differences, scores
from locheads.model.lvlm import Lvlm
from locheads.model.segmenter import Segmenter
from locheads.profiling.profile import maps_of

METRICS = {"res_ciou": "cIoU", "res_giou": "gIoU"}
PAPERS = ("LISA-7B", "LISA-13B", "LLaVA-1.5-7B", "LLaVA-1.5-13B")
"""Models of Table 3 that are shown beside this one."""
LENGTHS = ("short", "long", "all")
HINT, PLAIN, OTHER = "hint", "plain word for it", "other query"

Case = tuple[Image.Image, str, np.ndarray, np.ndarray, float]
"""Picture, query, true box, found box, IoU."""


def length(sample: Sample) -> str:
    """Returns ReasonSeg's kind of query: "short" for a phrase, "long" for a sentence."""
    return "long" if sample.is_sentence else "short"


def sizes(queries: Mapping[str, Sequence[Sample]]) -> pd.DataFrame:
    """Returns the number of queries and images of each split and length, with the first query by alphabet."""
    rows = pd.DataFrame(
        {"split": split, "query": length(one), "image": one.image_id, "text": one.expression}
        for split, samples in queries.items()
        for one in samples
    )
    named = {"queries": ("text", "size"), "images": ("image", "nunique"), "for example": ("text", "min")}
    return rows.groupby(["split", "query"], sort=False).agg(**named)


def segment(
    lvlm: Lvlm,
    segmenter: Segmenter,
    queries: Mapping[str, Sequence[Sample]],
    heads: Heads,
    rivals: Sequence[Heads],
) -> pd.DataFrame:
    """Grounds and segments every query with the localization heads and with each rival choice.

    Returns:
        Rows of `evaluate_variants` with `heads` ("localization" or "random"), `draw`, `split` and `query`
        (short or long); masks of rivals count, too.
    """
    names = ["localization 0", *(f"random {draw}" for draw in range(len(rivals)))]
    variants = {name: Variant(one) for name, one in zip(names, (heads, *rivals), strict=True)}
    rows = [
        evaluate_variants(lvlm, segmenter, samples, maps_of(lvlm, samples), variants).assign(split=split)
        for split, samples in queries.items()
    ]
    lengths = {one.sample_id: length(one) for samples in queries.values() for one in samples}
    outcomes = pd.concat(rows, ignore_index=True)
    parts = outcomes.pop("variant").str.split(" ", expand=True)
    named = {"heads": parts[0], "draw": parts[1].astype(int), "query": outcomes.sample_id.map(lengths)}
    return outcomes.assign(**named)


def score_table(outcomes: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Computes cIoU and gIoU of each split and length, short and long ones also taken together.

    Args:
        outcomes: From `segment`.
        seed: Of the bootstrap over pictures, and over the draws of random heads.

    Returns:
        Columns `split`, `query` (of `LENGTHS`), `heads`, `metric`, `value`, `low`, `high` (in [0, 1]),
        `samples` (number of queries) and `group` (split and length in words).
    """
    both = pd.concat([outcomes, outcomes.assign(query="all")])
    both["query"] = pd.Categorical(both["query"], LENGTHS, ordered=True)
    both = both.sort_values(["split", "query"], ascending=[False, True], kind="stable").astype({"query": str})
    table = scores(both, seed=seed, by=["split", "query", "heads"], metrics=list(METRICS))
    numbers = both.groupby(["split", "query"]).sample_id.nunique()
    keys = list(zip(table["split"], table["query"], strict=True))
    return table.assign(samples=[numbers[key] for key in keys], group=[" ".join(key) for key in keys])


def extremes(outcomes: pd.DataFrame, samples: Sequence[Sample], most: int = 4) -> list[Case]:
    """Returns the `most` best and then the `most` worst boxes of localization heads, one per image."""
    by_id = {one.sample_id: one for one in samples}
    mine = outcomes[(outcomes["heads"] == "localization") & outcomes.sample_id.isin(list(by_id))]
    ranked = mine.sort_values("box_iou", kind="stable").drop_duplicates("image_id")
    ends = pd.concat([ranked.tail(most).iloc[::-1], ranked.head(most)]).drop_duplicates("sample_id")
    return [
        (one.image, one.expression, np.array(one.box, float), np.array(row.box, float), row.box_iou)
        for row in ends.itertuples()
        for one in [by_id[row.sample_id]]
    ]


@dataclass(frozen=True, eq=False)
class PlainWords:
    """What the specimen's hints cost against the plain words that they stand for.

    Attributes:
        scores: Columns `kind`, `metric`, `value`, `low`, `high` and `queries`.
        gain: By metric, what the plain words gain over the hints: `value`, `low`, `high` and `p`, paired by
            query; empty where there is no hint.
    """

    scores: pd.DataFrame
    gain: pd.DataFrame

    def __str__(self) -> str:
        points = 100 * self.gain[["value", "low", "high"]].astype(float)
        said = [
            f"{metric}: plain words gain {value:+.1f} points [{low:+.1f}, {high:+.1f}] over hints"
            for metric, value, low, high in points.itertuples()
        ]
        return "\n".join(said) or "no query is a hint"

    def numbers(self) -> dict[str, float]:
        """Returns the scores of each kind, and the gain of the plain words, named for saving."""
        saved = {
            f"{row.metric}_{row.kind}".replace(" ", "_"): float(row.value) for row in self.scores.itertuples()
        }
        return saved | {f"plain_words_gain_{name}": float(gain) for name, gain in self.gain.value.items()}


def plain_against_hints(
    lvlm: Lvlm, segmenter: Segmenter, samples: Sequence[Sample], outcomes: pd.DataFrame, heads: Heads,
    seed: int = 0,
) -> PlainWords:  # fmt: skip
    """Puts each hint again as the plain expression that it stands for, on the same picture.

    Args:
        lvlm: The frozen model.
        segmenter: Turns boxes into masks.
        samples: All queries.
        outcomes: Of these queries, from `segment`.
        heads: The localization heads.
        seed: Of the bootstrap over pictures.
    """
    metrics = ("rec_acc50", *METRICS)
    spelt = {one.sample_id: words for one in samples if (words := plain_words(one.expression))}
    mine = outcomes[outcomes["heads"] == "localization"].drop(columns="draw")
    mine = mine.assign(kind=np.where(mine.sample_id.isin(list(spelt)), HINT, OTHER))
    gain = pd.DataFrame(columns=["value", "low", "high", "p"])
    if spelt:
        plain = [replace(one, expression=spelt[one.sample_id]) for one in samples if one.sample_id in spelt]
        again = evaluate(lvlm, segmenter, plain, heads).drop(columns="draw").assign(kind=PLAIN)
        hints = mine[mine.kind == HINT].set_index("sample_id").loc[again.sample_id].reset_index()
        pairs = pd.concat([hints, again]).assign(variant=lambda rows: rows.kind)
        table = differences(pairs, HINT, seed=seed, metrics=metrics)
        gain = table[table.variant == PLAIN].set_index("metric").drop(columns="variant")
        mine = pd.concat([mine, again])
    table = scores(mine, seed=seed, by=["kind"], metrics=metrics)
    return PlainWords(table.assign(queries=table.kind.map(mine.kind.value_counts())), gain)


def beside_the_paper(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Returns Table 3 and this model's scores, in %: one column per split and length.

    Args:
        table: From `score_table`.
        name: Of this model.
    """
    names = {"val all": "val", "test short": "test short", "test long": "test long", "test all": "test"}
    mine = table[table["heads"] == "localization"].set_index(["group", "metric"]).value
    columns = {}
    for group, printed in names.items():
        column = {f"{m}, paper": paper.reported("res", m, "reasonseg", printed).value for m in PAPERS}
        here = {f"{name}, {label} here": 100 * mine.get((group, m), np.nan) for m, label in METRICS.items()}
        columns[printed] = column | here
    return pd.DataFrame(columns)
