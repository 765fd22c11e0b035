"""A store is whole whatever happens to its writers and its files. `LOCHEADS_REPEATS=50` tries harder."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from writers import HEADS, made_up_samples, stand_in, tree

from locheads.data.samples import Sample
from locheads.errors import LocheadsError
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.profiling import profile as profiling
from locheads.profiling import store as stores
from locheads.profiling.profile import profile
from locheads.profiling.store import read_profile

REPEATS = int(os.environ.get("LOCHEADS_REPEATS", "3"))


@pytest.fixture(scope="module")
def lvlm() -> Lvlm:
    return load_lvlm("specimen")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    return made_up_samples(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "PART", 2)
    monkeypatch.setattr(profiling, "capture_each", stand_in)


@pytest.mark.slow
@pytest.mark.parametrize(("what", "endings"), [("pairs", {"[0, 0]"}), ("kills", {"[-9, 0]", "[0, 0]"})])
def test_two_writers_or_a_killed_one_leave_the_undisturbed_store(what: str, endings: set[str]) -> None:
    """A writer that is to be killed may end before."""
    script = Path(__file__).with_name("writers.py")
    ran = subprocess.run(
        [sys.executable, script, what, str(REPEATS)], stdout=subprocess.PIPE, text=True, check=True
    )
    found = json.loads(ran.stdout)
    assert found["equal"] == found["repeats"] == REPEATS
    assert set(found["endings"]) <= endings


def delete(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.slow
def test_every_damaged_file_is_named_and_mended(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile(lvlm, samples, tmp_path / "whole", HEADS)
    whole, store = tree(tmp_path / "whole"), tmp_path / "store"
    assert len(whole) == 31  # 8 of labels and attributes, 4 of arrays, 1 of the manifest; 15 chunks, 4 lists
    capsys.readouterr()
    wrong = []
    for name, damage in product(whole, (delete, cut, empty, flip)):
        shutil.copytree(tmp_path / "whole", store)
        damage(store / name)
        with pytest.raises(LocheadsError, match="missing or damaged|samples done") as refused:
            read_profile(store)
        profile(lvlm, samples, store, HEADS)
        said = capsys.readouterr().out
        if name not in said or "\n" in str(refused.value) or tree(store) != whole:
            wrong.append((name, damage.__name__, said))
        shutil.rmtree(store)
    assert not wrong
    xr.testing.assert_identical(read_profile(tmp_path / "whole"), profile(lvlm, samples, tmp_path / "whole"))


def test_only_the_damaged_part_is_computed_again(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "store"
    profile(lvlm, samples, place, HEADS)
    asked: list[int] = []

    def counted(*arguments: list[Sample]) -> list[object]:
        asked.append(len(arguments[1]))
        return stand_in(*arguments)  # type: ignore[arg-type,return-value]

    monkeypatch.setattr(profiling, "capture_each", counted)
    flip(place / "iou" / "c" / "1" / "0" / "0")
    profile(lvlm, samples, place, HEADS)
    assert asked == [2]
    delete(place / "sample" / "c" / "0")
    assert profile(lvlm, samples, place).sample.values.tolist() == [f"s{i}" for i in range(6)]
    assert asked == [2]


def test_a_store_that_cannot_be_told_is_computed_again(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "store"
    profile(lvlm, samples, place, HEADS)
    whole = tree(place)
    zarr.open_array(place, path="iou", mode="r+")[:] = 0.5
    delete(place / "manifest" / "store.sha256")
    cut(place / "zarr.json")
    profile(lvlm, samples, place, HEADS)
    assert f"{place}: all of it is computed again" in capsys.readouterr().out
    assert tree(place) == whole


def test_a_finished_profile_is_read_and_others_are_refused(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(LocheadsError, match="nowhere: not a profile"):
        read_profile(tmp_path / "nowhere")
    xr.Dataset({"iou": ("sample", np.ones(4))}).to_zarr(tmp_path / "other", consolidated=False)
    with pytest.raises(LocheadsError, match="other: not a profile"):
        read_profile(tmp_path / "other")
    with pytest.raises(LocheadsError, match="other: not a profile; name another store"):
        profile(lvlm, samples, tmp_path / "other")
    made = profile(lvlm, samples[:5], tmp_path / "store")
    xr.testing.assert_identical(read_profile(str(tmp_path / "store")), made)
    delete(tmp_path / "store" / "manifest" / "part-2.sha256")
    with pytest.raises(LocheadsError, match="4 of 5 samples done; call `locheads profile` again"):
        read_profile(tmp_path / "store")


def test_weights_in_another_order_are_other_weights(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path
) -> None:
    profile(lvlm, samples, tmp_path / "store", "none")
    rows = max(lvlm.model.parameters(), key=lambda one: one.numel()).data
    before = rows.clone()
    rows.copy_(before.flip(0))
    try:
        with pytest.raises(LocheadsError, match="store: made with weights '.*', asked for weights '"):
            profile(lvlm, samples, tmp_path / "store")
    finally:
        rows.copy_(before)
    profile(lvlm, samples, tmp_path / "store")


def test_a_picture_replaced_under_its_name_is_another(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path
) -> None:
    (tmp_path / "pictures").mkdir()
    own = made_up_samples(tmp_path / "pictures")
    profile(lvlm, own, tmp_path / "store", "none")
    shutil.copy(own[1].image_path, own[0].image_path)
    with pytest.raises(
        LocheadsError, match=r"store: made with pictures .* \(checksums of the picture files\)"
    ):
        profile(lvlm, own, tmp_path / "store")


def test_a_full_disk_names_the_store_and_keeps_what_is_done(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, listing, failing = tmp_path / "stores" / "store", stores.checksums.write_list, "store"

    def full(store: Path, name: str, paths: list[Path]) -> None:
        if name == failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        listing(store, name, paths)

    with monkeypatch.context() as patch:
        patch.setattr(stores.checksums, "write_list", full)
        with pytest.raises(LocheadsError, match="store: the disk is full"):
            profile(lvlm, samples, place, "none")
        assert list(place.parent.iterdir()) == [], "no unfinished store"
        failing = "part-1"
        with pytest.raises(LocheadsError) as refused:
            profile(lvlm, samples, place, "none")
    complaint = "the disk is full; free some space and run again (finished samples are kept)"
    assert str(refused.value) == f"{place}: {complaint}"
    with pytest.raises(LocheadsError, match="2 of 6 samples done"):
        read_profile(place)
    profile(lvlm, samples, place)
    assert read_profile(place).iou.notnull().all()
