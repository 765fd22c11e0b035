"""Turns the records of `causes` into curves, paired differences and sentences.

Intervals are of 95 %, over pictures: both questions of a picture are drawn together. Random choices of heads
are drawn as well. All shares are in per cent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from locheads.data.scenes.questions import draw_pairs
from locheads.evaluation.intervals import mean_interval, percentiles, resampled_ratios
from locheads.evaluation.metrics import Correlation, Interval, spearman
from locheads.method.selection import Head
from locheads.model.lvlm import Lvlm
from locheads.studies.causes import RANDOM, measure
from locheads.studies.causes_records import Kept, Records, records_of

FREQUENCY = "frequency"
"""The ranking whose layers the random heads match."""
DONE = {"patch": "swapped", "steer": "steered"}


def curve(records: Records, kind: str, what: str = "right", seed: int = 0) -> pd.DataFrame:
    """Computes the share of answers after every trial of a kind.

    Args:
        records: The records.
        kind: Kind of trial.
        what: `right`, or `follows`.
        seed: Of the resamples.

    Returns:
        One row per order and size: `order`, `size`, `value`, `low` and `high` in %, and `answer`, the mean
        log-probability of the right answer in nats.
    """
    rows = []
    for number, cell in enumerate(records.cells):
        if cell[0] != kind:
            continue
        shares = percentiles(100 * _shares(records, cell, what, seed))
        value = 100 * getattr(records, what)[records.of(*cell[:3])].mean()
        rows.append({"order": cell[1], "size": cell[2], "value": value, **vars(shares),
                     "answer": records.answer[number].mean()})  # fmt: skip
    return pd.DataFrame(rows, columns=["order", "size", "value", "low", "high", "answer"])


def _shares(records: Records, cell: tuple, what: str, seed: int) -> Float[np.ndarray, " resample"]:
    """Returns the share of answers over resampled pictures and draws; the same pictures for every cell."""
    some = getattr(records, what)[records.of(*cell[:3])].T  # question × draw
    parts = np.stack([some, np.ones_like(some)], axis=-1).astype(float)
    return resampled_ratios(parts, records.pictures, seed=seed)


def first(records: Records, questions: int) -> Records:
    """Returns the records of the first questions alone."""
    arrays = {name: getattr(records, name)[:, :questions] for name in Records.ARRAYS}
    return replace(records, **arrays)


def untouched(records: Records, seed: int = 0) -> tuple[float, Interval]:
    """Returns the share of right answers of the untouched model in %, with its interval."""
    right = 100.0 * records.right[records.of("none", "", 0)[0]]
    return float(right.mean()), mean_interval(right, records.pictures, seed=seed)


def gaps(
    records: Records, kind: str, order: str, than: str = RANDOM, what: str = "right", seed: int = 0
) -> pd.DataFrame:
    """Computes paired differences between two orders of heads, in points.

    Returns:
        One row per size that both have: `size`, `value` (`order` less `than`), `low`, `high`.
    """
    rows = []
    here, there = ({c[2] for c in records.cells if c[:2] == (kind, name)} for name in (order, than))
    for size in sorted(here & there):
        one, other = ((kind, name, size) for name in (order, than))
        shares = [getattr(records, what)[records.of(*cell)].mean() for cell in (one, other)]
        drawn = [_shares(records, cell, what, seed) for cell in (one, other)]
        interval = percentiles(100 * (drawn[0] - drawn[1]))
        rows.append({"size": size, "value": 100 * (shares[0] - shares[1]), **vars(interval)})
    return pd.DataFrame(rows)


def singles(records: Records, plain: Records, per_head: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """Measures what each head alone takes away from the log-probability of the right answer.

    Args:
        records: Of the trials `single`.
        plain: Those that hold the untouched model's answers to the same first questions.
        per_head: Name → values of all heads, `layer × head`.

    Returns:
        One row per head, indexed by it: `loss` in nats with `low` and `high`, and the named values.
    """
    count = records.right.shape[1]
    before = plain.answer[plain.cells.index(("none", "", 0))][:count]
    rows = {}
    for trial, answer in zip(records.trials, records.answer, strict=True):
        head, loss = trial.heads[0], before - answer
        values = {name: float(some[head]) for name, some in per_head.items()}
        rows[head] = {"loss": loss.mean(), **vars(mean_interval(loss, records.pictures)), **values}
    table = pd.DataFrame.from_dict(rows, orient="index")
    return table.set_axis(pd.Index([Head(*head) for head in rows], tupleize_cols=False, name="head"))


def correlations(table: pd.DataFrame, names: Sequence[str], seed: int = 0) -> dict[str, Correlation]:
    """Correlates the ranks of the heads' losses with those of other values of theirs."""
    loss = table["loss"].to_numpy()
    return {name: spearman(table[name].to_numpy(float), loss, seed=seed) for name in names}


@dataclass(frozen=True)
class Verdict:
    """One sentence on what was found, and whether the heads do what it asks for."""

    sentence: str
    holds: bool


def removed(records: Records, kind: str, size: int, seed: int = 0) -> Verdict:
    """Says whether removing the most frequent heads costs more answers than removing random ones."""
    shares = curve(records, kind, seed=seed).set_index(["order", "size"]).value
    gap = gaps(records, kind, FREQUENCY, seed=seed).set_index("size").loc[size]
    holds = bool(gap.high < 0)
    return Verdict(
        f"without the {size} most frequent heads {shares[FREQUENCY, size]:.1f} % of the answers are right, "
        f"without {size} random heads of the same layers {shares[RANDOM, size]:.1f} % "
        f"({_points(gap)}): {'they matter more than others' if holds else 'no more than others'}",
        holds,
    )


def better_order(records: Records, kind: str, what: str = "right", seed: int = 0) -> str:
    """Says at which sizes the first heads by IoU matter more, or less, than those by frequency."""
    gap = gaps(records, kind, "IoU", FREQUENCY, what, seed)
    sign = 1 if what == "follows" else -1
    more = gap[(sign * gap[["low", "high"]]).min(axis=1) > 0]["size"]
    less = gap[(sign * gap[["low", "high"]]).max(axis=1) < 0]["size"]
    both = {"IoU": more, "frequency": less}
    told = [f"{name} for {_listed(some)} heads" for name, some in both.items() if len(some)]
    sure = "; ".join(told) if told else "at no number of heads"
    return f"the ranking whose heads matter more (95 % interval without zero): {sure}"


def moved(records: Records, kind: str, size: int, seed: int = 0) -> Verdict:
    """Says whether answers become the other question's when the most frequent heads are changed."""
    shares = curve(records, kind, "follows", seed).set_index(["order", "size"])
    one, other = shares.loc[(FREQUENCY, size)], shares.value[RANDOM, size]
    gap = gaps(records, kind, FREQUENCY, what="follows", seed=seed).set_index("size").loc[size]
    return Verdict(
        f"with the {size} most frequent heads {DONE[kind]} the answer becomes the other question's in "
        f"{one.value:.1f} % [{one.low:.1f}, {one.high:.1f}], with random heads of the same layers in "
        f"{other:.1f} % ({_points(gap)})",
        bool(gap.low > 0 and one.low > 50),
    )


def half_way(records: Records, kind: str) -> int | None:
    """Returns with how few frequent heads half of the answers become the other question's; None: never."""
    shares = curve(records, kind, "follows").query("order == @FREQUENCY").sort_values("size")
    enough = shares[shares.value >= 50]["size"]
    return int(enough.iloc[0]) if len(enough) else None


def _points(gap: pd.Series) -> str:
    return f"{gap.value:+.1f} points [{gap.low:.1f}, {gap.high:.1f}]"


def _listed(sizes: pd.Series) -> str:
    return ", ".join(map(str, sizes))


@dataclass(frozen=True)
class Again:
    """How trials that were made again compare with their records: `agree` is a share, `apart` in nats."""

    questions: int
    trials: int
    agree: float
    apart: float


def made_again(lvlm: Lvlm, records: Records, kinds: Sequence[str], size: int, pairs: int) -> Again:
    """Makes the trials of some kinds with ranked heads again, on the first questions of the records.

    Args:
        lvlm: The model of the records.
        records: Of the part `text`; the untouched model is one of the trials.
        kinds: Of `zero`, `patch` and `steer`.
        size: How many heads.
        pairs: Pairs of questions, at most those of the records.
    """
    wanted = [c for c in records.cells if c[0] in kinds and c[1] != RANDOM and c[2] == size]
    cells = [("none", "", 0), *wanted]
    numbers = [records.of(*cell)[0] for cell in cells]
    made = [records.trials[number] for number in numbers]
    now = records_of(made, [measure(lvlm, pair, made, {}) for pair in draw_pairs(pairs)])
    some = slice(2 * pairs)
    before = records.answer[[records.cells.index(cell) for cell in cells], some]
    agree = (now.right == records.right[numbers, some]).mean()
    return Again(2 * pairs, len(made), float(agree), float(np.abs(now.answer - before).max()))


def summary(kept: Kept, size: int, seed: int = 0) -> dict[str, float | int]:
    """Returns the main numbers as fractions, for `save_results`."""
    text, single = kept.parts["text"], kept.parts["single"]
    right, interval = untouched(text, seed)
    found: dict[str, float | int] = {
        "questions": len(text.pictures),
        "answers_untouched": right / 100,
        "answers_untouched_low": interval.low / 100,
        "answers_untouched_high": interval.high / 100,
    }
    shown = (("zero", "right"), ("mean", "right"), ("patch", "follows"), ("steer", "follows"))
    for kind, what in shown:
        for row in curve(text, kind, what, seed).itertuples():
            if row.size in (3, 10, size):
                name = f"{kind}_{row.order.lower()}_{row.size}"
                found[name] = row.value / 100
                found |= {f"{name}_low": row.low / 100, f"{name}_high": row.high / 100}
    table = singles(single, text, kept.values)
    for name, one in correlations(table, ("frequency", "IoU"), seed).items():
        found |= {f"spearman_loss_{name.lower()}": one.rho}
    return found
