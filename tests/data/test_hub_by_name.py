"""A set is read from the hub by its name: here from a stand-in for the hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlparse

import numpy as np
import pytest
from datasets import Dataset, Features, Image, List, Value
from PIL import Image as Pictures

COMMIT = "c0ffee" + "0" * 34
READ = """
from locheads.data import read_samples
for sample in read_samples("lmms-lab", "refcoco", "val"):
    print(sample.sample_id, sample.expression, sample.image.size, sample.mask.sum())
"""


class _Hub(BaseHTTPRequestHandler):
    """Files of a repository, its listing, and what it holds at a path, as the hub's interface gives them."""

    root: Path
    fetched: list[str]

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        parts = unquote(urlparse(self.path).path).strip("/").split("/")
        if parts[0] == "datasets" and parts[3] == "resolve":
            self._file(self.root / parts[1] / parts[2] / "/".join(parts[5:]))
        elif parts[:2] == ["api", "datasets"] and parts[4:5] == ["tree"]:
            repository = self.root / parts[2] / parts[3]
            inside = sorted((repository / "/".join(parts[6:])).rglob("*"))
            self._json([self._entry(path, repository) for path in inside])
        elif parts[:2] == ["api", "datasets"]:
            self._json({"id": "/".join(parts[2:4]), "sha": COMMIT, "siblings": []})
        else:
            self._answer(404, b"")

    def do_POST(self) -> None:
        parts = unquote(self.path).strip("/").split("/")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        repository = self.root / parts[2] / parts[3]
        asked = [repository / path for path in json.loads(body)["paths"]]
        self._json([self._entry(path, repository) for path in asked if path.exists()])

    do_HEAD = do_GET

    def _entry(self, path: Path, repository: Path) -> dict[str, object]:
        kind = {"type": "file", "size": path.stat().st_size} if path.is_file() else {"type": "directory"}
        return {**kind, "path": path.relative_to(repository).as_posix(), "oid": COMMIT}

    def _file(self, path: Path) -> None:
        if not path.is_file():
            return self._answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        self.fetched.append(path.name)
        content = path.read_bytes()
        headers = {"ETag": f'"{hashlib.sha1(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        return (
            self._ranged(content, headers) if self.headers["Range"] else self._answer(200, content, headers)
        )

    def _json(self, content: object) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _ranged(self, content: bytes, headers: dict[str, str]) -> None:
        """Answers with the part that was asked for, as streaming does."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        assert asked
        first, last = int(asked[1]), min(int(asked[2]), len(content) - 1)
        there = {"Content-Range": f"bytes {first}-{last}/{len(content)}"}
        self._answer(206, content[first : last + 1], {**headers, **there})

    def _answer(self, status: int, content: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        own = {"X-Repo-Commit": COMMIT, "Content-Length": str(len(content))}
        for name, value in {**own, **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    handler = type("Hub", (_Hub,), {"root": tmp_path / "hub", "fetched": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler.fetched
    server.shutdown()


def _write(folder: Path) -> None:
    buffer = BytesIO()
    Pictures.fromarray(np.zeros((9, 12, 3), np.uint8)).save(buffer, "JPEG")
    name = "COCO_train2014_000000000077.jpg"
    row = {
        "image": {"bytes": buffer.getvalue(), "path": name},
        "answer": ["left", "right"],
        "segmentation": [1.0, 2.0, 5.0, 2.0, 5.0, 6.0, 1.0, 6.0],
        "bbox": [1.0, 2.0, 4.0, 4.0],
        "file_name": name,
    }
    numbers = List(Value("float32"))
    columns = {"image": Image(), "answer": List(Value("string")), "segmentation": numbers, "bbox": numbers}
    rows = Dataset.from_list([row], Features({**columns, "file_name": Value("string")}))
    folder.mkdir(parents=True)
    for split in ("val", "testA"):
        rows.to_parquet(folder / f"{split}-00000-of-00001.parquet")


@pytest.mark.slow
def test_a_set_is_read_by_name_and_only_the_split_is_fetched(
    tmp_path: Path, hub: tuple[str, list[str]]
) -> None:
    address, fetched = hub
    _write(tmp_path / "hub/lmms-lab/RefCOCO/data")
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    own = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", READ]
    done = subprocess.run(command, env={**kept, **own}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "refcoco-lmms-val-0-0 left (12, 9) 16",
        "refcoco-lmms-val-0-1 right (12, 9) 16",
    ]
    assert {name for name in fetched if name.endswith("parquet")} == {"val-00000-of-00001.parquet"}


FEW = """
from pathlib import Path
from locheads import place
place.root = lambda: Path.cwd()
from locheads.data import few, read_samples
few.SIZES.update(train=4, val=2)
for _ in range(2):
    parts = {split: read_samples("lmms-lab-few", "refcoco", split) for split in few.SIZES}
for split, samples in parts.items():
    for one in samples:
        print(split, one.sample_id, one.image_id, one.expression, one.image.size, one.mask.sum())
"""


def _write_objects(folder: Path, pictures: list[int]) -> None:
    """One row per object, in the order of the hub; the picture's number is its grey."""
    rows = []
    for number, picture in enumerate(pictures):
        buffer, name = BytesIO(), f"COCO_train2014_{picture:012}_{number}.jpg"
        Pictures.fromarray(np.full((9, 12, 3), picture, np.uint8)).save(buffer, "JPEG")
        corner = [1.0, 2.0, 5.0, 2.0, 5.0, 6.0, 1.0, 6.0]
        rows.append(
            {
                "image": {"bytes": buffer.getvalue(), "path": name},
                "answer": [f"object {number}", "another expression"],
                "segmentation": corner,
                "bbox": [1.0, 2.0, 4.0, 4.0],
                "file_name": name,
            }
        )
    numbers = List(Value("float32"))
    columns = {"image": Image(), "answer": List(Value("string")), "segmentation": numbers, "bbox": numbers}
    table = Dataset.from_list(rows, Features({**columns, "file_name": Value("string")}))
    folder.mkdir(parents=True)
    table.to_parquet(folder / "val-00000-of-00001.parquet")


@pytest.mark.slow
def test_a_few_expressions_are_streamed_once_and_of_disjoint_pictures(
    tmp_path: Path, hub: tuple[str, list[str]]
) -> None:
    """Each picture goes to the part that lacks more: 7 to train, 9 to val, 8 to train, which it fills."""
    address, _ = hub
    _write_objects(tmp_path / "hub/lmms-lab/RefCOCO/data", [7, 7, 9, 8, 8, 8, 9, 5])
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    own = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    own["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    command = [sys.executable, "-c", FEW]
    done = subprocess.run(command, env={**kept, **own}, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "train refcoco-lmms-val-0-0 7 object 0 (12, 9) 16",
        "train refcoco-lmms-val-1-0 7 object 1 (12, 9) 16",
        "train refcoco-lmms-val-3-0 8 object 3 (12, 9) 16",
        "train refcoco-lmms-val-4-0 8 object 4 (12, 9) 16",
        "val refcoco-lmms-val-2-0 9 object 2 (12, 9) 16",
        "val refcoco-lmms-val-6-0 9 object 6 (12, 9) 16",
    ]
    assert len(list((tmp_path / "data/lmms-lab-few/lmms-lab-few.images").iterdir())) == 6
