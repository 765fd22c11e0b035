"""Sorts all heads by what moves their attention: the object, the word, the place, or nothing in the picture.

Each scene is read four times: as it is; with an expression for another object; with the object moved and the
expression kept; and as an empty floor. A head that finds what is named follows the word and the object. One
that looks at the same cells of an empty floor is bound to places. Cells that all heads look at, whatever is
shown, are sinks of the picture; like the first token, they hold attention that no other token needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from locheads.method.selection import Head
from locheads.studies.across_models import map_correlation
from locheads.studies.head_readings import Cases

KINDS = ("localizing", "objects", "positional", "diffuse", "sink", "text")
SINK = 10.0
"""How many times an even share of a picture's attention a sink cell gets, over heads and pictures."""
FOLLOWS = 0.2
"""Least share of a head's attention to the picture that goes along with the word, or with the object."""
BOUND = 0.5
"""Least correlation of a head's maps of a scene and of its empty floor that makes it positional."""
SHARES = ("picture", "sink", "text", "word", "move")
"""The columns of `table` that are shares of attention."""

PerHead = Float[np.ndarray, "layer head"]


def sink_cells(cases: Cases, ratio: float = SINK) -> Bool[np.ndarray, "row column"]:
    """Marks the cells that get `ratio` times an even share of the attention, with and without objects.

    The share of a cell is averaged over heads, each head counting as much as it looks at the picture.
    """
    marked = []
    for one in (cases.plain, cases.blank):
        mean = one.maps.mean((0, 1, 2), dtype=float)
        marked.append(mean >= ratio * mean.sum() / mean.size)
    return marked[0] & marked[1]


def without(maps: Float[np.ndarray, "*n row column"], cells: Bool[np.ndarray, "row column"]) -> np.ndarray:
    """Returns maps in which these cells get nothing."""
    return np.where(cells, 0, maps)


@dataclass(frozen=True, eq=False)
class Evidence:
    """What moves each head, means over the cases.

    Attributes:
        picture: Share of its attention that goes to the picture, sink cells left out.
        sink: To the first token and to sink cells.
        text: To all other tokens.
        word: What the named object gets of the attention to the picture, more than the other question's
            object gets; averaged over both expressions.
        move: What the object's new place gains when the object comes there.
        bound: Correlation of the maps of a scene and of its empty floor.
        spread: Over how many cells the attention to the picture spreads: 1 / Σ p², where p sums to 1.
    """

    picture: PerHead
    sink: PerHead
    text: PerHead
    word: PerHead
    move: PerHead
    bound: PerHead
    spread: PerHead


def evidence(cases: Cases, sinks: Bool[np.ndarray, "row column"]) -> Evidence:
    """Measures what moves each head; cells of `sinks` are left out of all that is measured in the picture."""
    plain, word, move, blank = (
        without(one.maps, sinks) for one in (cases.plain, cases.word, cases.move, cases.blank)
    )
    picture = plain.sum((-2, -1))
    sink = cases.plain.first + cases.plain.maps.sum((-2, -1)) - picture
    named = _gain(plain, cases.here, cases.there) + _gain(word, cases.there, cases.here)
    gained = _held(move, cases.after) - _held(plain, cases.after)
    return Evidence(
        picture.mean(0),
        sink.mean(0),
        (1 - picture - sink).mean(0),
        named.mean(0) / 2,
        gained.mean(0),
        np.nan_to_num(map_correlation(plain, blank)).mean(0),
        _spread(plain).mean(0),
    )


def _spread(maps: np.ndarray) -> Float[np.ndarray, "case layer head"]:
    """Returns the number of cells that evenly lit would have the same Σ p²; 0 for an empty map."""
    total, squares = maps.sum((-2, -1)) ** 2, (maps**2).sum((-2, -1))
    return np.divide(total, squares, out=np.zeros_like(total), where=squares > 0)


def _held(maps: np.ndarray, covered: np.ndarray) -> Float[np.ndarray, "case layer head"]:
    """Returns the share of the attention to the picture that falls on an object; 0 for an empty map."""
    total, on = maps.sum((-2, -1)), (maps * covered[:, None, None]).sum((-2, -1))
    return np.divide(on, total, out=np.zeros_like(on), where=total > 0)


def _gain(maps: np.ndarray, named: np.ndarray, other: np.ndarray) -> np.ndarray:
    return _held(maps, named) - _held(maps, other)


def kinds(found: Evidence, least: float, follows: float = FOLLOWS) -> np.ndarray:
    """Sorts each head into one of `KINDS`, `layer × head` strings.

    Args:
        found: What moves the heads.
        least: Share of the attention that must go to the picture for a head to be one of the first four; the
            others are `sink` or `text`, whichever gets more. The paper's τ.
        follows: Least share that goes along with the word, or with the object.

    Of the heads that look at the picture, those that follow the word and the object are `localizing`, those
    that follow the object alone look at `objects`; of the rest, those that look at the same cells of an empty
    floor are `positional`, the others `diffuse`.
    """
    named, along = found.word >= follows, found.move >= follows
    conditions = [
        (found.picture < least) & (found.sink >= found.text),
        found.picture < least,
        named & along,
        along,
        found.bound >= BOUND,
    ]
    return np.select(conditions, ["sink", "text", "localizing", "objects", "positional"], "diffuse")


def table(found: Evidence, sorted_into: np.ndarray) -> pd.DataFrame:
    """Returns one row per head, indexed by it: `kind`, and its evidence; shares of attention in %."""
    heads = [Head(*map(int, place)) for place in np.ndindex(sorted_into.shape)]
    columns = {name: values.ravel() for name, values in vars(found).items()}
    index = pd.Index(heads, tupleize_cols=False, name="head")
    rows = pd.DataFrame({"kind": sorted_into.ravel(), **columns}, index)
    return rows.assign(**{name: 100 * rows[name] for name in SHARES})


def by_kind(heads: pd.DataFrame) -> pd.DataFrame:
    """Averages the evidence of `table` over the heads of each kind, rounded, units in the columns."""
    means = heads.astype({name: float for name in heads if name != "kind"}).groupby("kind").mean()
    decimals = dict.fromkeys(SHARES, 1) | {"bound": 2, "spread": 0}
    units = {name: f"{name} [%]" for name in SHARES} | {"bound": "bound [ρ]", "spread": "spread [cells]"}
    return means.reindex(KINDS).round(decimals).rename(columns=units)


def typical(heads: pd.DataFrame) -> dict[str, Head]:
    """Returns the clearest head of each kind that looks at the picture, of those that there are."""
    clearest = {"localizing": "word", "objects": "move", "positional": "bound", "diffuse": "spread"}
    some = {kind: heads[heads.kind == kind] for kind in clearest}
    return {kind: some[kind][by].idxmax() for kind, by in clearest.items() if len(some[kind])}


def passed_over(heads: pd.DataFrame) -> list[Head]:
    """Returns the heads that follow word and object but look at the picture less than their kind must."""
    follow = (heads.word >= 100 * FOLLOWS) & (heads.move >= 100 * FOLLOWS)
    return list(heads.index[follow & heads.kind.isin(["sink", "text"])])


def shares(heads: pd.DataFrame, chosen: Mapping[Head, float]) -> pd.DataFrame:
    """Counts the heads of each kind, and how often each kind is chosen.

    Args:
        heads: From `table`.
        chosen: Head → its selection frequency.

    Returns:
        One row per kind: `heads`, `of all [%]`, and `of choices [%]`, its share of all selections.
    """
    counts = heads.kind.value_counts().reindex(KINDS, fill_value=0)
    often = pd.Series({head: chosen[head] for head in heads.index}).groupby(heads.kind.to_numpy()).sum()
    choices = 100 * often.reindex(KINDS, fill_value=0.0) / often.sum()
    return pd.DataFrame(
        {"heads": counts, "of all [%]": 100 * counts / counts.sum(), "of choices [%]": choices}
    )


def named(counted: pd.DataFrame) -> dict[str, float]:
    """Names the columns of `shares` as fractions, for `save_results`."""
    columns = {"share": "of all [%]", "choices": "of choices [%]"}
    return {f"{n}_{kind}": counted[c][kind] / 100 for n, c in columns.items() for kind in KINDS}
