"""Compares heads found on another data set with the set's own, by grounding accuracy.

The paper finds its heads on RefCOCO and uses them everywhere; if they are a property of the model, every set
finds heads that serve every other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import xarray as xr

from locheads.data.samples import Sample
from locheads.evaluation.evaluate import Variant, stored_maps
from locheads.evaluation.metrics import bootstrap_interval, box_iou, paired_difference_interval, spearman
from locheads.method.selection import Head, Selection, selection_frequency
from locheads.model.lvlm import Lvlm

RANDOM = "random"
"""Name of the baseline: random heads that pass τ."""


def hits(
    lvlm: Lvlm,
    samples: Sequence[Sample],
    measured: xr.Dataset,
    found: Mapping[str, Sequence[tuple[Head, ...]]],
) -> pd.DataFrame:
    """Returns whether each box is right (IoU at least 0.5): one row per sample, one column per set of heads.

    Args:
        lvlm: The model that produced the maps.
        samples: With boxes.
        measured: Their profile, with maps.
        found: Heads by the name of the data set that they were found on; where there are several choices
            (random draws), the mean over them is taken.

    Returns:
        Shares in [0, 1], indexed by sample id.
    """
    rows = []
    for sample, maps in zip(samples, stored_maps(measured), strict=True):
        window, true = lvlm.window(sample.size), np.array([sample.box], float)
        row = {}
        for name, choices in found.items():
            boxes = np.stack([Variant(heads).ground(maps, window, 0).box for heads in choices])
            row[name] = float((box_iou(np.repeat(true, len(boxes), axis=0), boxes) >= 0.5).mean())
        rows.append(row)
    return pd.DataFrame(rows, index=pd.Index([sample.sample_id for sample in samples], name="sample_id"))


def transfer(used_on: Mapping[str, pd.DataFrame], seed: int = 0) -> pd.DataFrame:
    """Returns Acc@0.5 of heads found on one set and used on another, and its difference to the own heads.

    Args:
        used_on: `hits` by data set.
        seed: Of the bootstrap over samples.

    Returns:
        Columns `found`, `used`, `value`, `low`, `high` (95 % interval) and `gain`, `gain_low`, `gain_high`:
        the paired difference to the heads that were found on the set itself.
    """
    rows = []
    for used, table in used_on.items():
        own = table[used].to_numpy()
        for found in table.columns:
            right = table[found].to_numpy()
            interval = bootstrap_interval(right, seed=seed)
            gain = paired_difference_interval(right, own, seed=seed)
            rows.append(
                {"found": found, "used": used, "value": float(right.mean())}
                | vars(interval)
                | {"gain": float((right - own).mean()), "gain_low": gain.low, "gain_high": gain.high}
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
