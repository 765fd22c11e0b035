"""Saves and loads weights: safetensors beside a list of SHA-256 sums, verified before loading.

The list is a `SHA256SUMS` file in the format of `sha256sum`, so that it covers a model in any layout.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from locheads.errors import LocheadsError
from locheads.files import replacing

WEIGHTS = Path(__file__).resolve().parents[1] / "specimen" / "weights"
"""Folder of the weights shipped with this package, one subfolder per model."""
SPECIMENS = {
    "specimen": WEIGHTS / "lvlm",
    "specimen-narrow": WEIGHTS / "lvlm-narrow",
    "specimen-third": WEIGHTS / "lvlm-third",
}
"""Names of the shipped vision-language models, as `load_lvlm` takes them → their folders."""
SUMS = "SHA256SUMS"
MODEL = "model.safetensors"


def sha256(path: Path | str) -> str:
    """Returns the hexadecimal SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(model: torch.nn.Module) -> str:
    """Hashes name, shape, type and bytes of every parameter, in the model's order."""
    found = hashlib.sha256()
    for name, one in model.named_parameters():
        found.update(f"{name} {tuple(one.shape)} {one.dtype}\n".encode())
        found.update(one.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()[:16]


def seal(folder: Path | str) -> dict[str, str]:
    """Writes the SHA-256 sums of all safetensors files of a folder; returns them by file name."""
    folder = Path(folder)
    sums = {path.name: sha256(path) for path in sorted(folder.glob("*.safetensors"))}
    with replacing(folder / SUMS) as part:
        part.write_text("".join(f"{value}  {name}\n" for name, value in sums.items()), encoding="utf-8")
    return sums


def verify(folder: Path | str) -> dict[str, str]:
    """Verifies the SHA-256 sums of a folder; returns them by file name.

    Raises:
        LocheadsError: The list or a file in it is missing, a hash differs, or a safetensors file is unlisted.
    """
    folder = Path(folder)
    listed = folder / SUMS
    if not listed.is_file():
        raise LocheadsError(
            f"{listed}: no such file; weights need their list of hashes: fetch the folder again"
        )
    try:
        pairs = [line.split("  ", 1) for line in listed.read_text(encoding="utf-8").splitlines()]
        sums = {name: value for value, name in pairs}
    except (UnicodeDecodeError, ValueError):
        raise LocheadsError(f"{listed}: not lines of 'hash  name'; fetch the folder again") from None
    for name in sorted(sums.keys() | {path.name for path in folder.glob("*.safetensors")}):
        path = folder / name
        if not path.is_file():
            raise LocheadsError(f"{path}: no such file, though {SUMS} lists it; fetch the folder again")
        if sums.get(name) != sha256(path):
            raise LocheadsError(f"{path}: its SHA-256 is not the one in {SUMS}; fetch it again or train anew")
    return sums


def save_weights(folder: Path | str, tensors: dict[str, torch.Tensor]) -> str:
    """Writes `model.safetensors` and its hash atomically; returns the hash."""
    folder = Path(folder)
    with replacing(folder / MODEL) as part:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, part)
    return seal(folder)[MODEL]


def load_weights(folder: Path | str) -> dict[str, torch.Tensor]:
    """Verifies a folder, then loads its `model.safetensors` on the CPU.

    Raises:
        LocheadsError: As `verify`, or the folder holds no `model.safetensors`.
    """
    folder = Path(folder)
    if MODEL not in verify(folder):
        raise LocheadsError(f"{folder / SUMS}: does not list {MODEL}; fetch the folder again")
    return load_file(folder / MODEL)
