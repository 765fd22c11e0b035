"""A set is read from the hub by its name: here from a stand-in for the hub on this machine."""

from __future__ import annotations

import hashlib
import json
import os
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
        return self._answer(200, content, {"ETag": f'"{hashlib.sha1(content).hexdigest()}"'})

    def _json(self, content: object) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

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
