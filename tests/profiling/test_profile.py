"""The profile's store: what it holds, how it is taken up again, and the same from a cluster."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from PIL import Image

from locheads.data.samples import Sample, by_image
from locheads.errors import LocheadsError
from locheads.method.criteria import attention_sum, spatial_entropy
from locheads.method.head_iou import iou_per_head
from locheads.model.attention import capture
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm, coverage_of
from locheads.profiling import cluster, origin, store
from locheads.profiling import criteria_cuda as on_card
from locheads.profiling import profile as profiling
from locheads.profiling.profile import profile

EXPRESSIONS = ["the ring", "the red star", "the small ring", "the large striped star"]
IMAGES = [0, 1, 0, 2, 2, 3, 1, 0, 4, 5, 3]  # the image of each sample


@pytest.fixture(scope="module")
def lvlm() -> Lvlm:
    torch.set_num_threads(1)  # as the workers of a cluster
    return load_lvlm("specimen")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[Sample]:
    folder, rng = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for number in set(IMAGES):
        pixels = rng.integers(0, 256, (6, 8, 3), np.uint8).repeat(15, 0).repeat(15, 1)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return [
        Sample(
            sample_id=f"s{place}",
            image_path=folder / f"{number}.png",
            image_id=str(number),
            expression=EXPRESSIONS[place % 4],
            size=(120, 90),
            segmentation=[[10 + place, 10, 60, 10, 60, 50, 10 + place, 50]],
        )
        for place, number in enumerate(IMAGES)
    ]


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "PART", 4)
    monkeypatch.setattr(cluster, "PART", 4)


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Capture is a quick stand-in; the list grows by the expressions that it was asked for."""
    asked: list[str] = []

    def stand_in(
        lvlm: Lvlm, images: list[Image.Image], expressions: list[str], heads: None
    ) -> list[torch.Tensor]:
        asked.extend(expressions)
        seeds = [int(np.asarray(i).sum()) + 7 * len(e) for i, e in zip(images, expressions, strict=True)]
        shape, share = (lvlm.layers, lvlm.heads, *lvlm.grid), 1 / np.prod(lvlm.grid)
        maps = [np.random.default_rng(seed).random(shape) ** 4 * share for seed in seeds]
        return [torch.tensor(one, dtype=torch.float32) for one in maps]

    monkeypatch.setattr(profiling, "capture_each", stand_in)
    monkeypatch.setattr(
        profiling, "capture_image", lambda lvlm, image, some, h: stand_in(lvlm, [image] * len(some), some, h)
    )
    return asked


def test_maps_come_in_the_order_of_the_samples_also_where_images_are_shared(
    lvlm: Lvlm, samples: list[Sample]
) -> None:
    some = [samples[place] for place in (0, 4, 1, 5, 2, 8)]
    some = [*some, *(replace(some[0], expression=other.expression) for other in some[1:3])]
    counts = Counter(sample.image_id for sample in some)
    assert min(counts.values()) == 1 < max(counts.values())
    alone = [capture(lvlm, [s.image], [s.expression])[0].numpy() for s in some]
    np.testing.assert_allclose(list(profiling.maps_of(lvlm, some)), alone, atol=1e-5)


def test_maps_of_some_heads_stop_at_the_deepest_and_are_those_of_all(
    lvlm: Lvlm, samples: list[Sample]
) -> None:
    heads = [(3, 2), (0, 7), (3, 0)]
    every = [one[[3, 0, 3], [2, 7, 0]] for one in profiling.maps_of(lvlm, samples[:5])]
    ran = Counter[int]()
    hooks = [
        layer.register_forward_pre_hook(lambda *_, number=number: ran.update([number]))
        for number, layer in enumerate(lvlm.model.model.language_model.layers)
    ]
    some = list(profiling.maps_of(lvlm, samples[:5], heads=heads))
    for hook in hooks:
        hook.remove()
    assert set(ran) == {0, 1, 2, 3}
    np.testing.assert_allclose(some, every, atol=1e-6)


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_store_holds_what_the_criteria_say(lvlm: Lvlm, samples: list[Sample], tmp_path: Path) -> None:
    found = profile(lvlm, samples, tmp_path / "store")
    assert found.maps.dims == ("sample", "layer", "head", "row", "column")
    assert found.sample.values.tolist() == [sample.sample_id for sample in samples]
    for place in (0, 6, 10):
        sample = samples[place]
        maps = capture(lvlm, [sample.image], [sample.expression]).numpy()
        np.testing.assert_allclose(found.maps[place].values, maps[0], atol=1e-6)
        kept = found.maps[place].values[None]
        np.testing.assert_array_equal(found.attention_sum[place], attention_sum(kept)[0])
        np.testing.assert_array_equal(found.spatial_entropy[place], spatial_entropy(kept)[0])
        np.testing.assert_array_equal(
            found.iou[place], iou_per_head(kept, coverage_of(lvlm, sample)[None], kernel=1)[0]
        )
    assert found.attrs["model"] == "specimen" and found.attrs["maps"] == "all"
    plain = xr.open_zarr(tmp_path / "store", consolidated=False)  # as any other program sees it
    xr.testing.assert_identical(plain.iou.sortby("sample").load(), found.iou.sortby("sample").load())


def test_samples_of_an_image_lie_in_one_part_in_any_order(samples: list[Sample]) -> None:
    order = by_image(samples, 4)
    assert sorted(order) == list(range(len(samples)))
    parts = [{IMAGES[i] for i in order[start : start + 4]} for start in range(0, len(order), 4)]
    assert all(sum(image in part for part in parts) == 1 for image in set(IMAGES))
    crowded = [replace(sample, image_id="one") for sample in samples[:6]]
    assert by_image(crowded, 4) == [0, 1, 2, 3, 4, 5]
    assert by_image([replace(s, image_id=s.sample_id) for s in samples], 4) == list(range(11))


def stopping(after: int) -> Callable[..., dict[str, np.ndarray]]:
    """`judged`, which fails after some parts."""
    original, left = profiling.judged, iter(range(after))

    def stops(*arguments: Any) -> dict[str, np.ndarray]:
        if next(left, None) is None:
            raise ZeroDivisionError
        return original(*arguments)

    return stops


def test_nothing_done_is_done_again(
    lvlm: Lvlm,
    samples: list[Sample],
    captured: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = profile(lvlm, samples, tmp_path / "whole")
    assert len(captured) == 11
    profile(lvlm, samples, tmp_path / "whole")
    assert len(captured) == 11
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(profiling, "judged", stopping(after=2))  # of three parts
        profile(lvlm, samples, stopped)
    before = bytes_of(stopped)
    (stopped / "iou" / "c" / "0.abc.partial").write_bytes(b"half")  # as a killed writer leaves it
    captured.clear()
    again = profile(lvlm, samples, stopped)
    assert len(captured) == 3
    xr.testing.assert_identical(again.load(), whole.load())
    after = bytes_of(stopped)
    assert before.items() <= after.items()
    assert after == bytes_of(tmp_path / "whole")


@pytest.mark.usefixtures("captured")
def test_what_the_iou_is_taken_of_is_recorded(lvlm: Lvlm, samples: list[Sample], tmp_path: Path) -> None:
    raw = profile(lvlm, samples, tmp_path / "raw").load()
    smoothed = profile(lvlm, samples, tmp_path / "smoothed", iou_of="smoothed").load()
    coverage = np.stack([coverage_of(lvlm, sample) for sample in samples])
    np.testing.assert_array_equal(raw.iou, iou_per_head(raw.maps.values, coverage, kernel=1))
    np.testing.assert_array_equal(smoothed.iou, iou_per_head(raw.maps.values, coverage, kernel=7, sigma=1.0))
    assert (raw.attrs["iou_of"], smoothed.attrs["iou_of"]) == ("raw", "smoothed")
    assert (raw.iou != smoothed.iou).mean() > 0.5
    with pytest.raises(LocheadsError, match="made with iou_of 'smoothed', asked for iou_of 'raw'"):
        profile(lvlm, samples, tmp_path / "smoothed")


def test_a_store_of_before_is_computed_again(
    lvlm: Lvlm, samples: list[Sample], captured: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = profile(lvlm, samples, tmp_path / "store", maps="none").load()
    before = zarr.open_group(tmp_path / "store", mode="r+")
    before["iou"][:] = 0.25
    for name in ("layout", "iou_of"):
        del before.attrs[name]
    shutil.rmtree(tmp_path / "store" / "manifest")
    captured.clear()
    xr.testing.assert_identical(profile(lvlm, samples, tmp_path / "store", maps="none").load(), whole)
    said, errors = capsys.readouterr()
    assert said.splitlines()[0].startswith(f"{tmp_path / 'store'}: made by an earlier version, without")
    assert said.splitlines()[1:] == [f"{tmp_path / 'store'}: all of it is computed again"]
    assert len(captured) == len(samples)
    profile(lvlm, samples, tmp_path / "store")
    assert len(captured) == len(samples)


@pytest.mark.usefixtures("captured")
def test_maps_of_all_of_none_and_of_some_heads(lvlm: Lvlm, samples: list[Sample], tmp_path: Path) -> None:
    whole = profile(lvlm, samples, tmp_path / "all").load()
    none = profile(lvlm, samples, tmp_path / "none", maps="none")
    assert "maps" not in none
    some = profile(lvlm, samples, tmp_path / "some", maps=[(3, 2), (0, 7)])
    xr.testing.assert_identical(some.spatial_entropy.load(), whole.spatial_entropy)
    xr.testing.assert_identical(some.maps[:, 3, 2].load(), whole.maps[:, 3, 2])
    kept = np.isfinite(some.maps.values).all((-2, -1))
    assert (kept.sum(), kept[:, 3, 2].all(), kept[:, 0, 7].all()) == (22, True, True)
    assert profile(lvlm, samples, tmp_path / "some").attrs["maps"] == "L0H7,L3H2"  # read as it is
    with pytest.raises(LocheadsError, match="made with maps 'L0H7,L3H2', asked for maps 'all'"):
        profile(lvlm, samples, tmp_path / "some", maps="all")
    with pytest.raises(LocheadsError, match="no head L12H0"):
        profile(lvlm, samples, tmp_path / "new", maps=[(12, 0)])


def test_whose_maps_to_keep_is_read_like_the_heads_of_ground() -> None:
    assert origin.kept_heads("all") == "all" and origin.kept_heads("none") == "none"
    assert origin.kept_heads("l3 h2, L0H7") == ((3, 2), (0, 7))
    with pytest.raises(LocheadsError, match="maps '3,2': give all, none, or heads as in L3H2,L4H1"):
        origin.kept_heads("3,2")


@pytest.mark.usefixtures("captured")
@pytest.mark.parametrize("kept", ["all", "none", [(3, 2), (0, 7)]])
def test_a_card_writes_the_same_store_and_gives_only_the_maps_that_are_kept(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: origin.Kept
) -> None:
    some = [*samples[:3], replace(samples[3], segmentation=None), *samples[4:]]
    expected = profile(lvlm, some, tmp_path / "host", maps=kept).load()
    left: list[int] = []

    def on_host(maps: list[torch.Tensor]) -> list[torch.Tensor]:
        left.extend(one.numel() for one in maps)
        return maps

    monkeypatch.setattr(profiling, "on_host", on_host)
    monkeypatch.setattr(on_card, "stay", lambda maps: True)
    found = profile(lvlm, some, tmp_path / "card", maps=kept).load()
    xr.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert found.attrs == expected.attrs
    host, card = bytes_of(tmp_path / "host"), bytes_of(tmp_path / "card")
    differing = [name for name in host if card[name] != host[name]]  # maps, labels and marks are the same
    assert host.keys() == card.keys() and all(
        name.split("/")[0] in (*store.CRITERIA, "manifest") for name in differing
    )
    heads = {"all": lvlm.layers * lvlm.heads, "none": 0}[kept] if isinstance(kept, str) else len(kept)
    assert sum(left) == len(some) * heads * np.prod(lvlm.grid)


@pytest.mark.usefixtures("captured")
def test_judged_gives_the_kept_heads_maps_in_their_order(lvlm: Lvlm, samples: list[Sample]) -> None:
    whole = profiling.judged(lvlm, samples, 3)  # over three parts
    some = profiling.judged(lvlm, samples, 16, [(3, 2), (0, 7)])
    np.testing.assert_array_equal(some["maps"], whole["maps"][:, [3, 0], [2, 7]])
    np.testing.assert_array_equal(some["iou"], whole["iou"])
    np.testing.assert_array_equal(whole["maps"], list(profiling.maps_of(lvlm, samples)))
    assert "maps" not in profiling.judged(lvlm, samples, 16, "none")


@pytest.mark.usefixtures("captured")
def test_another_model_or_data_are_refused_and_change_nothing(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path
) -> None:
    profile(lvlm, samples, tmp_path / "store")
    before = bytes_of(tmp_path / "store")
    with pytest.raises(
        LocheadsError, match="made with prompt .*, asked for prompt '<image> {expression}'; ask"
    ):
        profile(replace(lvlm, prompt="<image> {expression}"), samples, tmp_path / "store")
    with Image.open(samples[0].image_path) as picture:
        picture.transpose(Image.Transpose.ROTATE_180).save(tmp_path / "other.png")
    others = {
        "samples '11', asked for samples '9'; ask for the same, or name another store": samples[:9],
        "sample_ids .*compare data set, split and seed": [*samples[1:], samples[0]],
        "annotations .*expressions": [replace(samples[0], expression="the star"), *samples[1:]],
        "pictures .*of the picture files": [
            replace(one, image_path=tmp_path / "other.png") if one.image_id == "0" else one for one in samples
        ],
    }
    for problem, some in others.items():
        with pytest.raises(LocheadsError, match=f"store: made with {problem}"):
            profile(lvlm, some, tmp_path / "store")
    assert bytes_of(tmp_path / "store") == before
    (tmp_path / "file").mkdir()
    with pytest.raises(LocheadsError, match="not a profile"):
        profile(lvlm, samples, tmp_path / "file")


@pytest.mark.usefixtures("captured")
def test_without_a_mask_there_is_no_overlap(lvlm: Lvlm, samples: list[Sample], tmp_path: Path) -> None:
    some = [*samples[:3], replace(samples[3], segmentation=None), *samples[4:]]
    found = profile(lvlm, some, tmp_path / "store")
    missing = np.isnan(found.iou.values)
    assert missing[3].all() and missing.sum() == lvlm.layers * lvlm.heads
    assert np.isfinite(found.attention_sum.values).all()


def test_images_of_several_grids_are_refused(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed = Lvlm.window
    monkeypatch.setattr(
        Lvlm, "window", lambda self, size: replace(fixed(self, size), rows=24 if size[0] == 120 else 12)
    )
    with pytest.raises(LocheadsError, match="s1 has a grid of 12 × 24"):
        profile(lvlm, [samples[0], replace(samples[1], size=(90, 90))], tmp_path / "store")
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_a_killed_run_is_taken_up_and_ends_as_an_undisturbed_one(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path
) -> None:
    profile(lvlm, samples, tmp_path / "whole")
    (tmp_path / "samples").write_bytes(pickle.dumps(samples))
    script = (
        "import pickle, sys, torch, pathlib; from locheads.model import loading\n"
        "from locheads.profiling import profile\n"
        "torch.set_num_threads(1); profile.PART = 4; root = pathlib.Path(sys.argv[1])\n"
        "samples = pickle.loads((root / 'samples').read_bytes())\n"
        "profile.profile(loading.load_lvlm(), samples, root / 'killed')"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as process:
        wait_for(tmp_path / "killed" / "manifest" / "part-0.sha256", process)
        process.kill()
    assert not (tmp_path / "killed" / "manifest" / "part-2.sha256").exists()
    profile(lvlm, samples, tmp_path / "killed")
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_writes_the_same_store(
    lvlm: Lvlm, samples: list[Sample], tmp_path: Path
) -> None:
    profile(lvlm, samples, tmp_path / "serial")
    with cluster.connected(None, 2) as client:
        victim, other = client.run(os.getpid).values()
        killer = Thread(
            target=kill_when_it_exists, args=(victim, tmp_path / "cluster" / "manifest" / "part-0.sha256")
        )
        killer.start()
        found = cluster.profile_on(client, ("specimen", "cpu", "float32"), samples, tmp_path / "cluster")
        killer.join()
        assert victim != other and victim not in client.run(os.getpid, on_error="ignore").values()
    assert found.sample.values.tolist() == [sample.sample_id for sample in samples]
    assert bytes_of(tmp_path / "cluster") == bytes_of(tmp_path / "serial")


def kill_when_it_exists(process: int, path: Path) -> None:
    wait_for(path)
    os.kill(process, signal.SIGKILL)


def wait_for(path: Path, process: subprocess.Popen[bytes] | None = None, seconds: float = 1500) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert process is None or process.poll() is None, "the process ended before it wrote anything"
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.01)


@pytest.mark.usefixtures("captured")
def test_a_store_may_be_named_by_a_text(lvlm: Lvlm, samples: list[Sample], tmp_path: Path) -> None:
    place = str(tmp_path / "store")
    made = profile(lvlm, samples, place).load()
    xr.testing.assert_identical(profile(lvlm, samples, Path(place)).load(), made)
    xr.testing.assert_identical(store.read_profile(place).sortby("sample").load(), made.sortby("sample"))
