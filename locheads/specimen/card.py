"""The cards of the shipped weights: how well they do on held-out scenes, filled into `cards/*.md`."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from locheads.data.scenes.expressions import ATTRIBUTES, STYLES, answer, refer
from locheads.data.scenes.scenes import draw_scene
from locheads.files import replacing
from locheads.model.lvlm import Lvlm
from locheads.model.shipped import verify
from locheads.specimen.jobs import asked_of
from locheads.specimen.vocabulary import STOP

HELD_OUT = 1_003
"""First word of the seeds of the scenes that answers are judged on."""
BATCH = 20
TRIES = 50
"""Expressions tried for a scene; in a few no object can be told from all others by its looks."""


def held_out_answers(
    lvlm: Lvlm, scenes: int = 600, seed: int = 0, styles: Sequence[str] = STYLES[:2]
) -> pd.DataFrame:
    """Compares the first word of a model's answers with the truth, one expression per held-out scene.

    Args:
        lvlm: The model.
        scenes: How many; scene `i` is drawn from the seed `(HELD_OUT, seed, i)`.
        seed: Of scenes and expressions.
        styles: Of the expressions, equally often; by default those of RefCOCO and RefCOCO+.

    Returns:
        One row per scene: `asked` (an attribute or "place"), `telling` (whether the scene's objects differ in
        it, so that the answer has to be looked up), `right`.
    """
    table = held_out_questions(scenes, seed, styles)
    said: list[str] = []
    for start in range(0, scenes, BATCH):
        some = table.iloc[start : start + BATCH]
        said += _first_words(lvlm, list(some["image"]), list(some["text"]))
    return table[["asked", "telling"]].assign(right=table["answer"] == said)


def held_out_questions(scenes: int, seed: int = 0, styles: Sequence[str] = STYLES[:2]) -> pd.DataFrame:
    """Draws the questions of `held_out_answers`.

    Returns:
        One row per scene: `image`, `text`, `answer` (its first word), `asked`, `telling`, and `guess`, the
        chance that what any object of the scene would be answered with is right.
    """
    rngs = (np.random.default_rng([HELD_OUT, seed, i]) for i in range(scenes))
    return pd.DataFrame([_question(rng, styles) for rng in rngs])


def _question(rng: np.random.Generator, styles: Sequence[str]) -> dict[str, object]:
    expression, tries = None, 0
    while expression is None:
        if tries % TRIES == 0:
            scene = draw_scene(rng)
        tries += 1
        index = int(rng.integers(len(scene.things)))
        expression = refer(scene, index, styles[int(rng.integers(len(styles)))], rng)
    left_open = [name for name in ATTRIBUTES if name not in expression.given]
    said = [answer(thing, expression.given).split()[0] for thing in scene.things]
    return {
        "image": Image.fromarray(scene.image),
        "text": f"{expression.text} {STOP}",
        "answer": said[index],
        "guess": said.count(said[index]) / len(said),
        "asked": left_open[0] if left_open else "place",
        "telling": asked_of(scene, expression.given) > 0,
    }


def _first_words(lvlm: Lvlm, images: list[Image.Image], texts: list[str]) -> list[str]:
    encoded = lvlm.encode(images, texts)
    with torch.inference_mode():
        logits = lvlm.model(**encoded.inputs).logits
    best = logits[torch.arange(len(texts)), encoded.query].argmax(-1)
    return lvlm.processor.tokenizer.convert_ids_to_tokens(best)


def answers_table(rows: pd.DataFrame) -> str:
    """Tabulates the shares of right answers by what is asked, with numbers of scenes, as Markdown."""
    lines = ["| asked | right | right, where objects differ |", "|---|---|---|"]
    for asked in (*ATTRIBUTES, "place"):
        group = rows[rows["asked"] == asked]
        cells = [f"{part.right.mean():.0%} ({len(part)})" for part in (group, group[group["telling"]])]
        lines.append(f"| {asked} | {' | '.join(cells)} |")
    return "\n".join(lines)


def ious_table(ious: Mapping[str, np.ndarray]) -> str:
    """Tabulates the IoUs of the segmenter by kind of box, as Markdown."""
    lines = ["| box prompt | mean IoU | objects with IoU ≥ 0.85 | lowest tenth below |", "|---|---|---|---|"]
    for box, values in ious.items():
        share, low = (values >= 0.85).mean(), np.quantile(values, 0.1)
        lines.append(f"| {box} | {values.mean():.3f} | {share:.0%} | {low:.2f} |")
    return "\n".join(lines)


def curve_table(curve: list[dict[str, float]], every: int = 1) -> str:
    """Tabulates a training curve, each `every`-th entry and the last, as Markdown."""
    names = ["step", "loss", *sorted(curve[-1].keys() - {"step", "loss"})]
    rows = [row for i, row in enumerate(curve, 1) if i % every == 0 or i == len(curve)]
    lines = [f"| {' | '.join(names).replace('_', ' ')} |", "|" + "---|" * len(names)]
    for row in rows:
        cells = [f"{row['step']:.0f}", *(f"{row[n]:.2f}" if n in row else "" for n in names[1:])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_card(folder: Path, scenes: int, stages: str, results: str, curve: str) -> None:
    """Fills in the card of a folder of weights and writes it beside them.

    Args:
        folder: Weights and their list of hashes; its name says which of `cards/` is its card.
        scenes: How many the model was trained on.
        stages: Parts of the recipe and their steps.
        results: `answers_table` or `ious_table`.
        curve: `curve_table`.
    """
    template = (Path(__file__).with_name("cards") / f"{folder.name}.md").read_text(encoding="utf-8")
    card = template.format(
        scenes=f"{scenes:,}",
        stages=stages,
        results=results,
        curve=curve,
        date=datetime.date.today().isoformat(),
        hashes=", ".join(f"`{digest}` (`{name}`)" for name, digest in verify(folder).items()),
    )
    with replacing(folder / "README.md") as part:
        part.write_text(card, encoding="utf-8")
