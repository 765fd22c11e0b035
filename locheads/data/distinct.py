"""Refuses samples that a run would confuse: results are kept by sample id, maps made once per image id."""

from __future__ import annotations

import hashlib
from pathlib import Path

from locheads.data.pictures import picture_bytes
from locheads.data.samples import Sample
from locheads.errors import LocheadsError


class Distinct:
    """The ids of samples seen so far, with their picture files."""

    def __init__(self) -> None:
        self.samples = set[str]()
        self.pictures = dict[str, Path]()

    def add(self, sample: Sample) -> None:
        """Adds a sample.

        Raises:
            LocheadsError: Its id has been added before, or its image id is that of another picture.
        """
        where = f"{sample.image_path}, sample {sample.sample_id}"
        if sample.sample_id in self.samples:
            raise LocheadsError(f"{where}: this id occurs twice; give each sample its own id")
        if sample.stored is None:  # else the path is only a name
            first = self.pictures.setdefault(sample.image_id, sample.image_path)
            if first != sample.image_path and _hash(first) != _hash(sample.image_path):
                raise LocheadsError(
                    f"{where}: its image_id {sample.image_id} is that of another picture, {first}; "
                    "give each picture its own"
                )
        self.samples.add(sample.sample_id)


def _hash(path: Path) -> str:
    return hashlib.sha256(picture_bytes(path, "compared with another of the same image_id")).hexdigest()
