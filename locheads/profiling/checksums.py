"""Lists the files of a store with their SHA-256, so that a missing or damaged file is found and named.

The lists lie in `manifest/`: `store.sha256` of what a new store consists of, and `part-<number>.sha256` of
each part, written last: a part without a list is unfinished. They have the form of the program sha256sum:
inside a store, `sha256sum --check manifest/*.sha256` checks it without Python. A list's last line is its own
checksum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from locheads.files import replacing

FOLDER = "manifest"
STORE = "store"
"""Name of the list of what a new store consists of."""


def of_part(number: int) -> str:
    """Returns the name of a part's list."""
    return f"part-{number}"


def listed(store: Path, name: str) -> dict[str, str] | None:
    """Reads a list: checksums by path in the store; None where the list is missing or damaged."""
    try:
        text = _place(store, name).read_text("utf-8")
        lines = [line.split("  ", 1) for line in text.splitlines()[:-1]]
        sums = {path: digest for digest, path in lines}
    except (OSError, ValueError):
        return None
    return sums if text == _text(sums) else None


def is_listed(store: Path, name: str) -> bool:
    """Returns whether there is such a list, sound or not."""
    return _place(store, name).exists()


def bad_files(store: Path, name: str) -> list[str]:
    """Finds the files of a list that are missing or damaged, by path in the store.

    Returns:
        The list itself where it cannot be relied on; nothing where all is as it was written.
    """
    sums = listed(store, name)
    if sums is None:
        return [f"{FOLDER}/{name}.sha256"]
    return [path for path, digest in sums.items() if _digest(store / path) != digest]


def write_list(store: Path, name: str, paths: Iterable[Path]) -> None:
    """Lists files of a store, in one step: a killed process leaves the list of before, or none."""
    sums = {path.relative_to(store).as_posix(): str(_digest(path)) for path in sorted(paths)}
    with replacing(_place(store, name)) as partial:
        partial.write_text(_text(sums), "utf-8")


def mend(store: Path, new: Path) -> bool:
    """Replaces the bad files of the list `STORE` by those of a new store, if they would be the same.

    Args:
        store: A store some of whose files are missing or damaged.
        new: A store without parts that is made from the same things; it loses the files.

    Returns:
        Whether they were: the lists are equal, or, without a sound list, all files are.
    """
    sums = listed(new, STORE) or {}
    there = listed(store, STORE)
    if (there or {path: str(_digest(store / path)) for path in sums}) != sums:
        return False
    for path in bad_files(store, STORE):
        (store / path).parent.mkdir(parents=True, exist_ok=True)
        (new / path).replace(store / path)
    return True


def _place(store: Path, name: str) -> Path:
    return store / FOLDER / f"{name}.sha256"


def _digest(path: Path) -> str | None:
    """Returns the checksum of a file's bytes; None where there is no such file."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _text(sums: Mapping[str, str]) -> str:
    body = "".join(f"{digest}  {path}\n" for path, digest in sums.items())
    return f"{body}# {hashlib.sha256(body.encode()).hexdigest()} of the lines above\n"
