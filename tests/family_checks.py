"""What is measured of every family, for the tests and for the table in docs/families.md.

Run as `python tests/family_checks.py` to write the table.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import locheads.model  # noqa: F401  mends torchvision before transformers is imported

# isort: split
import numpy as np
import torch
import transformers
from carried_reference import expected_maps
from PIL import Image
from scipy.ndimage import maximum_filter
from tiny_models import BUILDERS, save
from transformers import AutoModelForImageTextToText

from locheads.model.attention import capture
from locheads.model.families import FAMILIES, REFUSED
from locheads.model.loading import load_lvlm
from locheads.model.lvlm import Lvlm
from locheads.model.shared_image import capture_image, shares

TABLE = Path(__file__).parents[1] / "docs" / "families.md"
EXPRESSIONS = ["the ring", "the small striped object on the left", "red rings"]
SIZES = [(120, 80), (54, 90)]
FITS = {"llava": ("pad", "own", "stretch")}
MARGIN = {"gemma3n": 2}
"""Cells around the painted region that see it through a convolutional tower, given small pictures."""
DYNAMIC = ("pad", "stretch", "own")


def load(name: str, folder: Path, **options: object) -> Lvlm:
    """A family's tiny model; dynamic processors get pictures of 6 × 6 cells."""
    dynamic = FAMILIES[name].cells is None and options.get("fit") != "own"
    return load_lvlm(str(folder), **({"image_size": 96} if dynamic else {}) | options)


def picture(size: tuple[int, int], seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(90, 130, (size[1], size[0], 3), np.uint8)
    return Image.fromarray(noise)


def row_error(lvlm: Lvlm, folder: Path) -> float:
    """Largest difference between captured rows and those of eager attention with `output_attentions`."""
    images = [picture(SIZES[0], seed) for seed in range(len(EXPRESSIONS))]
    encoded = lvlm.encode(images, EXPRESSIONS)
    eager = AutoModelForImageTextToText.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        found = eager(**encoded.inputs, output_attentions=True)
    attentions = getattr(found, "language_model_outputs", found).attentions
    every = torch.arange(len(images))
    full = [attention for attention in attentions if attention is not None]  # none of linear attention
    assert len(full) == lvlm.layers
    rows = torch.stack([layer[every, :, encoded.query] for layer in full], 1)
    image = encoded.image_tokens[:, None, None].expand(-1, *rows.shape[1:3], -1)
    expected = rows.gather(-1, image)
    if lvlm.carried:
        expected = expected_maps(eager, encoded.inputs, expected)
    maps = capture(lvlm, images, EXPRESSIONS).flatten(-2)
    assert expected.std() > (3e-4 if lvlm.carried else 1e-3) and maps.shape == expected.shape
    return float((maps - expected).abs().max())


def shared_error(lvlm: Lvlm) -> float:
    """Largest difference between maps of expressions that share an image and those of each on its own."""
    image = picture(SIZES[0])
    alone = capture(lvlm, [image] * len(EXPRESSIONS), EXPRESSIONS)
    return float((capture_image(lvlm, image, EXPRESSIONS) - alone).abs().max())


def passes(lvlm: Lvlm) -> list[tuple[int, int]]:
    """Batch and tokens of each of the decoder's passes when three expressions share an image."""
    decoder = next(module for module in lvlm.model.modules() if hasattr(module, "embed_tokens"))
    seen: list[tuple[int, int]] = []
    hook = decoder.register_forward_pre_hook(
        lambda _, __, given: seen.append(tuple(given["inputs_embeds"].shape[:2])), with_kwargs=True
    )
    capture_image(lvlm, picture(SIZES[0]), EXPRESSIONS)
    hook.remove()
    return seen


def changes(lvlm: Lvlm, plain: Image.Image, painted: Image.Image) -> np.ndarray:
    """How much each cell differs between two pictures, rows × columns.

    A cell is an image token as it enters the decoder, or a patch as it enters the resampler.
    """
    decoder = next(module for module in lvlm.model.modules() if hasattr(module, "embed_tokens"))
    name = "inputs_embeds"
    if lvlm.carried:
        resamplers = {"Blip2QFormerModel", "InstructBlipQFormerModel", "Idefics2PerceiverResampler"}
        decoder = next(module for module in lvlm.model.modules() if type(module).__name__ in resamplers)
        name = "context" if lvlm.dynamic else "encoder_hidden_states"
    seen: list[torch.Tensor] = []
    hook = decoder.register_forward_pre_hook(lambda _, __, given: seen.append(given[name]), with_kwargs=True)
    for image in (plain, painted):
        encoded = lvlm.encode([image], EXPRESSIONS[:1])
        with torch.no_grad():
            lvlm.model(**encoded.inputs)
    hook.remove()
    rows, columns = encoded.grids[0]
    where = slice(-rows * columns, None) if lvlm.carried else encoded.image_tokens[0]
    tokens = [embeddings[0, where] for embeddings in seen]
    return (tokens[1] - tokens[0]).norm(dim=-1).numpy().reshape(encoded.grids[0])


def pixels_are_right(lvlm: Lvlm, size: tuple[int, int]) -> bool:
    """Whether the tokens of cells inside a painted region change more than all tokens outside it.

    A convolutional tower that is fed a small picture sees beyond a cell: its nearest cells do not count.
    """
    width, height = size
    box = np.array([0.4 * width, 0.1 * height, width, 0.6 * height]).round().astype(int)
    plain, mask = np.asarray(picture(size)), np.zeros((height, width), bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    painted = np.where(mask[..., None], np.array([255, 0, 40], np.uint8), plain)
    change = changes(lvlm, Image.fromarray(plain), Image.fromarray(painted))
    covered = lvlm.window(size).mask_to_grid(mask)
    near = 2 * MARGIN.get(lvlm.model.config.model_type, 0) + 1
    outside = maximum_filter(covered, near, mode="constant") == 0
    assert change.shape == covered.shape and (covered > 0.999).any() and outside.any()
    return bool(change[covered > 0.999].min() > change[outside].max())


def fits(name: str) -> tuple[str, ...]:
    return DYNAMIC if FAMILIES[name].cells is None else FITS.get(name, ("own", "pad", "stretch"))


def row_of_table(name: str, folder: Path) -> str:
    lvlm = load(name, save(name, folder))
    right = all(pixels_are_right(load(name, folder, fit=fit), size) for fit in fits(name) for size in SIZES)
    family = FAMILIES[name]
    grid = "by picture or image_size" if family.cells is None else "fixed"
    every = lvlm.model.config.get_text_config().num_hidden_layers
    shared = f"{shared_error(lvlm):.0e}" if shares(lvlm) and len(passes(lvlm)) == 2 else "no"
    shows = (
        "base view; tiles are read, not mapped" if family.view == "tiles" else "the whole picture, one view"
    )
    if lvlm.carried:
        shows = f"the whole picture, carried back through its {lvlm.carried}"
    return (
        f"| {family.title} | `{name}` | `{type(lvlm.model).__name__}` | {grid} | {shows} "
        f"| {'all' if lvlm.layers == every else 'those with softmax'} | {lvlm.fit} "
        f"| {shared} | {row_error(lvlm, folder):.0e} | {'yes' if right else 'no'} |"
    )


HEAD = f"""# Families of models

Every family that transformers {transformers.__version__} loads as an image-text-to-text model gives maps,
or is refused with its reason. A family that is newer than this table is taken where its processor reports
rows and columns, or one square view of the picture gives a square number of tokens, and refused otherwise.

## Those that give maps

Written by `python tests/family_checks.py`: tiny models of the real classes with random weights, and their
real processor classes. *Layers*: which decoder layers give maps; layers of linear attention or convolution
have none, and the others are counted from 0 (`Lvlm.attending` holds the model's own numbers). *Rows*: largest
difference between captured rows and those of eager attention (`output_attentions=True`), single precision,
over all layers and heads. *Shared*: whether several expressions of an image share one pass over it
(`capture_image`), and the largest difference that this makes to their maps; *no* where image tokens see the
expression, layers fold the past into a state, or every pass asks for the picture. *Carried back*: image
tokens are queries that stand for no place; the map over them is dealt out to patches by attention rollout
through the resampler (`locheads/method/carried_back.py`), and *rows* compares with shares computed anew from
its projections; `Lvlm.carried` says so, and a warning at loading. *Pixels right*: a region painted into
pictures of
{" and ".join(f"{w}×{h}" for w, h in SIZES)} pixels changes the tokens of the cells that lie in it more than
any token of a cell outside, with each fit (own, pad, stretch); for Gemma 3n, whose convolutions reach further
at the small size of this test, outside begins two cells away; where maps are carried back, the patches that
enter the resampler instead of tokens.

| family | model type | class | grid | map shows | layers | default fit | shared | rows | pixels right |
|---|---|---|---|---|---|---|---|---|---|
"""

REASONS = """
## Those that are refused

| model type | reason |
|---|---|
"""


def main() -> None:
    lines = []
    for name in BUILDERS:
        with tempfile.TemporaryDirectory() as folder:
            lines.append(row_of_table(name, Path(folder)))
    reasons = [f"| `{name}` | {REFUSED[name]} |" for name in sorted(REFUSED)]
    TABLE.write_text(HEAD + "\n".join(lines) + "\n" + REASONS + "\n".join(reasons) + "\n")


if __name__ == "__main__":
    main()
