"""`locheads merge-delta`: base and difference give the model, and what does not belong together is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from llava_layout import make, write
from safetensors.torch import load_file, save_file
from test_llava_layout import maps_of
from tiny_models import make_tokenizer
from typer.testing import CliRunner

from locheads.cli import app
from locheads.errors import LocheadsError
from locheads.model.original.delta import merge
from locheads.model.original.weights import read

WORDS = ("model.embed_tokens.weight", "lm_head.weight")


@pytest.fixture
def three(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Base in one file, the difference to it in two shards, and the model that the two were made from."""
    model = make("linear", make_tokenizer("<image>", "<im_start>", "<im_end>"))
    whole = write(tmp_path / "whole", model, "clip", "linear")
    weights = read(whole)
    base, delta = tmp_path / "base", tmp_path / "delta"
    base.mkdir()
    (base / "config.json").write_text('{"model_type": "llama"}')
    old = {key: torch.randn_like(tensor) for key, tensor in weights.items() if "mm_projector" not in key}
    old |= {key: old[key][:-3].clone() for key in WORDS}
    inverse = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)}
    save_file(old | inverse, base / "model.safetensors", metadata={"format": "pt"})
    shutil.copytree(whole, delta)
    for file in delta.glob("*.bin"):
        change = torch.load(file)
        for key in set(change) & set(old):
            change[key][: len(old[key])] -= old[key]
        torch.save(change, file)
    return base, delta, whole


def test_the_sum_gives_the_maps_of_the_model(three: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, delta, whole = three
    result = CliRunner().invoke(app, ["merge-delta", str(base), str(delta), str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    merged, right = read(tmp_path / "out"), read(whole)
    assert set(merged) == set(right) and f"{len(right)} weights" in result.output
    for key, tensor in merged.items():
        torch.testing.assert_close(tensor, right[key], atol=1e-6, rtol=0)
    torch.testing.assert_close(maps_of(tmp_path / "out"), maps_of(whole), atol=1e-5, rtol=0)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == {f"model-0000{i}-of-00002.safetensors" for i in (1, 2)}
    assert set(index["weight_map"]) == set(right)
    assert not list(tmp_path.glob(".*partial*"))


def test_half_precision_is_added_in_half_precision(three: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, delta, _ = three
    for file in delta.glob("*.bin"):
        torch.save({key: tensor.half() for key, tensor in torch.load(file).items()}, file)
    merge(str(base), str(delta), str(tmp_path / "out"))
    key = "model.layers.1.mlp.up_proj.weight"
    expected = read(delta)[key] + read(base)[key].half()
    assert read(tmp_path / "out")[key].dtype == torch.float16
    torch.testing.assert_close(read(tmp_path / "out")[key], expected, atol=0, rtol=0)


def test_nothing_is_overwritten(three: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, delta, whole = three
    before = {file.name: file.read_bytes() for file in whole.iterdir()}
    for out in (whole, delta, base / "config.json"):
        with pytest.raises(LocheadsError, match=f"{out}: already exists"):
            merge(base, delta, out)
    assert {file.name: file.read_bytes() for file in whole.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.norm.weight": torch.ones(40)}, r"model\.norm\.weight has 40 and 48 values in .*base and "),
        ({"model.norm.weight": None}, r"base: model\.norm\.weight is missing"),
        ({"model.layers.9.mlp.up_proj.weight": torch.ones(2, 2)}, r"1 weights of .*base have no counterpart"),
        ({WORDS[0]: torch.ones(900, 48)}, r"embed_tokens\.weight has 900×48 and \d+×48 values in "),
    ],
)
def test_weights_that_do_not_belong_together_are_named(
    change: dict[str, torch.Tensor | None], message: str, three: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    base, delta, _ = three
    file = base / "model.safetensors"
    weights = {key: one for key, one in (load_file(file) | change).items() if one is not None}
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(LocheadsError, match=message):
        merge(base, delta, tmp_path / "out")
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*partial*"))


def test_folders_without_a_model_are_named(three: tuple[Path, Path, Path], tmp_path: Path) -> None:
    base, delta, _ = three
    with pytest.raises(LocheadsError, match="nowhere: no config.json; give the folder of a model"):
        merge(tmp_path / "nowhere", delta, tmp_path / "out")
    next(delta.glob("*-00002-*.bin")).write_bytes(b"")
    with pytest.raises(LocheadsError, match="pytorch_model-00002-of-00002.bin: the file is empty"):
        merge(base, delta, tmp_path / "out")
