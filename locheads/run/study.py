"""What every notebook of the study needs: its model, its samples and profiles, and where its outcome goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from locheads import paper
from locheads.errors import LocheadsError
from locheads.run import outputs, recorded
from locheads.run.own_list import Splits, own_list, splits_of
from locheads.run.parameters import check_ranges, declared

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from locheads.data.samples import Sample
    from locheads.model.lvlm import Lvlm
    from locheads.model.segmenter import Segmenter


def profile_store(world: str, dataset: str, split: str, samples: int | None, seed: int) -> Path:
    """Returns where the profile store of a world lies: `runs/<world>/profile-<dataset>-<split>-…`.

    A world that shares the stores of another (`outputs.share_stores`) has them in that one's folder.
    """
    folder = outputs.ROOT / "runs" / outputs.stores_of(world)
    return folder / f"profile-{dataset}-{split}-{samples}-{seed}"


@dataclass(frozen=True)
class Study:
    """One notebook of the study, as its parameters say.

    Attributes:
        notebook: Its name without suffix, as in `"01_head_profiling"`.
        parameters: Its parameters by name. Of a notebook's variables only these are read: `world`, `model`,
            `revision`, `prompt`, `device`, `dtype`, `batch`, `segmenter`, `data`, `seed`.
        lvlm: The frozen model.
    """

    notebook: str
    parameters: Mapping[str, Any]
    lvlm: Lvlm

    @property
    def world(self) -> str:
        """Returns the name under which runs, results and figures are kept."""
        return str(self.parameters["world"])

    def segmenter(self) -> Segmenter | None:
        """Loads the segmenter that turns boxes into masks; the world keeps its embeddings of images.

        None where the parameter is `none`: boxes alone are scored, REC without RES.
        """
        from locheads.model.segmenter import load_segmenter

        if self.parameters["segmenter"] == "none":
            return None
        kept_in = outputs.ROOT / "runs" / outputs.stores_of(self.world)
        return load_segmenter(self.parameters["segmenter"], self.parameters["device"], kept_in)

    def samples(self, dataset: str, split: str, limit: int | None) -> list[Sample]:
        """Draws `limit` samples of a split with the notebook's seed; 0 or None takes all."""
        from locheads.data import read_samples

        data, seed = self.parameters["data"], self.parameters["seed"]
        return read_samples(data, dataset, split, limit=limit or None, seed=seed)

    def splits(self, papers: Mapping[str, tuple[str, ...]]) -> Splits:
        """Returns the data sets and splits to evaluate: the paper's, or those of a list of one's own."""
        return splits_of(self.parameters["data"], papers)

    def reported(self, task: str, model: str, dataset: str, split: str) -> float:
        """Returns the paper's number, as printed; NaN for a data set that is not the paper's."""
        try:
            return paper.reported(task, model, dataset, split).value
        except LocheadsError:
            return float("nan")

    def profile(self, dataset: str, split: str, limit: int | None) -> tuple[list[Sample], xr.Dataset]:
        """Draws samples and profiles every head on them, or reads the profile where there is one.

        Returns:
            The samples, and their profile as `profiling.profile.profile` gives it, in the same order.
        """
        from locheads.profiling.profile import profile

        chosen = self.samples(dataset, split, limit)
        store = profile_store(self.world, dataset, split, limit, self.parameters["seed"])
        return chosen, profile(self.lvlm, chosen, store, batch=self.parameters["batch"])

    def save_results(self, values: Mapping[str, Any]) -> None:
        """Saves the notebook's named numbers; see `outputs.save_results`."""
        outputs.save_results(self.world, self.notebook, values)
        recorded.record(self.world, self.notebook, self.parameters)

    def save_figure(self, figure: Figure, name: str) -> None:
        """Saves a figure as PNG and PDF; see `outputs.save_figure`."""
        outputs.save_figure(figure, self.world, name)

    def claim(self, what: str, holds: bool) -> None:
        """Prints whether a claim of the paper holds; on the specimen it has to (see `outputs.claim`)."""
        outputs.claim(self.world, what, holds)


def open_study(notebook: str, parameters: Mapping[str, Any]) -> Study:
    """Loads the model of a notebook and prints what the run is made of.

    Args:
        notebook: Its name without suffix.
        parameters: Its parameters by name; a notebook gives its `globals()`.

    Raises:
        LocheadsError: The model cannot be loaded, a value is out of its range, or the world is no plain name.
    """
    from locheads.model.loading import load_lvlm

    check_ranges(parameters)
    parameters = {**parameters, "world": recorded.world_of(notebook, parameters)}
    wanted = {name: parameters[name] for name in ("device", "dtype", "prompt", "revision")}
    if parameters.get("query") is not None:
        wanted["query"] = parameters["query"]
    lvlm = load_lvlm(parameters["model"], **wanted)
    if (own := own_list(parameters.get("data", ""))) is not None:
        print(own)
    print(f"{lvlm.name}: {lvlm.layers} layers of {lvlm.heads} heads, seed {parameters['seed']}", end="; ")
    print(f"torch {version('torch')}, transformers {version('transformers')}")
    return Study(notebook, parameters, lvlm)


def reopen(number: str) -> Study:
    """Opens the study of a notebook with that notebook's own parameters, as solutions of its exercises do.

    Args:
        number: The notebook's number, as in `"01"`.

    Raises:
        LocheadsError: There is no such notebook, or as `open_study`.
    """
    from locheads.run.runner import find_notebook

    path = find_notebook(number)
    return open_study(path.stem, declared(path))
