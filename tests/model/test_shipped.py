"""Weights are what their hashes say, or they are not loaded."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest
import torch

from locheads.errors import LocheadsError
from locheads.model.shipped import SUMS, WEIGHTS, load_weights, save_weights, seal, sha256, verify

TENSORS = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([True, False])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_weights(tmp_path / "model", TENSORS)
    return tmp_path / "model"


def test_a_round_trip_keeps_every_tensor(folder: Path) -> None:
    loaded = load_weights(folder)
    assert loaded.keys() == TENSORS.keys()
    assert all(torch.equal(loaded[name], TENSORS[name]) for name in TENSORS)
    assert sorted(path.name for path in folder.iterdir()) == [SUMS, "model.safetensors"]


def test_the_hash_is_that_of_the_bytes_in_the_format_of_sha256sum(folder: Path) -> None:
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert sha256(folder / "model.safetensors") == digest
    assert (folder / SUMS).read_text() == f"{digest}  model.safetensors\n"


def test_the_same_tensors_give_the_same_hash(tmp_path: Path) -> None:
    turned = {name: tensor.t().contiguous().t() for name, tensor in TENSORS.items() if name == "a"}
    assert save_weights(tmp_path / "one", {"a": TENSORS["a"]}) == save_weights(tmp_path / "two", turned)


def test_one_changed_bit_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(LocheadsError, match=r"model\.safetensors: its SHA-256 is not"):
        load_weights(folder)


def test_a_missing_list_a_missing_file_and_a_broken_list_are_refused(folder: Path) -> None:
    listed = (folder / SUMS).read_text()
    (folder / SUMS).write_text("not a list\n")
    with pytest.raises(LocheadsError, match="not lines of"):
        verify(folder)
    (folder / SUMS).write_text("")
    with pytest.raises(LocheadsError, match="its SHA-256 is not"):
        verify(folder)
    (folder / SUMS).unlink()
    with pytest.raises(LocheadsError, match=f"{SUMS}: no such file"):
        verify(folder)
    (folder / SUMS).write_text(listed)
    (folder / "model.safetensors").unlink()
    with pytest.raises(LocheadsError, match=r"model\.safetensors: no such file"):
        verify(folder)


def test_seal_lists_every_safetensors_file_and_no_other(folder: Path) -> None:
    (folder / "z.safetensors").write_bytes(b"z")
    (folder / "README.md").write_text("a card")
    with pytest.raises(LocheadsError, match=r"z\.safetensors"):
        verify(folder)
    sums = seal(folder)
    assert list(sums) == ["model.safetensors", "z.safetensors"]
    assert verify(folder) == sums


def test_a_full_disk_leaves_the_old_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_: dict[str, torch.Tensor], path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("locheads.model.shipped.save_file", half)
    with pytest.raises(LocheadsError, match="the disk is full"):
        save_weights(folder, {"a": torch.zeros(2)})
    assert torch.equal(load_weights(folder)["a"], TENSORS["a"])
    assert sorted(path.name for path in folder.iterdir()) == [SUMS, "model.safetensors"]


SHIPPED = sorted(path.parent for path in WEIGHTS.glob("*/*.safetensors"))


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda path: path.name)
def test_shipped_weights_have_the_hash_of_their_list_and_of_their_card(shipped: Path) -> None:
    sums = verify(shipped)
    card = (shipped / "README.md").read_text(encoding="utf-8")
    assert sums and all(digest in card for digest in sums.values())


def test_shipped_weights_are_small() -> None:
    assert SHIPPED
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*/*.safetensors")) < 25e6


def test_a_folder_may_be_a_text(tmp_path: Path) -> None:
    digest = save_weights(str(tmp_path / "model"), TENSORS)
    assert verify(str(tmp_path / "model")) == seal(str(tmp_path / "model")) == {"model.safetensors": digest}
    assert sha256(str(tmp_path / "model" / "model.safetensors")) == digest
    assert load_weights(str(tmp_path / "model")).keys() == TENSORS.keys()
