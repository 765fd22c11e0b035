"""Makes a submission of a world in which notebook 03 has run: with its parameters, from its profile store."""

from __future__ import annotations

import re
from contextlib import chdir
from pathlib import Path

from locheads.errors import LocheadsError
from locheads.method.selection import select_heads
from locheads.run import outputs, recorded
from locheads.run.parameters import declared
from locheads.run.runner import find_notebook
from locheads.run.study import open_study
from locheads.studies.splits import REFCOCO
from locheads.submission.make import Run, Shard, submit

NOTEBOOK = "03_grounding"


def submit_world(world: str, output: Path | str, shard: Shard) -> int:
    """Grounds every held-out expression as notebook 03 does and writes them; returns their number.

    Raises:
        LocheadsError: The notebook has not run in this world, or what it ran on is no longer there.
    """
    output = Path(output).resolve()
    given = recorded.read(outputs.checked_world(world)).get(NOTEBOOK)
    if given is None:
        raise LocheadsError(
            f"world '{world}': notebook 03 has not run in it; call `locheads run 01 03` first"
        )
    parameters = declared(find_notebook(NOTEBOOK)) | given | {"world": world}
    drawn = {name: int(parameters[name] or 0) for name in ("samples", "held_out", "seed")}
    with chdir(outputs.ROOT / "notebooks"):  # from where paths among the parameters count
        study = open_study(NOTEBOOK, parameters)
        train, profiled = study.profile("refcoco", "train", parameters["samples"])
        sums, entropies = profiled.attention_sum.values, profiled.spatial_entropy.values
        selection = select_heads(sums, entropies, k=parameters["k"], seed=drawn["seed"])
        splits = {
            (dataset, split): study.samples(dataset, split, parameters["held_out"])
            for dataset, names in study.splits(REFCOCO).items()
            for split in names
        }
        data = {"name": Path(parameters["data"]).name, **drawn}
        return submit(Run(study.lvlm, study.segmenter(), selection, train, splits, data), output, shard)


def parse_shard(text: str) -> Shard:
    """Reads which part of how many is meant, as in `2/8`.

    Raises:
        LocheadsError: The text has another form, or there is no such part.
    """
    found = re.fullmatch(r"([1-9]\d{0,5})/([1-9]\d{0,5})", text)
    if not found or int(found[1]) > int(found[2]):
        raise LocheadsError(f"shard '{text}': give which part of how many, as in 2/8")
    return int(found[1]), int(found[2])
