"""Grounds an expression in one image file: the implementation of `locheads ground`."""

from __future__ import annotations

from pathlib import Path

from locheads.data.pictures import open_picture
from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.method.grounding import Grounding, ground
from locheads.method.selection import Head, parse_heads
from locheads.run import outputs

FORMATS = (".png", ".pdf", ".svg", ".jpg", ".jpeg")


def ground_file(
    image: Path | str, expression: str, model: str, heads: str | None, world: str, output: Path | str
) -> str:
    """Grounds an expression in an image file and writes the overlay; cheap checks come first.

    Args:
        image: The image file.
        expression: The referring expression.
        model: `"specimen"`, or a model that transformers can load.
        heads: Heads such as `"L3H2,L4H1"`; None: those that notebook 01 selected in `world`.
        world: The world whose heads are used.
        output: Path of the overlay.

    Returns:
        One line for the user: box in pixels, heads, and path of the overlay.

    Raises:
        LocheadsError: The image, expression, model or heads are invalid, or `output` cannot be written.
    """
    output = Path(output)
    if output.suffix.lower() not in FORMATS:
        raise LocheadsError(f"{output}: not a kind of picture; end its name in {', '.join(FORMATS)}")
    if not expression.strip():
        raise LocheadsError("the expression is empty; say what to find")
    picture = open_picture(image, "the picture to ground in")
    chosen = parse_heads(heads) if heads else selected_heads(model, world)

    from locheads import plotting
    from locheads.model.attention import capture
    from locheads.model.loading import load_lvlm

    lvlm = load_lvlm(model)
    maps = capture(lvlm, [picture], [expression], chosen)[0].float().cpu().numpy()
    window = lvlm.window(picture.size)
    found = ground(maps, window)
    with replacing(output) as partial:
        plotting.overlay(picture, found, window).savefig(partial, dpi=150, bbox_inches="tight")
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
    records = outputs.load_results(world, "01_head_profiling").get("selected_heads", [])
    if not records:
        raise LocheadsError(f"notebook 01 selected no heads in world '{world}'; give --heads")
    return tuple(Head(record["layer"], record["head"]) for record in records)


def _told(expression: str, found: Grounding, heads: tuple[Head, ...], output: Path) -> str:
    where = ", ".join(f"{side:.0f}" for side in found.box)
    place = f"box (x0, y0, x1, y1) {where}" if found.found else "nothing stands out"
    return f"'{expression}': {place}; heads {', '.join(map(str, heads))}; overlay in {output}"
