"""What share of a profile do attention sums, entropies and IoUs take?

    make bench                                      # or
    python benchmarks/analysis.py --maps 4096 --samples 32

Three tables:

- microseconds per map of each measure, by the package and by a loop over heads with SciPy, one map after the
  other; both must give the same numbers. The maps are 24 × 24, half of them noise and half smoothed: more and
  smaller components than the specimen's maps have;
- the share of the analysis in a whole profile on the specimen: the profile is computed into a new store, then
  its maps are judged once more; the ratio is to be at most 10 %, or the script fails;
- the same share at the shape of LLaVA-1.5-7B (32 × 32 heads, 24 × 24 maps), counted: the microseconds per map
  times 1024, beside the decoder's operations at the speed at which this machine multiplies matrices. A real
  forward pass is slower than that, so the share is an upper bound.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import locheads.model  # noqa: F401  mends torchvision before transformers is imported

# isort: split
import numpy as np
import pandas as pd
import torch
from scaling import Sizes, decoder_operations
from scipy import ndimage

from locheads.data import read_samples
from locheads.method.criteria import attention_sum, spatial_entropy
from locheads.method.head_iou import iou_per_head
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import coverage_of
from locheads.profiling.criteria_cuda import SIGMA
from locheads.profiling.profile import profile

MOST = 0.10
"""Largest admissible share of the analysis in a profile on the specimen."""
HEADS = 1024
DECODER = Sizes(32, 4096, 11008, 32)
TOKENS = 576 + 16
"""Of LLaVA-1.5-7B: the image's and those of a short prompt."""

Numbers = dict[str, np.ndarray]


def made_up(count: int, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Maps of `count / 64` samples of 64 heads, and the share of each cell that the object covers."""
    rng = np.random.default_rng(0)
    maps = rng.gamma(0.5, size=(count // 64, 64, side, side))
    maps[:, ::2] = ndimage.gaussian_filter(maps[:, ::2], (0, 0, 1, 1))
    maps /= 3 * maps.sum(axis=(-2, -1), keepdims=True)
    coverage = np.zeros((len(maps), side, side))
    for one in coverage:
        top, left = rng.integers(0, side - 8, 2)
        one[top : top + 8, left : left + 8] = 1
    return maps.astype(np.float32), coverage


def loop(maps: np.ndarray, coverage: np.ndarray) -> Numbers:
    """The reference: one map after the other."""
    sums, entropies, ious = (np.empty(maps.shape[:2]) for _ in range(3))
    for sample, head in np.ndindex(maps.shape[:2]):
        one, target = maps[sample, head], coverage[sample] >= 0.5
        sums[sample, head] = one.sum(dtype=np.float64)
        labels, _ = ndimage.label(one > one.mean(dtype=np.float64), np.ones((3, 3)))
        areas = np.bincount(labels.ravel())[1:]
        shares = areas / areas.sum()
        entropies[sample, head] = -(shares * np.log(shares)).sum()
        above = one > one.mean(dtype=np.float64)
        ious[sample, head] = (above & target).sum() / (above | target).sum()
    return {"attention sum": sums, "spatial entropy": entropies, "IoU": ious}


def measures(coverage: np.ndarray) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """What a profile computes of its maps: the IoU is that of maps as they are, unsmoothed."""
    return {
        "attention sum": attention_sum,
        "spatial entropy": spatial_entropy,
        "IoU": lambda maps: iou_per_head(maps, coverage, sigma=SIGMA["raw"]),
    }


def analysed(maps: np.ndarray, coverage: np.ndarray) -> tuple[dict[str, float], Numbers]:
    """Seconds and outcome of each of `measures`."""
    seconds, found = {}, {}
    for name, measure in measures(coverage).items():
        start = time.perf_counter()
        found[name] = measure(maps)
        seconds[name] = time.perf_counter() - start
    return seconds, found


def per_map(count: int, repeats: int) -> pd.Series:
    """Median microseconds per map of each measure, of their sum and of the loop."""
    maps, coverage = made_up(count)
    rows = []
    for _ in range(repeats):
        start = time.perf_counter()
        expected = loop(maps, coverage)
        looped = time.perf_counter() - start
        seconds, found = analysed(maps, coverage)
        for name, values in expected.items():
            np.testing.assert_allclose(found[name], values, rtol=1e-12, atol=1e-12, err_msg=name)
        rows.append({**seconds, "all": sum(seconds.values()), "loop over heads": looped})
    return pd.DataFrame(rows).median() * 1e6 / maps[..., 0, 0].size


def specimen_shares(samples: int, repeats: int, data: str) -> pd.DataFrame:
    """Seconds of whole profiles on the specimen, of the analysis of their maps, and the share."""
    lvlm = load_lvlm("specimen")
    chosen = read_samples(data, "refcoco", "train", limit=samples)
    rows = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            profiled = profile(lvlm, chosen, Path(folder) / "store")
            whole = time.perf_counter() - start
            maps = profiled["maps"].values  # [sample layer head row column], all in memory
        coverage = np.stack([coverage_of(lvlm, sample) for sample in chosen])
        seconds, _ = analysed(maps, coverage)
        analysis = sum(seconds.values())
        rows.append({"profile_s": whole, "analysis_s": analysis, "share": analysis / whole})
    return pd.DataFrame(rows).assign(samples=samples, cores=len(os.sched_getaffinity(0)))


def multiplications_per_second(width: int = 4096, repeats: int = 5) -> float:
    """The best speed at which torch multiplies `TOKENS` rows with a square matrix, in operations/s."""
    rows, matrix = torch.ones(TOKENS, width), torch.ones(width, width)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        rows @ matrix
        seconds.append(time.perf_counter() - start)
    return 2 * TOKENS * width**2 / min(seconds)


def main() -> None:
    """Prints the three tables, and writes the second one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=16384, help="how many maps, a multiple of 64")
    parser.add_argument("--samples", type=int, default=128, help="samples of the specimen's profile")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--data", default="specimen", help="folder of the data sets, or specimen")
    given = parser.parse_args()

    micros = per_map(given.maps, given.repeats)
    print("microseconds per map of 24 × 24:", micros.round(1).to_string(), sep="\n")

    table = specimen_shares(given.samples, given.repeats, given.data)
    path = Path(__file__).parent / "results" / "analysis.csv"
    path.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(path, index=False)
    share = table["share"].median()
    print("", "profiles on the specimen:", table.round(3).to_string(index=False), sep="\n")
    print(f"share of the analysis: median {share:.1%}, at most {MOST:.0%} wanted")

    analysis = HEADS * micros["all"] / 1e6
    forward = decoder_operations(DECODER, TOKENS) / multiplications_per_second()
    print(
        f"\nLLaVA-1.5-7B, counted per sample: analysis {analysis * 1e3:.0f} ms, forward pass at least"
        f" {forward:.1f} s, share at most {analysis / (analysis + forward):.2%}"
    )
    if share > MOST:
        raise SystemExit(f"the analysis takes {share:.1%} of a profile")


if __name__ == "__main__":
    main()
