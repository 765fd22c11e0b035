"""Several processes write one store, or are killed while they do: counts what comes of it.

    python tests/profiling/writers.py pairs 50
    python tests/profiling/writers.py kills 50

Capture is a quick stand-in. Prints one JSON object: how many stores were equal to the undisturbed one, and
how the processes ended.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.profiling import profile as profiling

HEADS = [(3, 2), (0, 7)]


def made_up_samples(folder: Path) -> list[Sample]:
    rng = np.random.default_rng(0)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (90, 120, 3), np.uint8)).save(folder / f"{number}.png")
    polygon = [[10, 10, 60, 10, 60, 50, 10, 50]]
    return [
        Sample(f"s{i}", folder / f"{i}.png", str(i), "the ring", (120, 90), segmentation=polygon)
        for i in range(6)
    ]


def stand_in(
    lvlm: Lvlm, images: list[Image.Image], expressions: list[str], heads: None
) -> list[torch.Tensor]:
    shape = (lvlm.layers, lvlm.heads, *lvlm.grid)
    rngs = [np.random.default_rng(int(np.asarray(image).sum())) for image in images]
    return [torch.tensor(rng.random(shape) ** 4 / np.prod(lvlm.grid), dtype=torch.float32) for rng in rngs]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Bench:
    """Starts writers of stores in a folder, as forks of a process that has loaded the model."""

    def __init__(self, root: Path) -> None:
        torch.set_num_threads(1)
        profiling.PART, profiling.capture_each = 2, stand_in  # type: ignore[assignment]
        os.environ["LOCHEADS_HEADLESS"] = os.devnull
        self.root, self.lvlm, self.samples = root, load_lvlm("specimen"), made_up_samples(root)
        start = time.monotonic()
        assert self.end(self.start(root / "undisturbed" / "store")) == 0
        self.seconds = time.monotonic() - start
        self.whole = tree(root / "undisturbed")

    def start(self, store: Path, delay: float = 0) -> int:
        """Starts a writer; returns its process id."""
        if child := os.fork():
            return child
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            time.sleep(delay)
            profiling.profile(self.lvlm, self.samples, store, HEADS)
            status = 0
        except LocheadsError as error:
            print(error, file=sys.stderr)
            status = 2
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)

    def end(self, process: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])

    def pair(self, number: int, rng: np.random.Generator) -> list[int]:
        """Two writers, together or within 50 ms."""
        store = self.root / f"pair{number}" / "store"
        delay = 0.0 if number % 2 else float(rng.uniform(0, 0.05))
        return [self.end(one) for one in [self.start(store), self.start(store, delay)]]

    def kill(self, number: int, rng: np.random.Generator) -> list[int]:
        """A writer killed at a random moment, and another one that ends."""
        store = self.root / f"kill{number}" / "store"
        first = self.start(store)
        time.sleep(float(rng.uniform(0, self.seconds)))
        os.kill(first, signal.SIGKILL)
        return [self.end(first), self.end(self.start(store))]

    def count(self, what: str, repeats: int) -> dict[str, object]:
        rng, endings, equal = np.random.default_rng(7), Counter[str](), 0
        for number in range(repeats):
            endings[str((self.pair if what == "pairs" else self.kill)(number, rng))] += 1
            folder = self.root / f"{what[:-1]}{number}"
            # Beside the store may be left the lock of one killed after its last file: it blocks nobody.
            left = {name: content for name, content in tree(folder).items() if name != ".store.lock"}
            equal += left == self.whole
        return {"repeats": repeats, "equal": equal, "endings": dict(endings)}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as root:
        print(json.dumps(Bench(Path(root)).count(sys.argv[1], int(sys.argv[2]))))
