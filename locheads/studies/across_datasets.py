"""Compares heads found on another data set with the set's own, by grounding accuracy.

The paper finds its heads on RefCOCO and uses them everywhere; if they are a property of the model, every set
finds heads that serve every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from jaxtyping import Float, Shaped

from locheads import paper
from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Variant, stored_maps
from locheads.evaluation.intervals import p_value, percentiles, resampled_ratios
from locheads.evaluation.metrics import box_iou, spearman
from locheads.method.frequency import selection_frequency
from locheads.method.selection import Head, Selection
from locheads.model.lvlm import Lvlm

RANDOM = "random"
"""Name of the baseline: random heads that pass τ."""
REASONING = "reasonseg"
"""The style of implicit queries; the other sets refer to an object by what is seen of it."""


@dataclass(frozen=True)
class Hits:
    """Whether the boxes of several choices of heads are right (IoU at least 0.5) on one set of samples.

    Attributes:
        right: By the name of the data set that the heads were found on, 1 or 0 per sample and draw;
            localization heads are a single draw.
        pictures: Image id of each sample.
    """

    right: Mapping[str, Float[np.ndarray, "n draw"]]
    pictures: Shaped[np.ndarray, " n"]

    def parts(self, name: str) -> Float[np.ndarray, "n draw 2"]:
        """Returns numerators and denominators of Acc@0.5, as `resampled_ratios` takes them."""
        return np.stack([self.right[name], np.ones_like(self.right[name])], axis=-1)


def hits(
    lvlm: Lvlm,
    samples: Sequence[Sample],
    measured: xr.Dataset,
    found: Mapping[str, Sequence[tuple[Head, ...]]],
) -> Hits:
    """Grounds every sample with every choice of heads, and says which boxes are right.

    Args:
        lvlm: The model that produced the maps.
        samples: With boxes.
        measured: Their profile, with maps.
        found: Heads by the name of the data set that they were found on; several choices are draws.
    """
    right: dict[str, list[np.ndarray]] = {name: [] for name in found}
    for sample, maps in zip(samples, stored_maps(measured), strict=True):
        window, true = lvlm.window(sample.size), np.array([sample.box], float)
        for name, choices in found.items():
            boxes = np.stack([Variant(heads).ground(maps, window, 0).box for heads in choices])
            right[name].append(box_iou(np.repeat(true, len(boxes), axis=0), boxes) >= 0.5)
    pictures = np.array([sample.image_id for sample in samples])
    return Hits({name: np.stack(rows).astype(float) for name, rows in right.items()}, pictures)


def transfer(used_on: Mapping[str, Hits], seed: int = 0) -> pd.DataFrame:
    """Returns Acc@0.5 of heads found on one set and used on another, and its difference to the own heads.

    Args:
        used_on: `hits` by data set.
        seed: Of the bootstrap over pictures, and over draws where there are several.

    Returns:
        Columns `found`, `used`, `value`, `low`, `high` (95 % interval) and `gain`, `gain_low`, `gain_high`,
        `p`: the paired difference to the heads that were found on the set itself.
    """
    rows = []
    for used, outcome in used_on.items():
        own = resampled_ratios(outcome.parts(used), outcome.pictures, seed=seed)
        for found, right in outcome.right.items():
            drawn = resampled_ratios(outcome.parts(found), outcome.pictures, seed=seed)
            gain = percentiles(drawn - own)
            rows.append(
                {"found": found, "used": used, "value": float(right.mean())}
                | vars(percentiles(drawn))
                | {"gain": float(right.mean() - outcome.right[used].mean())}
                | {"gain_low": gain.low, "gain_high": gain.high, "p": p_value(drawn - own)}
            )
    return pd.DataFrame(rows)


def shared_heads(selections: Mapping[str, Selection]) -> pd.DataFrame:
    """Returns the number of localization heads that each two data sets share."""
    heads = {name: set(selection.heads) for name, selection in selections.items()}
    return pd.DataFrame({a: {b: len(heads[a] & heads[b]) for b in heads} for a in heads})


def frequency_agreement(selections: Mapping[str, Selection], seed: int = 0) -> pd.DataFrame:
    """Returns Spearman's ρ between the selection frequencies of each two data sets.

    Of a set with itself: between its odd and its even samples, which differ by nothing but chance. Heads that
    neither of the two ever chose are left out.

    Args:
        selections: By data set.
        seed: Of the bootstrap over heads.

    Returns:
        Columns `first`, `second`, `rho`, `low`, `high` (95 % interval over heads), `heads` (how many).
    """
    rows = []
    for number, (first, a) in enumerate(selections.items()):
        for second, b in list(selections.items())[number:]:
            x, y = (
                (a.frequency, b.frequency)
                if first != second
                else (selection_frequency(a.chosen[::2]), selection_frequency(a.chosen[1::2]))
            )
            either = (x > 0) | (y > 0)
            found = spearman(x[either], y[either], seed=seed)
            rows.append(
                {"first": first, "second": second, "rho": found.rho}
                | {"low": found.low, "high": found.high, "heads": found.n}
            )
    return pd.DataFrame(rows)


def found_heads(selections: Mapping[str, Selection], expressions: Mapping[str, int]) -> pd.DataFrame:
    """Returns what each set found: expressions, τ, heads that pass, and its heads with their frequency."""
    rows = {
        name: {
            "expressions": expressions[name],
            "threshold τ [%]": 100 * one.threshold.value,
            "heads that pass": int(one.passing.sum()),
            "heads found": ", ".join(f"{head} ({one.frequency[head]:.0%})" for head in one.heads),
        }
        for name, one in selections.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("found on")


def by_style(agreement: pd.DataFrame) -> pd.DataFrame:
    """Summarises ρ between the frequencies of halves of one set, of sets alike in style, and across styles.

    Args:
        agreement: From `frequency_agreement`.

    Returns:
        By kind of pair: `pairs`, and the least, mean and largest `rho`. Only ReasonSeg is of another style.
    """
    same = agreement["first"] == agreement["second"]
    across = (agreement["first"] == REASONING) ^ (agreement["second"] == REASONING)
    names = np.select(
        [same, across], ["halves of one set", "implicit against referring"], "two referring sets"
    )
    pairs = agreement.assign(pair=names).groupby("pair", sort=False).rho
    return pairs.agg(pairs="size", least="min", mean="mean", largest="max")


def style_numbers(styles: pd.DataFrame) -> dict[str, float]:
    """Returns the least and largest ρ of each kind of pair, named for saving."""
    return {
        f"rho_{end}_{pair}".replace(" ", "_"): float(row[end])
        for pair, row in styles.iterrows()
        for end in ("least", "largest")
    }


def mirrored(agreement: pd.DataFrame) -> pd.DataFrame:
    """Returns ρ of each ordered pair, with the columns of a transfer matrix: `found`, `used`, `value`."""
    matrix = agreement.rename(columns={"first": "found", "second": "used", "rho": "value"})
    other = matrix[matrix.found != matrix.used].rename(columns={"found": "used", "used": "found"})
    return pd.concat([matrix, other], ignore_index=True)


def beside_the_paper(table: pd.DataFrame, first: str, name: str) -> pd.DataFrame:
    """Returns Acc@0.5 in % of heads found on the first set, the paper's and here, and of the own heads.

    Args:
        table: From `transfer`.
        first: The set on which the heads were found.
        name: Of this model.
    """
    values = 100 * table.set_index(["found", "used"]).value
    rows = {
        used: {
            f"paper, LLaVA-1.5-7B, found on {first}": np.nan
            if used == REASONING
            else paper.reported("rec", "LLaVA-1.5-7B", used, "val").value,
            f"{name}, found on {first}": values[first, used],
            "own heads": values[used, used],
        }
        for used in table.used.unique()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("used on")
