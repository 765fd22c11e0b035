"""How much faster than a loop over heads are attention sums, entropies and IoUs?

    make bench                                      # or
    python benchmarks/analysis.py --maps 4096

The loop is what one would write first: for each map, SciPy labels the components and blurs, numpy does the
rest, in one thread. Loop and package take turns on the same maps, and must give the same numbers. What
counts is the ratio within a turn: `ratio` of the time that passed, which needs a machine with nothing
else to do, and `cpu_ratio` of the processor's time, threads added up, which is fair on a busy one too.

The maps are 24 × 24, as LLaVA-1.5's, half of them noise and half smoothed: more and smaller components than
the specimen's maps have.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from locheads.method.criteria import attention_sum, spatial_entropy
from locheads.method.grounding import iou_per_head

Numbers = tuple[np.ndarray, np.ndarray, np.ndarray]


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
    """One map after the other."""
    sums, entropies, ious = (np.empty(maps.shape[:2]) for _ in range(3))
    for sample, head in np.ndindex(maps.shape[:2]):
        one, target = maps[sample, head], coverage[sample] >= 0.5
        sums[sample, head] = one.sum(dtype=np.float64)
        labels, _ = ndimage.label(one > one.mean(dtype=np.float64), np.ones((3, 3)))
        areas = np.bincount(labels.ravel())[1:]
        shares = areas / areas.sum()
        entropies[sample, head] = -(shares * np.log(shares)).sum()
        blurred = ndimage.gaussian_filter(one.astype(np.float64), 1.0, mode="mirror", radius=3)
        above = blurred > blurred.mean()
        ious[sample, head] = (above & target).sum() / (above | target).sum()
    return sums, entropies, ious


def package(maps: np.ndarray, coverage: np.ndarray) -> Numbers:
    """The same, as the profile does it."""
    return attention_sum(maps), spatial_entropy(maps), iou_per_head(maps, coverage)


def timed(
    run: Callable[[np.ndarray, np.ndarray], Numbers], *given: np.ndarray
) -> tuple[float, float, Numbers]:
    """Seconds that passed, seconds of processor time, and outcome."""
    start, start_cpu = time.perf_counter(), time.process_time()
    found = run(*given)
    return time.perf_counter() - start, time.process_time() - start_cpu, found


def main() -> None:
    """Prints and writes the table, one row a turn."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--maps", type=int, default=16384, help="how many maps, a multiple of 64")
    parser.add_argument("--repeats", type=int, default=9)
    given = parser.parse_args()
    maps, coverage = made_up(given.maps)
    package(maps[:8], coverage[:8])  # compiles, or reads what was compiled before
    columns = ["repeat", "loop_s", "package_s", "ratio", "loop_cpu_s", "package_cpu_s", "cpu_ratio"]
    rows = []
    for repeat in range(given.repeats):
        slow, slow_cpu, expected = timed(loop, maps, coverage)
        fast, fast_cpu, found = timed(package, maps, coverage)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
        rows.append([repeat, slow, fast, slow / fast, slow_cpu, fast_cpu, slow_cpu / fast_cpu])
    table = pd.DataFrame(rows, columns=columns).assign(maps=given.maps, cores=len(os.sched_getaffinity(0)))
    path = Path(__file__).parent / "results" / "analysis.csv"
    path.parent.mkdir(exist_ok=True)
    table.round(4).to_csv(path, index=False)
    print(table.round(3).to_string(index=False))
    for name in ("ratio", "cpu_ratio"):
        low, middle, high = table[name].quantile([0.25, 0.5, 0.75])
        print(f"{name}: median {middle:.1f}, quartiles {low:.1f} to {high:.1f}")


if __name__ == "__main__":
    main()
