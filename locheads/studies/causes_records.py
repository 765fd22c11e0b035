"""Runs the trials of `causes` on many pairs of questions, resumes them, and keeps the outcomes in one file.

`python -m locheads.studies.causes_records` makes them for the specimen: about a quarter of an hour of one
processor core. It goes on where it was stopped, and writes `locheads/specimen/records/causes.npz`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int

from locheads import place
from locheads.data import read_samples
from locheads.data.scenes.questions import draw_pairs
from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.method.selection import Head, select_heads
from locheads.model.lvlm import Lvlm
from locheads.model.shipped import MODEL, SPECIMENS, WEIGHTS, verify
from locheads.profiling.profile import profile
from locheads.progress import progress
from locheads.studies.causes import DRAWS, Means, Outcome, Trial, mean_outputs, measure, ranked, trials

PAIRS = {"text": 210, "single": 60, "everywhere": 30}
"""Pairs of questions for each part of the trials."""
FEW_DRAWS = 4
"""Random choices where trials are made in passing; there are `DRAWS` in the records."""
ROUNDING = 0.005
"""By so much the heads' values may differ between machines: a choice or two in hundreds of expressions."""
RECORDS = WEIGHTS.with_name("records") / "causes.npz"
HUNDREDTHS = 100
"""Log-probabilities are kept to this part of a nat."""

Rankings = Mapping[str, tuple[Head, ...]]
PerHead = Float[np.ndarray, "layer head"]


@dataclass(frozen=True, eq=False)
class Records:
    """What was answered in the trials; two questions in a row are about one picture.

    Attributes:
        trials: The trials.
        right: Whether the answer was right.
        follows: Whether it was the right one for the other question about the picture.
        answer: Log-probability of the right answer, averaged over the random choices of a cell.
        rival: That of the right answer to the other question.
    """

    ARRAYS: ClassVar = ("right", "follows", "answer", "rival")
    trials: tuple[Trial, ...]
    right: Bool[np.ndarray, "trial question"]
    follows: Bool[np.ndarray, "trial question"]
    answer: Float[np.ndarray, "cell question"]
    rival: Float[np.ndarray, "cell question"]

    @property
    def pictures(self) -> Int[np.ndarray, " question"]:
        """Returns the number of the picture of each question."""
        return np.arange(self.right.shape[1]) // 2

    @property
    def cells(self) -> list[tuple]:
        """Returns the cells: trials that differ by the random choice alone; a single head is a cell."""
        return list(dict.fromkeys(map(_cell, self.trials)))

    def of(self, kind: str, order: str, size: int) -> list[int]:
        """Returns the numbers of the trials of a kind, an order and a size."""
        return [n for n, t in enumerate(self.trials) if (t.kind, t.order, t.size) == (kind, order, size)]


def _cell(trial: Trial) -> tuple:
    alone = trial.heads if trial.kind == "single" else ()
    return (trial.kind, trial.order, trial.size, *alone)


def records_of(made: Sequence[Trial], outcomes: Sequence[Outcome]) -> Records:
    """Joins the outcomes of several pairs."""
    joined = {name: np.concatenate([getattr(o, name) for o in outcomes], 1) for name in vars(outcomes[0])}
    numbers: dict[tuple, list[int]] = {}
    for number, trial in enumerate(made):
        numbers.setdefault(_cell(trial), []).append(number)
    means = {
        name: np.stack([joined[name][some].mean(0) for some in numbers.values()])
        for name in ("answer", "rival")
    }
    return Records(tuple(made), joined["right"], joined["follows"], **means)


@dataclass(frozen=True, eq=False)
class Kept:
    """All records of a model, and what they depend on.

    Attributes:
        weights: SHA-256 of the model's weights.
        values: From `values_of`; with `seed` they determine the trials.
        seed: Of the selection and the random heads.
        parts: Records of each part of `causes.trials`; each has its own number of questions.
    """

    weights: str
    values: Mapping[str, PerHead]
    seed: int
    parts: Mapping[str, Records]

    @property
    def rankings(self) -> Rankings:
        """Returns the heads by frequency and by IoU."""
        return rankings_of(self.values)


def values_of(profiled: xr.Dataset, seed: int = 0) -> dict[str, PerHead]:
    """Returns `frequency`, `IoU` and `attention sum` of all heads, means over the samples of a profile."""
    sums = profiled.attention_sum.values
    frequency = select_heads(sums, profiled.spatial_entropy.values, seed=seed).frequency
    return {"frequency": frequency, "IoU": profiled.iou.values.mean(0), "attention sum": sums.mean(0)}


def rankings_of(values: Mapping[str, PerHead]) -> Rankings:
    """Ranks all heads by frequency and by IoU; equal ones (most are never chosen) by the attention sum."""
    return {name: ranked(values[name], values["attention sum"]) for name in ("frequency", "IoU")}


def alike(one: Mapping[str, PerHead], other: Mapping[str, PerHead]) -> bool:
    """Returns whether two profiles give the same values, up to what the rounding of a machine moves."""
    return all(
        one[name].shape == other[name].shape and np.allclose(one[name], other[name], rtol=0, atol=ROUNDING)
        for name in other
    )


def weights_of(lvlm: Lvlm) -> str:
    """Returns the SHA-256 of a shipped model's weights; of others, their name."""
    return verify(SPECIMENS[lvlm.name])[MODEL] if lvlm.name in SPECIMENS else lvlm.name


def records_for(lvlm: Lvlm, profiled: xr.Dataset, folder: Path | str, few: int, seed: int = 0) -> Kept:
    """Reads the specimen's records, or makes some for a specimen whose weights or heads differ from theirs.

    What is returned is said on stdout. For a model that did not learn to answer questions about these scenes
    it is the specimen's records, too; `Kept.weights` tells.

    Args:
        lvlm: The model.
        profiled: The profile from which its heads are ranked.
        folder: Where what is made is kept.
        few: Pairs of questions, where trials are made.
        seed: Of the selection and the random heads.
    """
    kept = load(RECORDS)
    if lvlm.name not in SPECIMENS:
        print(
            f"{lvlm.name} did not learn to answer questions about these scenes: the specimen's records follow"
        )
        return kept
    values = values_of(profiled, seed)
    if (kept.weights, kept.seed) == (weights_of(lvlm), seed) and alike(values, kept.values):
        print(f"records of {lvlm.name}, kept with the package")
        return kept
    print(f"heads, seed or weights differ from those of the records: trials on {few} pictures are made now")
    pairs = {"text": few, "single": few // 4, "everywhere": few // 4}
    return run(lvlm, values, folder, pairs, seed, FEW_DRAWS)


def run(
    lvlm: Lvlm,
    values: Mapping[str, PerHead],
    folder: Path | str,
    pairs: Mapping[str, int],
    seed: int = 0,
    draws: int = DRAWS,
) -> Kept:
    """Makes all trials, or resumes: each pair has a file in `folder`, named after what it depends on.

    Args:
        lvlm: The specimen, or a model that knows its words.
        values: From `values_of`.
        folder: Of the files.
        pairs: Pairs of questions for each part.
        seed: Of the random choices.
        draws: Random choices per number of heads.
    """
    rankings = rankings_of(values)
    names = {name: ",".join(map(str, heads)) for name, heads in rankings.items()}
    origin = json.dumps([weights_of(lvlm), names, seed, draws])
    folder = Path(folder) / hashlib.sha256(origin.encode()).hexdigest()[:12]
    means = mean_outputs(lvlm)
    parts = {
        name: records_of(made, list(_outcomes(lvlm, made, means, folder, name, pairs[name])))
        for name, made in trials(rankings, lvlm.heads, seed, draws=draws).items()
    }
    return Kept(weights_of(lvlm), values, seed, parts)


def _outcomes(
    lvlm: Lvlm, made: Sequence[Trial], means: Means, folder: Path, name: str, count: int
) -> Iterator[Outcome]:
    with progress(count, f"trials, {name}") as bar:
        for number, pair in enumerate(draw_pairs(count)):
            path = folder / f"{name}-{number:04d}.npz"
            if not path.exists():
                with replacing(path) as partial:
                    np.savez(partial, **vars(measure(lvlm, pair, made, means)))
            with np.load(path) as file:
                yield Outcome(**file)
            bar.update()


def save(path: Path, kept: Kept) -> None:
    """Writes records compactly: truth values as bits, log-probabilities as hundredths of a nat."""
    origin = {"weights": kept.weights, "seed": kept.seed, "values": list(kept.values)}
    arrays: dict[str, Any] = {"origin": np.frombuffer(json.dumps(origin).encode(), np.uint8)}
    arrays |= kept.values
    for part, records in kept.parts.items():
        for name in ("right", "follows"):
            arrays[f"{part}_{name}"] = np.packbits(getattr(records, name), axis=1)
        for name in ("answer", "rival"):
            values = np.round(HUNDREDTHS * getattr(records, name))
            arrays[f"{part}_{name}"] = np.clip(values, -32768, 0).astype(np.int16)
    with replacing(path) as partial:
        np.savez_compressed(partial, **arrays)


def load(path: Path) -> Kept:
    """Reads what `save` wrote.

    Raises:
        LocheadsError: The file is missing or damaged.
    """
    command = "python -m locheads.studies.causes_records"
    try:
        with np.load(path) as file:
            arrays = dict(file)
        origin = json.loads(arrays["origin"].tobytes())
        values = {name: arrays[name] for name in origin["values"]}
    except FileNotFoundError:
        raise LocheadsError(f"{path}: not there; make it with `{command}`") from None
    except (OSError, ValueError, KeyError) as error:
        raise LocheadsError(f"{path}: damaged ({error}); make it again with `{command}`") from error
    per_layer = values["frequency"].shape[1]
    parts = {
        part: _unpacked(made, {name: arrays[f"{part}_{name}"] for name in Records.ARRAYS})
        for part, made in trials(rankings_of(values), per_layer, origin["seed"]).items()
    }
    return Kept(origin["weights"], values, origin["seed"], parts)


def _unpacked(made: Sequence[Trial], arrays: Mapping[str, np.ndarray]) -> Records:
    questions = arrays["answer"].shape[1]
    bits = {n: np.unpackbits(arrays[n], axis=1, count=questions).astype(bool) for n in ("right", "follows")}
    nats = {name: arrays[name] / HUNDREDTHS for name in ("answer", "rival")}
    return Records(tuple(made), **bits, **nats)


def main() -> None:
    """Makes the specimen's records, or resumes."""
    from locheads.model.loading import load_lvlm

    lvlm, samples = load_lvlm("specimen"), read_samples("specimen", "refcoco", "train", limit=500, seed=0)
    runs = place.root() / "runs" / "specimen"
    profiled = profile(lvlm, samples, runs / "profile-refcoco-train-500-0")
    kept = run(lvlm, values_of(profiled), runs / "causes", PAIRS)
    save(RECORDS, kept)


if __name__ == "__main__":
    main()
