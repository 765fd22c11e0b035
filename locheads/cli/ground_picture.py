"""Ground one picture from the command line: what `locheads ground` does."""

from __future__ import annotations

from pathlib import Path

from locheads.data.samples import read_image
from locheads.errors import LocheadsError
from locheads.files import replacing
from locheads.method.grounding import Grounding, ground
from locheads.method.selection import Head, parse_heads
from locheads.run import outputs

FORMATS = (".png", ".pdf", ".svg", ".jpg", ".jpeg")


def ground_file(image: Path, expression: str, model: str, heads: str | None, world: str, output: Path) -> str:
    """Ground an expression in a picture file and write the overlay; everything cheap is checked first.

    Args:
        image: The picture.
        expression: What to find.
        model: `"specimen"`, or a model that transformers can load.
        heads: Heads as `"L3H2,L4H1"`; None for those that notebook 01 selected in `world`.
        world: The world whose heads to use.
        output: Where the overlay goes.

    Returns:
        A line for the user: box in pixels, heads, and where the overlay is.

    Raises:
        LocheadsError: The picture, expression, model or heads will not do, or `output` cannot be written.
    """
    if output.suffix.lower() not in FORMATS:
        raise LocheadsError(f"{output}: not a kind of picture; end its name in {', '.join(FORMATS)}")
    if not expression.strip():
        raise LocheadsError("the expression is empty; say what to find")
    picture = read_image(image, "the picture to ground in")
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
    """The heads that notebook 01 selected in a world.

    Raises:
        LocheadsError: The notebook has not run there, or the heads are those of another model.
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
