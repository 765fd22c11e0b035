"""Inputs of every reader, damaged at random: each is read, or refused with the project's own error.

`pytest tests/data/test_fuzz.py` tries a hundred per kind. By hand, ten thousand of one kind or of all:

    python tests/data/fuzz.py --examples 10000 [kind …]

It prints how many were read and refused, the longest time, and the peak of memory, which it limits to
1 GB more than what the packages themselves take.
"""

from __future__ import annotations

import argparse
import json
import pickle
import resource
import shutil
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from locheads.data import objects_of, read_samples
from locheads.data.mask_files import read_mask_file
from locheads.data.masks import encode_mask
from locheads.data.narratives import segment_ids
from locheads.data.pictures import open_picture, picture_size
from locheads.errors import LocheadsError

SIZE = (12, 9)
MASK = encode_mask(np.pad(np.ones((4, 4), bool), ((2, 3), (1, 7))))
POLYGON = [1, 2, 5, 2, 5, 6, 1, 6]

DEEP = "nested too deep"
"""Stands for a list nested 100,000 times in JSON."""

# What stands in the place of a value


strange = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 20),
    st.sampled_from([10**9, -(10**9), 2**31, 2**63, 10**40, 1e9, 1e308, float("nan"), float("inf")]),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(
        [
            DEEP,
            "",
            "NaN",
            "1234",
            "../../a.jpg",
            "/etc/passwd",
            "a.png",
            "\u2028",
            "\x00",
            "\ud800",
            "0" * 300,
        ]
    ),
    st.recursive(
        st.integers(-2, 9) | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
    st.lists(st.floats() | st.integers(-9, 99), max_size=10),
    st.lists(st.lists(st.floats() | st.integers(-9, 99), max_size=10), max_size=3),
    st.fixed_dictionaries(
        {"size": st.just([9, 12]) | st.lists(st.integers(0, 99), max_size=3)},
        optional={"counts": st.lists(st.integers(-3, 120), max_size=6) | st.text(max_size=9)},
    ),
)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places in nested containers where a value may be exchanged."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, one in inner for place in ((*path, key), *_places(one, (*path, key)))]


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """A good value with some inner ones exchanged, left out, or doubled."""
    value = deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        places = _places(value)
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        holder = value
        for key in way:
            holder = holder[key]
        how = draw(st.sampled_from(["exchange", "exchange", "leave out", "double"]))
        if how == "exchange":
            holder[last] = deepcopy(draw(strange))
        elif how == "leave out":
            del holder[last]
        elif isinstance(holder, list):
            holder.append(deepcopy(holder[last]))
    return value


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """Good bytes with some changed, cut off, or put in."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(content) - 1)))
        how = draw(st.sampled_from(["change", "change", "cut", "insert", "repeat"]))
        if how == "change" and content:
            content[place] = draw(st.integers(0, 255))
        elif how == "cut":
            del content[place:]
        elif how == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
        else:
            content[place:place] = content[place : place + 40]
    return bytes(content)


def as_json(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=False)
    return text.replace(f'"{DEEP}"', "[" * 100_000 + "]" * 100_000).encode("utf-8", "surrogatepass")


@st.composite
def json_bytes(draw: st.DrawFn, value: Any) -> bytes:
    """A good value, changed as a value or as bytes."""
    if draw(st.booleans()):
        return as_json(draw(changed(value)))
    return draw(damaged(as_json(value)))


# One strategy and one reading a kind


def picture_file(kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    rng, stream = np.random.default_rng(3), BytesIO()
    pixels = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), np.uint8)
    picture = Image.fromarray(pixels).convert("L" if mode == "I;16" else mode)
    if mode == "I;16":
        picture = Image.fromarray(rng.integers(0, 65536, SIZE[::-1], np.uint16))
    picture.save(stream, kind, **options)
    return stream.getvalue()


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x112] = 6
    return exif


PICTURES = [
    picture_file("PNG"),
    picture_file("PNG", "RGBA"),
    picture_file("PNG", "P", transparency=0),
    picture_file("PNG", "I;16"),
    picture_file("PNG", "1"),
    picture_file("JPEG", exif=_turned()),
    picture_file("JPEG", "CMYK"),
    picture_file("WEBP"),
    picture_file("GIF", "P"),
    picture_file("BMP"),
    picture_file("TIFF", "I;16"),
    picture_file("TIFF", compression="tiff_lzw"),
    picture_file("PPM"),
]
LINE = {
    "id": "a", "image": "a.png", "image_id": "p", "size": [12, 9], "expression": "a dog", "box": [1, 2, 5, 6],
    "mask": MASK, "ignored": [POLYGON], "is_sentence": True, "phrase": "dog", "is_plural": False,
}  # fmt: skip
OTHER_LINE = {"id": "b", "image": "a.png", "expression": "the cat", "mask": [POLYGON]}
REFERENCES = [
    {
        "ref_id": 3, "ann_id": 5, "image_id": 77, "split": "val", "category_id": 1,
        "sentences": [{"sent_id": 1, "sent": "a dog", "tokens": ["a", "dog"]}, {"sent_id": 2, "sent": "it"}],
    }
]  # fmt: skip
INSTANCES = {
    "images": [{"id": 77, "file_name": "a.png", "width": 12, "height": 9}],
    "annotations": [
        {"id": 5, "image_id": 77, "bbox": [1, 2, 4, 4], "segmentation": [POLYGON], "iscrowd": 0},
        {"id": 6, "image_id": 77, "bbox": [1, 2, 4, 4], "segmentation": MASK, "iscrowd": 1},
    ],
}
SHAPE = {"label": "target", "shape_type": "polygon", "points": [[1, 2], [5, 2], [5, 6]]}
REASONSEG = {
    "text": ["what barks"],
    "is_sentence": False,
    "shapes": [SHAPE, {**SHAPE, "label": "ignore", "points": [[0, 0], [1, 1]]}],
}
NARRATIVES = [
    {
        "image_id": "77", "caption": "A dog.",
        "segments": [{"utterance": "A dog", "segment_ids": ["9"], "plural": False, "noun": True}],
    }
]  # fmt: skip
PANOPTIC = {
    "images": [{"id": 77, "file_name": "a.jpg", "width": 12, "height": 9}],
    "annotations": [
        {"image_id": 77, "file_name": "a.png", "segments_info": [{"id": 9, "category_id": 1}]},
    ],
    "categories": [{"id": 1, "isthing": 1}],
}


def _put(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _read(*arguments: Any) -> None:
    for sample in read_samples(*arguments):
        assert sample.mask is None or sample.mask.shape == sample.size[::-1]
        _ = sample.ignored_mask, sample.image


def read_manifest_lines(folder: Path, lines: tuple[bytes, bytes]) -> None:
    _put(folder / "a.png", PICTURES[0])
    _read(_put(folder / "list.jsonl", b"\n".join(lines)), "own", "val")


def read_refer(folder: Path, files: tuple[bytes, bytes]) -> None:
    _put(folder / "images/mscoco/images/train2014/a.png", PICTURES[0])
    _put(folder / "refcoco/refs(unc).p", files[0])
    _put(folder / "refcoco/instances.json", files[1])
    objects_of(folder, "refcoco")
    _read(folder, "refcoco", "val")


def read_queries(folder: Path, content: bytes) -> None:
    _put(folder / "ReasonSeg/val/a.jpg", PICTURES[5])
    _put(folder / "ReasonSeg/val/a.json", content)
    _read(folder, "reasonseg", "val")


def read_captions(folder: Path, files: tuple[bytes, bytes, bytes]) -> None:
    _put(folder / "annotations/png_coco_val2017.json", files[0])
    _put(folder / "annotations/panoptic_val2017.json", files[1])
    _put(folder / "annotations/panoptic_val2017/a.png", files[2])
    _put(folder / "val2017/a.jpg", PICTURES[0])
    segment_ids.cache_clear()
    _read(folder, "png", "val")


def read_picture(folder: Path, content: bytes) -> None:
    path = _put(folder / "a.png", content)
    picture = open_picture(path, "fuzz")
    assert picture.mode == "RGB" and picture.size == picture_size(path, "fuzz")


def read_mask(folder: Path, content: bytes) -> None:
    assert read_mask_file(_put(folder / "m.png", content), "fuzz").dtype == bool


def _of(good: bytes, other: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.just(good) | other


def _pickles() -> st.SearchStrategy[bytes]:
    wild = changed(REFERENCES).map(_pickled)
    return st.sampled_from([0, 2, 4]).flatmap(lambda p: damaged(pickle.dumps(REFERENCES, protocol=p))) | wild


def _pickled(value: Any) -> bytes:
    try:
        return pickle.dumps(value, protocol=2)
    except UnicodeEncodeError:  # half a surrogate pair
        return b""


PANOPTIC_MASK = BytesIO()
Image.fromarray(np.full((9, 12, 3), (9, 0, 0), np.uint8)).save(PANOPTIC_MASK, "PNG")

KINDS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Path, Any], None]]] = {
    "manifest": (
        st.tuples(json_bytes(LINE), _of(as_json(OTHER_LINE), json_bytes(OTHER_LINE))),
        read_manifest_lines,
    ),
    "refcoco": (
        st.tuples(_pickles(), st.just(as_json(INSTANCES)))
        | st.tuples(st.just(_pickled(REFERENCES)), json_bytes(INSTANCES)),
        read_refer,
    ),
    "reasonseg": (json_bytes(REASONSEG), read_queries),
    "narratives": (
        st.tuples(
            _of(as_json(NARRATIVES), json_bytes(NARRATIVES)),
            _of(as_json(PANOPTIC), json_bytes(PANOPTIC)),
            _of(PANOPTIC_MASK.getvalue(), damaged(PANOPTIC_MASK.getvalue())),
        ),
        read_captions,
    ),
    "pictures": (st.sampled_from(PICTURES).flatmap(damaged), read_picture),
    "masks": (st.sampled_from(PICTURES).flatmap(damaged), read_mask),
}
"""Name → damaged inputs, and what reads one of them in an empty folder."""


def attempt(kind: str, value: Any) -> str:
    """Reads one input; returns `read` or the first words of the refusal. Anything else is raised."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            KINDS[kind][1](place, value)
        return "read"
    except LocheadsError as error:
        assert "\n" not in str(error) and len(str(error)) < 2000, error
        return "refused"
    finally:
        shutil.rmtree(place)


def limit_memory(more: int = 1 << 30) -> None:
    """Limits the address space to `more` bytes than now: an input that asks for it gets a MemoryError."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more, resource.getrlimit(resource.RLIMIT_AS)[1]))


def count(kind: str, examples: int) -> None:
    """Tries many inputs of one kind and prints what came of them."""
    outcomes, longest = Counter[str](), 0.0

    @settings(
        max_examples=examples, deadline=None, derandomize=False, database=None, report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck), phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    @given(KINDS[kind][0])
    def every(value: Any) -> None:
        nonlocal longest
        start = time.perf_counter()
        outcomes[attempt(kind, value)] += 1
        longest = max(longest, time.perf_counter() - start)

    every()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{kind}: {dict(outcomes)}, longest {longest:.2f} s, peak memory {peak:.2f} GB", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help=f"of {', '.join(KINDS)}")
    parser.add_argument("--examples", type=int, default=10_000)
    chosen = parser.parse_args()
    limit_memory()
    for name in chosen.kinds:
        count(name, chosen.examples)
