"""Writes scenes and expressions in the layouts of RefCOCO, RefCOCO+, RefCOCOg, ReasonSeg and PNG.

The readers of the published data sets read them as well. An image is drawn from
`default_rng([seed, stream, index])` and its expressions from a generator of their own, so that
the same seed gives the same bytes, in any order of writing. As with COCO, the three `refer`
sets share images: those of `val` are the same scenes in all three, and no split shares an image
with another split of any set. testA has scenes with round shapes only, testB with the other shapes.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from locheads import place
from locheads.data.refcoco import IMAGES, SPLIT_BY
from locheads.data.scenes import expressions, layouts, narratives, outlines, scenes
from locheads.data.scenes.expressions import STYLES, refer
from locheads.data.scenes.layouts import ReferSet, annotation, as_json, image_entry, labelme_entry
from locheads.data.scenes.scenes import ROUND, SHAPES, Scene, draw_scene
from locheads.errors import LocheadsError
from locheads.progress import progress

Sizes = Mapping[str, Mapping[str, int]]

SIZES: Sizes = {
    "refcoco": {"train": 600, "val": 150, "testA": 80, "testB": 80},
    "refcoco+": {"train": 150, "val": 150, "testA": 80, "testB": 80},
    "refcocog": {"train": 150, "val": 150, "test": 80},
    "reasonseg": {"train": 40, "val": 60, "test": 60},
    "png": {"val": 60},
}
"""Images by data set and split; each has one or two expressions for one or two of its objects, or (PNG) a
narrative."""

ROOT = place.root() / "data" / "specimen"
MARKER = "specimen.json"
"""Name of the file that records recipe, seed and sizes of a folder."""

_REFER_SPLITS = ("train", "val", "testA", "testB", "test")
_STREAMS = (*_REFER_SPLITS, "reasonseg train", "reasonseg val", "reasonseg test", "png val")
_SHAPES_OF = {"testA": ROUND, "testB": tuple(shape for shape in SHAPES if shape not in ROUND)}


def ensure_dataset(root: Path | str = ROOT, seed: int = 0, sizes: Sizes = SIZES) -> Path:
    """Returns the folder of the data sets; rewrites it if recipe, seed or sizes differ.

    Raises:
        LocheadsError: As `write_dataset`.
    """
    marker = Path(root) / MARKER
    if marker.is_file() and marker.read_text() == _recipe(seed, sizes):
        return Path(root)
    return write_dataset(root, seed, sizes)


def write_dataset(root: Path | str = ROOT, seed: int = 0, sizes: Sizes = SIZES) -> Path:
    """Writes all data sets atomically: `root` is created or replaced once everything is written.

    Args:
        root: Folder to write; if it exists, it must be empty or of an earlier call.
        seed: Seed of all random draws.
        sizes: Number of images by data set and split.

    Raises:
        LocheadsError: `root` holds something else, or cannot be written.
    """
    root = Path(root).resolve()
    if root.exists() and not (root / MARKER).is_file() and (not root.is_dir() or any(root.iterdir())):
        raise LocheadsError(f"{root}: holds something that is not the specimen; choose an empty folder")
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{root.name}.partial.", dir=root.parent) as scratch:
            new = Path(scratch) / "new"
            with progress(_pictures(sizes), "pictures of the specimen") as bar:
                _write_refer_sets(new, seed, sizes, bar)
                _write_reasonseg(new / "ReasonSeg", seed, sizes["reasonseg"], bar)
                _write_narratives(new / "panoptic_narrative_grounding", seed, sizes.get("png", {}), bar)
            (new / MARKER).write_text(_recipe(seed, sizes))
            if root.exists():
                root.rename(Path(scratch) / "old")
            new.rename(root)
    except OSError as error:
        raise LocheadsError(
            f"{root}: cannot be written ({error.strerror}); check space and rights"
        ) from error
    return root


def _pictures(sizes: Sizes) -> int:
    """Counts the pictures to draw; the three sets of RefCOCO's kind share theirs."""
    shared = [max(sizes[name].get(split, 0) for name in SPLIT_BY) for split in _REFER_SPLITS]
    return sum(shared) + sum(sizes["reasonseg"].values()) + sum(sizes.get("png", {}).values())


def _recipe(seed: int, sizes: Sizes) -> str:
    """Returns the marker's text, all that the bytes depend on: hash of the code, seed and sizes."""
    files = [
        Path(__file__),
        *(Path(str(module.__file__)) for module in (expressions, layouts, narratives, outlines, scenes)),
    ]
    code = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    return as_json({"recipe": code, "seed": seed, "sizes": sizes})


def _scene(seed: int, stream: str, index: int) -> Scene:
    rng = np.random.default_rng([seed, _STREAMS.index(stream), index])
    return draw_scene(rng, most=5, shapes=_SHAPES_OF.get(stream, tuple(SHAPES)))


def _texts(
    scene: Scene, style: str, seed: int, stream: str, index: int, most: int = 2
) -> dict[int, list[str]]:
    """Draws one or two expressions for up to `most` objects: object → texts; may be empty."""
    rng = np.random.default_rng([seed, _STREAMS.index(stream), index, 1 + STYLES.index(style)])
    wanted = rng.integers(1, most + 1)
    texts: dict[int, list[str]] = {}
    for thing in map(int, rng.permutation(len(scene.things))):
        found = [refer(scene, thing, style, rng) for _ in range(rng.integers(1, 3))]
        distinct = list(dict.fromkeys(f"{expression.text}." for expression in found if expression))
        if distinct:
            texts[thing] = distinct
        if len(texts) == wanted:
            break
    return texts


def _save_image(scene: Scene, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(scene.image).save(path, quality=95, subsampling=0)


def _write_refer_sets(folder: Path, seed: int, sizes: Sizes, bar: tqdm) -> None:
    sets = {name: ReferSet() for name in SPLIT_BY}
    for split in _REFER_SPLITS:
        missing = {name: sizes[name].get(split, 0) for name in sets}
        for index in count():
            if not any(missing.values()):
                break
            scene = _scene(seed, split, index)
            texts = {name: _texts(scene, name, seed, split, index) for name, left in missing.items() if left}
            texts = {name: found for name, found in texts.items() if found}
            if texts:
                image = image_entry(100_000 * (1 + _REFER_SPLITS.index(split)) + index)
                _save_image(scene, folder / IMAGES / image["file_name"])
                annotations = [annotation(scene, thing, image["id"]) for thing in range(len(scene.things))]
            left = max(missing.values())
            for name, found in texts.items():
                sets[name].add(image, annotations, found, split)
                missing[name] -= 1
            bar.update(left - max(missing.values()))
    for name, refer_set in sets.items():
        refer_set.write(folder / name, SPLIT_BY[name])


def _write_reasonseg(folder: Path, seed: int, sizes: Mapping[str, int], bar: tqdm) -> None:
    for split, images in sizes.items():
        (folder / split).mkdir(parents=True)
        written = 0
        for index in count():
            if written == images:
                break
            scene = _scene(seed, f"reasonseg {split}", index)
            texts = _texts(scene, "reasonseg", seed, f"reasonseg {split}", index, most=1)
            for thing, queries in texts.items():
                path = folder / split / f"{index:06d}.jpg"
                _save_image(scene, path)
                path.with_suffix(".json").write_text(
                    as_json(labelme_entry(scene.masks[thing], queries, path.name))
                )
                written += 1
                bar.update()


def _write_narratives(folder: Path, seed: int, sizes: Mapping[str, int], bar: tqdm) -> None:
    for split, images in sizes.items():
        told: list[tuple[Scene, narratives.Narrative]] = []
        for index in count():
            if len(told) == images:
                break
            scene, stream = _scene(seed, f"png {split}", index), _STREAMS.index(f"png {split}")
            narrative = narratives.tell(scene, np.random.default_rng([seed, stream, index, 1]))
            if narrative:
                _save_image(scene, folder / "images" / f"{split}2017" / f"{len(told):012d}.jpg")
                told.append((scene, narrative))
                bar.update()
        narratives.write(folder / "annotations", f"{split}2017", told)
