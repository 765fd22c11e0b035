"""Grounds an expression in one image file: the implementation of `locheads ground`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from locheads.data.pictures import open_picture
from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.method.geometry import Window
from locheads.method.grounding import Grounding, ground
from locheads.method.selection import Head, parse_heads
from locheads.model.shipped import WEIGHTS
from locheads.run import outputs
from locheads.run.parameters import check_ranges, read_preset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTEBOOK = "01_head_profiling"
SHIPPED = WEIGHTS / "heads.json"
"""The specimen's heads, for an installed package, which has no results."""
FORMATS = (".png", ".pdf", ".svg", ".jpg", ".jpeg")


LOADED = ("device", "dtype", "prompt", "query", "revision")
"""Parameters of a preset that say how its model is loaded."""


def settings(preset: str | None, given: Mapping[str, str | None]) -> tuple[str, str, dict[str, str]]:
    """Returns model, world, and how to load the model: as given, else the preset's, else the specimen's.

    Args:
        preset: Name or file of a preset.
        given: `model`, `world` and any of `LOADED`; None where the preset decides.

    Raises:
        LocheadsError: There is no such preset, or a value is out of its range.
    """
    wanted = read_preset(preset, outputs.ROOT / "notebooks" / "params") if preset else {}
    wanted |= {name: value for name, value in given.items() if value is not None}
    check_ranges(wanted)
    model, world = (str(wanted.get(name, outputs.SPECIMEN)) for name in ("model", "world"))
    return model, world, {name: str(wanted[name]) for name in LOADED if wanted.get(name) is not None}


def ground_file(
    image: Path | str,
    expression: str,
    model: str,
    heads: str | None,
    world: str,
    output: Path | str,
    how: Mapping[str, str] | None = None,
) -> str:
    """Grounds an expression in an image file and writes the overlay; cheap checks come first.

    Args:
        image: The image file.
        expression: The referring expression.
        model: `"specimen"`, or a model that transformers can load.
        heads: Heads such as `"L3H2,L4H1"`; None: those that notebook 01 selected in `world`.
        world: The world whose heads are used.
        output: Path of the overlay.
        how: Arguments of `load_lvlm` by name, from `settings`.

    Returns:
        One line for the user: box in pixels, agreement of the heads, heads, and path of the overlay.

    Raises:
        LocheadsError: The image, expression, model or heads are invalid, or `output` cannot be written.
    """
    output = Path(output)
    if output.suffix.lower() not in FORMATS:
        raise LocheadsError(f"{output}: not a supported image format; use one of {', '.join(FORMATS)}")
    if not expression.strip() or not expression.isprintable():
        raise LocheadsError("the expression is empty or not printable; say what to find")
    picture = open_picture(image, "the picture to ground in")
    chosen = parse_heads(heads) if heads else selected_heads(model, world)

    from locheads.model.attention import capture
    from locheads.model.loading import load_lvlm

    lvlm = load_lvlm(model, **cast(dict[str, Any], how or {}))
    maps = capture(lvlm, [picture], [expression], chosen)[0].float().cpu().numpy()
    window = lvlm.window(picture.size)
    found = ground(maps, window)
    with replacing(output) as partial:
        _drawn(picture, expression, found, window).savefig(partial, dpi=150, bbox_inches="tight")
    return _told(expression, found, chosen, output)


def selected_heads(model: str, world: str) -> tuple[Head, ...]:
    """Loads the heads that notebook 01 selected in a world.

    Raises:
        LocheadsError: The notebook has not run in this world, or the heads belong to another model.
    """
    if model != outputs.SPECIMEN and world == outputs.SPECIMEN:
        raise LocheadsError(
            f"'{model}' has other heads than the specimen: give --heads, or --world of its run"
        )
    if world == outputs.SPECIMEN and not outputs.results_path(world, NOTEBOOK).exists():
        records = json.loads(SHIPPED.read_text(encoding="utf-8"))
    else:
        records = outputs.load_results(world, NOTEBOOK).get("selected_heads")
    if not isinstance(records, list) or not all({"layer", "head"} <= record.keys() for record in records):
        records = []
    if not records:
        raise LocheadsError(f"notebook 01 selected no heads in world '{world}'; give --heads")
    return tuple(Head(record["layer"], record["head"]) for record in records)


def _drawn(picture: Image.Image, expression: str, found: Grounding, window: Window) -> Figure:
    """Draws map, pseudo-mask, hull and box, under the expression and over a legend."""
    import matplotlib.pyplot as plt

    from locheads import plotting
    from locheads.plotting.style import FOUND, MASK, TRUE, wrapped

    figure = plotting.overlay(picture, found, window)
    figure.suptitle(wrapped(expression, 80), fontsize=11, parse_math=False)
    lines = [plt.Line2D([], [], color=color, linewidth=3) for color in (MASK, TRUE, FOUND)]
    names = ["pseudo-mask", "convex hull", "box"]
    figure.legend(lines, names, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _told(expression: str, found: Grounding, heads: tuple[Head, ...], output: Path) -> str:
    where = ", ".join(f"{side:.0f}" for side in found.box)
    place = f"box (x0, y0, x1, y1) {where}" if found.found else "nothing stands out"
    named = f"heads {', '.join(map(str, heads))}"
    if len(heads) > 1:
        named = f"agreement of the heads {found.confidence:.2f}; {named}"
    return f"'{expression}': {place}; {named}; overlay in {output}"
