"""Varies the choices that change the model's input or its query: square, query token, prompt.

Each needs a capture of its own. Heads and selection frequency are kept: the input alone is measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from locheads.data.cropping import oblong
from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.evaluation.evaluate import Variant, evaluate_variants
from locheads.evaluation.metrics import box_iou
from locheads.evaluation.scores import differences
from locheads.method.geometry import Window
from locheads.model.loading import varied
from locheads.model.lvlm import Lvlm
from locheads.model.prompts import Query
from locheads.model.segmenter import Segmenter
from locheads.paper.open_choices import Choice
from locheads.profiling.profile import judged
from locheads.studies.audit import Chosen
from locheads.studies.audit_effects import correlation_differences
from locheads.studies.audit_readings import DEFAULT


@dataclass(frozen=True, eq=False)
class Seen:
    """Holds the results of several kinds of input.

    Attributes:
        outcomes: Rows as of `evaluation.evaluate_variants`, with each kind of input as a variant.
        iou: IoU of every single head, by kind of input.
    """

    outcomes: pd.DataFrame
    iou: dict[str, Float[np.ndarray, "sample layer head"]]


def see(
    ways: Mapping[str, tuple[Lvlm, Variant]], segmenter: Segmenter, samples: Sequence[Sample], batch: int = 16
) -> Seen:
    """Captures and grounds the samples with each kind of input; each model captures them once.

    Args:
        ways: By name: a model from `lvlm.varied`, and how its maps are grounded.
        segmenter: Turns boxes into masks.
        samples: With box and mask.
        batch: Samples in one forward pass.
    """
    outcomes: dict[str, pd.DataFrame] = {}
    iou: dict[str, np.ndarray] = {}
    for lvlm in {id(model): model for model, _ in ways.values()}.values():
        found = judged(lvlm, samples, batch)
        mine = {name: variant for name, (model, variant) in ways.items() if model is lvlm}
        rows = evaluate_variants(lvlm, segmenter, samples, found["maps"], mine)
        for name in mine:
            outcomes[name] = rows[rows.variant == name]
            iou[name] = found["iou"]
    together = pd.concat([outcomes[name] for name in ways], ignore_index=True)
    return Seen(together, {name: iou[name] for name in ways})


def squares(lvlm: Lvlm, variant: Variant) -> dict[str, tuple[Lvlm, Variant]]:
    """Returns ways to a square picture: pad, stretch, crop, and pad with boxes scaled as if stretched."""
    pad = varied(lvlm, fit="pad")
    as_if = Variant(variant.heads, scaled_as="stretch")
    return {
        f"{Choice.SQUARE}: pad": (pad, variant),
        f"{Choice.SQUARE}: stretch": (varied(lvlm, fit="stretch"), variant),
        f"{Choice.SQUARE}: centre crop": (varied(lvlm, fit="crop"), variant),
        f"{Choice.SQUARE}: pad, scaled as if stretched": (pad, as_if),
    }


def bands(samples: Sequence[Sample], share: float) -> list[Sample]:
    """Cuts bands out of square pictures, wide and tall ones in turn; see `cropping.oblong`."""
    return [oblong(sample, share, wide=number % 2 == 0) for number, sample in enumerate(samples)]


def misscaled(
    ways: Mapping[str, tuple[Lvlm, Variant]], samples: Sequence[Sample]
) -> Float[np.ndarray, " sample"]:
    """Computes the IoU of each true box with itself, padded with the first way and scaled as if stretched."""
    lvlm, _ = next(iter(ways.values()))
    true = np.array([sample.box for sample in samples], float)
    boxes = []
    for sample, box in zip(samples, true, strict=True):
        window = lvlm.window(sample.size)
        stretched = Window.stretch(window.size, (window.rows, window.columns))
        boxes.append(stretched.box_to_pixels(window.box_to_cells(box)))
    return box_iou(true, np.stack(boxes))


def effects_of(
    seen: Seen,
    reference: str,
    chosen: Chosen,
    pictures: tuple[Shaped[np.ndarray, " sample"], Shaped[np.ndarray, " other"]],
    seed: int = 0,
) -> pd.DataFrame:
    """Returns the differences in boxes, masks and ρ of each kind of input from a reference, selection kept.

    Args:
        seen: From `see`.
        reference: The kind of input that is subtracted, and left out of the result.
        chosen: The candidates of the paper's reading.
        pictures: The picture of each sample of `chosen`, and of each sample that was seen.
        seed: Of the draws.

    Returns:
        Rows as from `scores.differences`.
    """
    others = [name for name in seen.iou if name != reference]
    iou = {DEFAULT: seen.iou[reference]} | {name: seen.iou[name] for name in others}
    rho = correlation_differences(dict.fromkeys(iou, chosen), iou, pictures, seed=seed)
    table = pd.concat([differences(seen.outcomes, reference, seed=seed), rho], ignore_index=True)
    return table[table.variant.isin(others)]


def cases(seen: Seen, samples: Sequence[Sample]) -> list[tuple]:
    """Returns what `plotting.grounding_grid` draws: each sample under each kind of input, named."""
    row = {name: group.set_index("sample_id") for name, group in seen.outcomes.groupby("variant", sort=False)}
    return [
        (sample.image, f"{name.split(': ')[1]}: {sample.expression}", np.array(sample.box),
         np.array(rows.box[sample.sample_id]), rows.box_iou[sample.sample_id])
        for sample in samples for name, rows in row.items()
    ]  # fmt: skip


def queries(lvlm: Lvlm) -> dict[str, Lvlm]:
    """Returns the model with each reading of the query token but its own."""
    answers: dict[Query, str] = {
        "period": "the period",
        "word": "the last word",
        "last": "the prompt's last token",
    }
    others = {query: answer for query, answer in answers.items() if query != lvlm.query}
    return {f"{Choice.QUERY}: {answer}": varied(lvlm, query=query) for query, answer in others.items()}


def prompted(
    lvlm: Lvlm, prompts: Mapping[str, str], sample: Sample, last: Iterable[str] = ()
) -> tuple[dict[str, Lvlm], dict[str, str]]:
    """Returns the model with each prompt that it accepts, and the reasons for the prompts it refuses.

    Args:
        lvlm: The model.
        prompts: By name, as `load_lvlm` takes them; that of the model itself is left out.
        sample: One to try them on.
        last: Names of prompts of which the last token's row is captured, and not the expression's.
    """
    taken, refused = {}, {}
    for name, prompt in prompts.items():
        try:
            model = varied(lvlm, prompt=prompt, query="last" if name in last else lvlm.query)
            model.encode([sample.image], [sample.expression])
        except LocheadsError as error:
            refused[name] = str(error)
        else:
            if (model.prompt, model.query) != (lvlm.prompt, lvlm.query):
                taken[name] = model
    return taken, refused
