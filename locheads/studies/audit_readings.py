"""Defines the readings of the method: the paper's, each open choice answered otherwise, and both releases."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Literal

from locheads.method.criteria import Elbow, Logarithm
from locheads.method.grounding import Border
from locheads.paper.open_choices import Choice

IouOf = Literal["raw", "smoothed", "upscaled"]
"""The map whose mask is compared with the object for ρ: as it is, smoothed as for grounding, or in pixels."""


@dataclass(frozen=True)
class Reading:
    """Describes one reading of the method, from the sums of the heads to SAM. The defaults are the paper's.

    Attributes:
        threshold_on, elbow: Where τ comes from: `selection.candidates`, `criteria.curvature_threshold`.
        passing: A head passes by its `sum`, or by its `number` (`releases.passing_by_number`).
        level, floor, weight, logarithm: Of `criteria.spatial_entropy`.
        skipped_layers: First layers left out.
        bottom_row: A head is left out of a sample where its last row has a value above this; None: nowhere.
        min_keep: Where no head is left, keep one (`releases.keeping_one`).
        kept: Candidates per sample.
        greedy: Ground each sample with this many of its own heads, of lowest entropy; None: fixed heads.
        ties: Equal entropies of a greedy reading go to the larger `sum` or to the lower `number`.
        kernel, border, keep, whole_pixels: Of `grounding.ground`.
        scaled_as, prompt, cascade: Of `evaluation.Variant`; the prompt is SAM's.
        iou_of: What ρ compares with the object.
    """

    threshold_on: Literal["mean", "sample"] = "mean"
    elbow: Elbow = "chord"
    passing: Literal["sum", "number"] = "sum"
    level: float = 1.0
    floor: float = 0.0
    weight: Literal["area", "mass"] = "area"
    logarithm: Logarithm = "natural"
    skipped_layers: int = 2
    bottom_row: float | None = None
    min_keep: bool = False
    kept: int = 10
    greedy: int | None = None
    ties: Literal["sum", "number"] = "sum"
    kernel: int = 7
    border: Border = "mirror"
    keep: Literal["largest", "all"] = "largest"
    whole_pixels: bool = False
    scaled_as: Literal["window", "stretch"] = "window"
    prompt: str = "box"
    cascade: int = 0
    iou_of: IouOf = "raw"

    @property
    def entropy(self) -> tuple[float, float, Literal["area", "mass"], Literal[4, 8], Logarithm]:
        """Returns the arguments of `spatial_entropy` after the maps."""
        return self.level, self.floor, self.weight, 8, self.logarithm


@dataclass(frozen=True)
class Alternative:
    """Another answer than the paper's to an open choice, and the reading that follows from it."""

    choice: Choice
    answer: str
    reading: Reading = field(default_factory=Reading)

    @property
    def name(self) -> str:
        """Returns choice and answer, as tables and figures show them."""
        return f"{self.choice}: {self.answer}"


DEFAULT = "default"
"""The name of the paper's reading among the others."""

ALTERNATIVES = (
    Alternative(Choice.HEADS, "greedy, its five lowest", Reading(greedy=5)),
    Alternative(Choice.HEADS, "greedy, its three lowest", Reading(greedy=3)),
    Alternative(Choice.HEADS, "5 candidates", Reading(kept=5)),
    Alternative(Choice.HEADS, "14 candidates", Reading(kept=14)),
    Alternative(Choice.THRESHOLD_FROM, "each sample's sums", Reading(threshold_on="sample")),
    Alternative(
        Choice.PASSING,
        "by number, in each sample (the bug)",
        Reading(threshold_on="sample", passing="number"),
    ),
    Alternative(Choice.ELBOW, "curvature, literally", Reading(elbow="curvature")),
    Alternative(Choice.BINARISE, "mean + 0.001", Reading(floor=0.001)),
    Alternative(Choice.BINARISE, "2 × mean", Reading(level=2.0)),
    Alternative(Choice.BINARISE, "2 × mean + 0.001", Reading(level=2.0, floor=0.001)),
    Alternative(Choice.WEIGHT, "attention mass", Reading(weight="mass")),
    Alternative(Choice.NO_COMPONENT, "0 (by mass, mean + 0.001)", Reading(floor=0.001, weight="mass")),
    Alternative(Choice.FILTER, "none, all layers in", Reading(skipped_layers=0)),
    Alternative(Choice.FILTER, "bottom row > 0.05 out", Reading(bottom_row=0.05)),
    Alternative(Choice.FILTER, "bottom row > 0.05 out, one kept", Reading(bottom_row=0.05, min_keep=True)),
    Alternative(Choice.SMOOTHING, "9 taps, reflecting", Reading(kernel=9, border="reflect")),
    Alternative(Choice.BOX, "all cells above the mean", Reading(keep="all")),
    Alternative(Choice.PIXELS, "whole pixels", Reading(whole_pixels=True)),
    Alternative(Choice.SAM, "box + mask", Reading(prompt="box+mask")),
    Alternative(Choice.SAM, "box + point", Reading(prompt="box+point")),
    Alternative(Choice.SAM, "box, mask fed back once", Reading(cascade=1)),
    Alternative(Choice.LOGARITHM, "base 2", Reading(logarithm="2")),
    Alternative(Choice.LOGARITHM, "normalised", Reading(logarithm="normalised")),
    Alternative(Choice.MEASURE, "smoothed", Reading(iou_of="smoothed")),
    Alternative(Choice.MEASURE, "upscaled to the picture", Reading(iou_of="upscaled")),
)
"""Each choice answered otherwise, all else as in the paper; those that need no capture of their own."""

_FIRST = Reading(
    threshold_on="sample", passing="number", floor=0.001, weight="mass", skipped_layers=0, ties="number",
    iou_of="upscaled",
)  # fmt: skip
_LATER = Reading(
    threshold_on="sample", level=2.0, floor=0.001, weight="mass", bottom_row=0.05, min_keep=True,
    ties="number", kernel=9, border="reflect", keep="all", whole_pixels=True, scaled_as="stretch",
)  # fmt: skip

AS_SHIPPED = {
    "first release, as shipped: greedy, five": replace(_FIRST, greedy=5),
    "first release, as shipped: greedy, three": replace(_FIRST, greedy=3),
    "later rewrite, as shipped: greedy, five": replace(_LATER, greedy=5),
    "later rewrite, as shipped: greedy, three": replace(_LATER, greedy=3),
}
"""Both releases (June and August 2025) as they are. The first ships no box: it gets the paper's."""

CRITERIA_ONLY = {
    "first release, only its criteria: heads fixed": _FIRST,
    "later rewrite, only its criteria: heads fixed": _LATER,
}
"""The releases' criteria and boxes with the paper's selection: the most frequent heads, the same for all."""

PRESETS = AS_SHIPPED | CRITERIA_ONLY


def readings() -> dict[str, Reading]:
    """Returns the paper's reading, every alternative alone, and the releases, by name."""
    return {DEFAULT: Reading()} | {one.name: one.reading for one in ALTERNATIVES} | PRESETS


def differing(reading: Reading) -> tuple[str, ...]:
    """Returns the parameters in which a reading differs from the paper's."""
    default = Reading()
    return tuple(f.name for f in fields(Reading) if getattr(reading, f.name) != getattr(default, f.name))


def parts_of(reading: Reading) -> list[str]:
    """Returns the names of the alternatives that make up a reading, without those that another includes."""
    parts = {one.name: _settings(one.reading) for one in ALTERNATIVES}
    inside = {name: part for name, part in parts.items() if part <= _settings(reading)}
    return [name for name, part in inside.items() if not any(part < other for other in inside.values())]


def _settings(reading: Reading) -> set[tuple[str, object]]:
    return {(name, getattr(reading, name)) for name in differing(reading)}
