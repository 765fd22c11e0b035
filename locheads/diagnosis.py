"""Four signatures of a run that went wrong, told from its numbers alone, without knowing the cause.

Who reruns the study on a model or data of their own and gets 46 where 80.3 was expected has nothing to look
at: no step failed. Each signature is one number of a profile, or of the boxes, with a limit beyond which a
healthy run does not lie, and what to check next.

- *blind query*: the chosen heads' attention sum is hardly above that of heads below τ. Another token than the
  expression's last is the query, a prompt without picture, a threshold on head indices instead of sums.
- *no head stands out*: the last chosen head is a candidate hardly more often than by a blind draw. Fewer
  heads pass than a sample keeps, sinks in every head, or a model without such heads.
- *same place*: most boxes cover one and the same point. Attention sinks, the bottom row, or a box around all
  cells above the mean instead of one component.
- *displaced boxes*: one stretch and shift of all boxes mends many. Padding taken for stretching, a centre
  crop taken for the picture.

A limit is a rule of thumb, not a test: a signature that shows is a reason to look, and none that shows is no
proof. What all four miss are boxes on rivals of the object, which need no mistake (see `locheads.failures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real
from scipy import stats

from locheads.metrics import accuracy, box_iou
from locheads.selection import Selection

LEAST_LEAD = 0.1
"""Attention that the chosen heads give to the picture beyond heads below τ (of LLaVA-1.5-7B: τ = 0.24)."""
LEAST_LIFT = 1.5
"""How much more often than by a blind draw the least of the chosen heads is a candidate."""
MOST_COVERED = 0.75
"""The share of boxes over one point; true boxes of photographs, large and central, reach about a half."""
MOST_GAIN = 0.1
"""Acc@0.5 that a correction of all boxes alike may gain: boxes a little too wide gain some."""

_RASTER = 24


@dataclass(frozen=True)
class Finding:
    """One signature in one run.

    Attributes:
        signature: Its name.
        measured: What was measured, in words.
        value: Its value.
        limit: Where a healthy run ends.
        shows: Whether the value lies beyond.
        check: What to check next, where it shows.
    """

    signature: str
    measured: str
    value: float
    limit: float
    shows: bool
    check: str

    def __str__(self) -> str:
        told = f"{self.signature}: {self.measured} {self.value:.2f}, limit {self.limit:.2f}"
        return f"WARNING, {told}; check {self.check}" if self.shows else f"{told}: fine"


def diagnose_heads(
    sums: Float[np.ndarray, "sample layer head"],
    selection: Selection,
    kept: int = 10,
    skipped_layers: int = 2,
) -> tuple[Finding, Finding]:
    """The two signatures of a profile: `blind query` and `no head stands out`. No annotation is needed.

    Args:
        sums: Attention sums of the profile.
        selection: What was selected from it.
        kept: Candidates a sample, as in the selection.
        skipped_layers: First layers that it left out.
    """
    return _blind_query(sums, selection, skipped_layers), _no_head_stands_out(selection, kept)


def diagnose_boxes(
    found: Real[np.ndarray, "n 4"], true: Real[np.ndarray, "n 4"], sizes: Real[np.ndarray, "n 2"]
) -> tuple[Finding, Finding]:
    """The two signatures of boxes: `same place` and `displaced boxes`.

    Args:
        found: Boxes of the heads, xyxy pixels, of at least one sample; the more different the expressions,
            the better.
        true: The true ones.
        sizes: Width and height of each picture in pixels.

    Raises:
        ValueError: When there is no sample.
    """
    return _same_place(found, sizes), _displaced_boxes(found, true, sizes)


def tell(findings: Sequence[Finding]) -> None:
    """Print a line for each finding; those that show begin with WARNING and say what to check."""
    print("\n".join(map(str, findings)))


def _blind_query(
    sums: Float[np.ndarray, "sample layer head"], selection: Selection, skipped_layers: int
) -> Finding:
    """How far apart τ sets the chosen heads and those below; 0 where it sorts out none."""
    mean = sums.mean(axis=0, dtype=np.float64)
    below = ~selection.passing
    below[:skipped_layers] = False
    lead = (
        float(np.mean([mean[head] for head in selection.heads]) - mean[below].mean()) if below.any() else 0.0
    )
    return Finding(
        "blind query",
        "the chosen heads' attention sum exceeds that of heads below τ by",
        lead,
        LEAST_LEAD,
        lead < LEAST_LEAD,
        "that the query is the last token of the expression (nothing after it, padding on its other side), "
        "that image tokens are counted where they stand, and that τ is compared with sums, not indices",
    )


def _no_head_stands_out(selection: Selection, kept: int) -> Finding:
    """The least frequency of the chosen heads, as a multiple of what drawing among passing heads gives.

    The limit leaves four standard errors to chance, so that few samples do not pass for a finding.
    """
    passing, samples = int(selection.passing.sum()), len(selection.chosen)
    by_chance = min(1.0, kept / passing) if passing else 1.0
    lift = min(float(selection.frequency[head]) for head in selection.heads) / by_chance
    limit = max(LEAST_LIFT, 1 + 4 * float(np.sqrt((1 - by_chance) / (by_chance * samples))))
    return Finding(
        "no head stands out",
        "the last chosen head is a candidate, against a blind draw, times",
        lift,
        limit,
        lift < limit,
        f"that more heads pass τ ({passing}) than a sample keeps ({kept}), the maps of the chosen heads (the "
        "same cells whatever the expression?), and with masks the IoU of chosen against other passing heads",
    )


def _same_place(found: Real[np.ndarray, "n 4"], sizes: Real[np.ndarray, "n 2"]) -> Finding:
    """How many of the boxes share one point, in shares of the picture: 1 for boxes of the whole picture."""
    shares = found / np.tile(sizes, 2)
    centre = (np.arange(_RASTER) + 0.5) / _RASTER
    x, y = (
        (shares[:, [axis]] <= centre) & (centre < shares[:, [axis + 2]]) for axis in (0, 1)
    )  # each sample × raster
    covered = (y[:, :, None] & x[:, None, :]).mean(axis=0)
    row, column = np.unravel_index(int(covered.argmax()), covered.shape)
    area = float(np.median((shares[:, 2:] - shares[:, :2]).prod(axis=1)))
    value = float(covered.max())
    return Finding(
        "same place",
        f"share of boxes over the point ({centre[column]:.2f}, {centre[row]:.2f}) of the picture",
        value,
        MOST_COVERED,
        value > MOST_COVERED,
        "the maps for cells that are bright in every picture (sinks, the bottom row), and that the box is of "
        f"one component above the mean and not of all cells (the median box is {area:.0%} of the picture)",
    )


def _displaced_boxes(
    found: Real[np.ndarray, "n 4"], true: Real[np.ndarray, "n 4"], sizes: Real[np.ndarray, "n 2"]
) -> Finding:
    """What the best common stretch and shift of the boxes gains, and along which axis it is needed."""
    found_axes, true_axes = _by_axis(found, sizes), _by_axis(true, sizes)
    fits = [_fit(found_axes[:, axis], true_axes[:, axis]) for axis in (0, 1)]
    corrected = np.stack(
        [fit.apply(found_axes[:, axis]) for axis, fit in enumerate(fits)], axis=1
    )  # sample × axis × (centre, edge)
    before, after = (accuracy(box_iou(_boxes(boxes), _boxes(true_axes))) for boxes in (found_axes, corrected))
    return Finding(
        "displaced boxes",
        "one stretch and shift of all boxes gains Acc@0.5 of",
        after - before,
        MOST_GAIN,
        after - before > MOST_GAIN,
        "how pictures become square (pad, crop, stretch) and whether boxes are taken back the same way: they "
        f"fit best with {fits[0]} along the longer edge and with {fits[1]} along the shorter",
    )


@dataclass(frozen=True)
class _Fit:
    """Along one axis, in shares of the picture: centres to `slope` × centre + `shift`, edges × `scale`."""

    slope: float
    shift: float
    scale: float

    def apply(self, spans: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        return spans * np.array([self.slope, self.scale]) + np.array([self.shift, 0.0])

    def __str__(self) -> str:
        return f"places × {self.slope:.2f} {self.shift:+.2f} and sizes × {self.scale:.2f}"


def _fit(found: Float[np.ndarray, "n 2"], true: Float[np.ndarray, "n 2"]) -> _Fit:
    """Medians, so that boxes on another object do not count: Theil and Sen's line, the median ratio."""
    scale = float(np.median(true[:, 1] / np.maximum(found[:, 1], np.finfo(float).tiny)))
    if np.ptp(found[:, 0]) == 0:
        return _Fit(1.0, float(np.median(true[:, 0] - found[:, 0])), scale)
    slope, shift, *_ = stats.theilslopes(true[:, 0], found[:, 0])
    return _Fit(float(slope), float(shift), scale)


def _by_axis(boxes: Real[np.ndarray, "n 4"], sizes: Real[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2 2"]:
    """Centre and edge along each picture's longer and shorter side, as shares of it (square: x, then y)."""
    shares = boxes / np.tile(sizes, 2)
    low, high = shares[:, :2], shares[:, 2:]
    axes = np.stack([(low + high) / 2, high - low], axis=-1)
    upright = sizes[:, 1] > sizes[:, 0]
    return np.where(upright[:, None, None], axes[:, ::-1], axes)


def _boxes(axes: Float[np.ndarray, "n 2 2"]) -> Float[np.ndarray, "n 4"]:
    """Boxes from centres and edges; shares of a picture have the IoU that pixels have."""
    return np.concatenate([axes[..., 0] - axes[..., 1] / 2, axes[..., 0] + axes[..., 1] / 2], axis=1)
