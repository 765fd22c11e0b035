"""Which step of the recipe does what: a short course under the sink with one step switched off at a time.

`python -m locheads.specimen.switches MODEL WORK` takes minutes per row on one core: the narrow decoder as it
was before the sink (MODEL: a folder with its tokenizer) learns 160 steps on some patches of each picture,
then heads are chosen and judged on expressions of the training split.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn
from transformers import AutoTokenizer, LlavaForConditionalGeneration

from locheads.data import read_samples
from locheads.data.samples import Sample
from locheads.data.scenes import scenes
from locheads.method.selection import candidates, select_heads, top_heads
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.profiling.profile import judged
from locheads.specimen import answers
from locheads.specimen.arms import box_ious
from locheads.specimen.card import held_out_answers
from locheads.specimen.sink import STRENGTH, dig, rest, widened
from locheads.specimen.tower import VISION
from locheads.specimen.training import ScenePool, make_pool, train
from locheads.specimen.turns import RESTING, Conversations
from locheads.specimen.vocabulary import make_processor, make_tokenizer

SWITCHES = ("nothing", "sink", "heads", "jobs", "scenes")
"""What is switched off: the sink, the added heads, the other jobs, the varied floors."""
SCENES, STEPS, HEADS, FEW, SEED = 1_000, 160, 14, 7, 301
"""Eight heads are added to the six of each layer, or one: transformers wants a divisor of the width."""
SAMPLES = 100
"""Training expressions that heads are chosen on, and as many others that they are judged on."""
RECORDS = Path(__file__).with_name("cards") / "switches.csv"
"""The outcome of `main` with the shipped data."""
IN_WORDS = {
    "nothing": "nothing", "sink": "the sink", "heads": "seven of eight added heads",
    "jobs": "the other jobs", "scenes": "stripes, blotches and litter",
}  # fmt: skip
"""What is switched off, in words."""
PLAIN_FLOORS = 4
"""Kinds of floors without stripes and blotches."""


def records() -> pd.DataFrame:
    """Reads the committed outcome: a row for each step switched off, its columns as `figures` gives them."""
    kept = pd.read_csv(RECORDS)
    return kept.assign(off=kept.off.map(IN_WORDS)).set_index("off")


def largest(kept: pd.DataFrame, column: str) -> str:
    """Return, as words, the switch that moves a figure farthest from that of the whole recipe."""
    change = kept[column] - kept[column][IN_WORDS["nothing"]]
    off = change.abs().idxmax()
    return f"{off} ({kept[column][IN_WORDS['nothing']]:.2f} with it, {kept[column][off]:.2f} without)"


def figures(off: str, model: Path, work: Path) -> dict[str, Any]:
    """Trains with one step switched off, or `nothing`; returns what holds on training expressions."""
    folder = work / f"without-{off}"
    if not (folder / "config.json").exists():
        _trained(off, model, work).half().save_pretrained(folder)
        make_processor(VISION.image_size, VISION.patch_size).save_pretrained(folder)
    lvlm = load_lvlm(str(folder), prompt="specimen")
    samples = read_samples("specimen", "refcoco", "train", limit=2 * SAMPLES, seed=0)
    answered = held_out_answers(lvlm, scenes=100, seed=9)
    return {
        "off": off,
        **_judged(lvlm, samples[:SAMPLES], samples[SAMPLES:]),
        "answers": answered[answered["telling"]]["right"].mean(),
    }


def _trained(off: str, folder: Path, work: Path) -> LlavaForConditionalGeneration:
    """The model of a folder after the short course."""
    torch.manual_seed(SEED)
    old = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    heads = FEW if off == "heads" else HEADS
    model = widened(old, AutoTokenizer.from_pretrained(folder), make_tokenizer(), heads)
    pool, features = _pool(off == "scenes", work), work / f"features{'-plain' * (off == 'scenes')}.npy"
    seen = answers.frozen_features(pool, model.model.vision_tower, features)
    dig(model)
    if off == "sink":
        model.model.language_model.embed_tokens.weight.data[:, -1] = 0.0
    course = replace(RESTING, jobs=(1.0, 0.0, 0.0, 0.0, 0.0)) if off == "jobs" else RESTING
    depth = 0.0 if off == "sink" else 1.0
    _learn(model, Conversations(pool, seen, STEPS, SEED, course), depth, work / f"without-{off}.ckpt")
    rest(model, STRENGTH * depth)
    return model


def _learn(
    model: LlavaForConditionalGeneration, batches: Conversations, depth: float, checkpoint: Path
) -> None:
    """The course `resting` with the tower frozen; a depth of 0 leaves the sink out."""
    model.model.vision_tower.requires_grad_(False)
    rest(model, 0.0)
    learners = nn.ModuleList([model.model.multi_modal_projector, model.model.language_model, model.lm_head])
    model.model.language_model.compile(dynamic=False)
    loss = partial(answers.answer_loss, model)

    def loss_of(batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        return loss({**batch, "depth": batch["depth"] * depth})

    train(learners, batches, loss_of, RESTING.rate, checkpoint, SEED, warm_up=50, save_every=40)


def _pool(plain: bool, work: Path) -> ScenePool:
    """Scenes with all kinds of floors, or without stripes, blotches and litter."""
    folder, draw = (work / "plain", plain_scene) if plain else (work, scenes.draw_scene)
    return make_pool(folder, SCENES, VISION.image_size, seed=3, draw=draw)


def plain_scene(*arguments: Any) -> scenes.Scene:
    """As `draw_scene`, on one of the plain kinds of floors and without litter."""
    floors, litter = scenes._FLOORS, scenes._litter
    scenes._FLOORS, scenes._litter = floors[:PLAIN_FLOORS], lambda rng, floor: None
    try:
        return scenes.draw_scene(*arguments)
    finally:
        scenes._FLOORS, scenes._litter = floors, litter


def _judged(lvlm: Lvlm, chosen_on: list[Sample], judged_on: list[Sample]) -> dict[str, float]:
    """What the paper measures: the curve of sums, the heads chosen, ρ, and accuracies."""
    profiled, other = judged(lvlm, chosen_on, 16), judged(lvlm, judged_on, 16)
    sums, entropies = profiled["attention_sum"], profiled["spatial_entropy"]
    selection = select_heads(sums, entropies, k=5)
    ever, tau = selection.frequency >= 0.01, selection.threshold.value
    single = {
        use: top_heads(candidates(sums, entropies, tau, 10, 2, use).mean(0), 3)
        for use in ("attention_sum", "entropy")
    }
    hits = partial(_accuracy, lvlm, other["maps"], judged_on)
    return {
        "median_sum": float(np.median(sums.mean(0))),
        "tau": tau,
        "passing": selection.passing.mean(),
        "ever_chosen": ever.mean(),
        "median_sum_chosen": float(np.median(sums.mean(0)[ever])),
        "one_component": float((entropies[:, selection.passing] == 0).mean()),
        "rho": float(spearmanr(selection.frequency[ever], other["iou"].mean(0)[ever]).statistic),
        "acc50": hits(selection.heads[:3]),
        "acc50_k1": hits(selection.heads[:1]),
        "acc50_k5": hits(selection.heads),
        "acc50_sum_alone": hits(single["attention_sum"]),
        "acc50_entropy_alone": hits(single["entropy"]),
    }


def _accuracy(lvlm: Lvlm, maps: np.ndarray, samples: list[Sample], heads: Any) -> float:
    return float((box_ious(lvlm, maps, samples, heads) >= 0.5).mean())


def main(model: Path, work: Path) -> pd.DataFrame:
    """A row for each switch, written to `work/switches.csv` as they come."""
    work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for off in SWITCHES:
        rows.append(figures(off, model, work))
        pd.DataFrame(rows).round(3).to_csv(work / "switches.csv", index=False)
    return pd.DataFrame(rows)


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), Path(sys.argv[2])).round(2).T.to_string())
