"""The helper that notebooks open with: where stores lie, and what is read from a notebook's variables."""

from __future__ import annotations

from pathlib import Path

import pytest

from locheads.errors import LocheadsError
from locheads.run import outputs
from locheads.run.parameters import declared
from locheads.run.study import open_study, profile_store, reopen

PARAMETERS = {
    "world": "mine", "model": "specimen", "revision": None, "prompt": None, "device": "cpu",
    "dtype": "float32", "batch": 2, "data": "specimen", "seed": 3, "unrelated": object(),
}  # fmt: skip


def test_a_store_lies_in_the_folder_of_its_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    place = profile_store("mine", "refcoco+", "val", None, 3)
    assert place == tmp_path / "runs" / "mine" / "profile-refcoco+-val-None-3"
    with pytest.raises(LocheadsError, match="plain name"):
        profile_store("../elsewhere", "refcoco", "val", 5, 0)


def test_samples_and_profile_are_those_of_the_parameters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    study = open_study("01_head_profiling", PARAMETERS)
    assert "seed 3" in capsys.readouterr().out
    chosen, profiled = study.profile("refcoco", "val", 2)
    assert [s.sample_id for s in chosen] == profiled.sample.values.tolist()
    assert [s.sample_id for s in study.samples("refcoco", "val", 2)] == [s.sample_id for s in chosen]
    assert (tmp_path / "runs" / "mine" / "profile-refcoco-val-2-3").is_dir()
    study.save_results({"n": 2})
    assert outputs.load_results("mine", "01_head_profiling") == {"n": 2}
    study.claim("may fail elsewhere", False)


def test_worlds_that_share_their_stores_profile_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "ROOT", tmp_path)
    for world in ("one", "two"):
        outputs.share_stores(world, "both.stores")
    first = open_study("03_grounding", {**PARAMETERS, "world": "one"})
    _, profiled = first.profile("refcoco", "val", 2)
    monkeypatch.setattr("locheads.profiling.profile.judged", None)  # what computes is not called again
    _, again = open_study("03_grounding", {**PARAMETERS, "world": "two"}).profile("refcoco", "val", 2)
    assert again.equals(profiled)
    assert [one.name for one in (tmp_path / "runs").glob("*/profile-*")] == ["profile-refcoco-val-2-3"]
    assert outputs.stores_of("three") == "three"
    outputs.share_stores("one", "other.stores")
    assert outputs.stores_of("one") == "other.stores"


def test_a_world_that_is_no_name_is_refused_before_the_model_is_loaded() -> None:
    with pytest.raises(LocheadsError, match="plain name"):
        open_study("01_head_profiling", {**PARAMETERS, "world": "", "model": "not there"})


def test_a_study_is_reopened_with_the_parameters_of_its_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    study = reopen("15")
    path = outputs.ROOT / "notebooks" / "15_across_models.ipynb"
    assert (study.notebook, study.world) == ("15_across_models", "specimen")
    assert study.parameters == declared(path) and study.parameters["held_out"] == 200
    assert "Saved under" not in capsys.readouterr().out
    with pytest.raises(LocheadsError, match="no notebook '99'"):
        reopen("99")


def test_what_is_not_defined_is_saved_as_none() -> None:
    assert outputs.defined(float("nan")) is None and outputs.defined(0.0) == 0.0
