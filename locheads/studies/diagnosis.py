"""Detects five signatures of a run that went wrong, from its numbers alone.

When a rerun on another model or other data gives 46 where 80.3 was expected, no step has failed, and nothing
points to the cause. Each signature is one number of a profile, or of the boxes, with a limit beyond which a
healthy run does not lie, and what to check next.

- *blind query*: the chosen heads' attention sum is hardly above that of heads below τ. Another token than the
  expression's last is the query, a prompt without picture, a threshold on head indices instead of sums.
- *threshold on the other side*: the sorted attention sums bend above their chord, not below as in the paper's
  Figure 3: τ drops a few low heads instead of keeping a few high ones. No first token to rest on, heads that
  look at the picture for want of anything else.
- *no head stands out*: the last chosen head is a candidate hardly more often than by a blind draw. Fewer
  heads pass than a sample keeps, sinks in every head, or a model without such heads.
- *same place*: most boxes cover one and the same point. Attention sinks, the bottom row, or a box around all
  cells above the mean instead of one component.
- *displaced boxes*: all are shifted, or longer along one edge, in the same way. Padding taken for stretching,
  a centre crop taken for the picture.

A limit is a rule of thumb, not a test: a signature that shows is a reason to look, and none that shows is no
proof. What all five miss are boxes on rivals of the object, which need no mistake (see `failures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Real

from locheads.method.selection import Selection

LEAST_LEAD = 0.1
"""Attention that the chosen heads give to the picture beyond heads below τ (of LLaVA-1.5-7B: τ = 0.24)."""
MOST_PASSING = 0.5
"""The share of heads that pass τ; in the paper's Figure 3 most heads lie below the bend."""
LEAST_LIFT = 1.5
"""How much more often than by a blind draw the least of the chosen heads is a candidate."""
MOST_COVERED = 0.75
"""The share of boxes over one point; true boxes of photographs, large and central, reach about a half."""
MOST_DISPLACED = 0.2
"""A photograph of 4:3 whose padding is taken for stretching gives 0.33; boxes merely too wide give 0."""

_RASTER = 24


@dataclass(frozen=True)
class Finding:
    """Describes one signature in one run.

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
) -> tuple[Finding, Finding, Finding]:
    """Returns the signatures of a profile, without annotations, in the order of the module's list.

    Args:
        sums: Attention sums of the profile.
        selection: What was selected from it.
        kept: Candidates per sample, as in the selection.
        skipped_layers: First layers that it left out.
    """
    return (
        _blind_query(sums, selection, skipped_layers),
        _threshold_on_the_other_side(selection),
        _no_head_stands_out(selection, kept),
    )


def diagnose_boxes(
    found: Real[np.ndarray, "n 4"], true: Real[np.ndarray, "n 4"], sizes: Real[np.ndarray, "n 2"]
) -> tuple[Finding, Finding]:
    """Returns the two signatures of boxes: `same place` and `displaced boxes`.

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
    """Prints one line per finding; those that show begin with WARNING and say what to check."""
    print("\n".join(map(str, findings)))


def _blind_query(
    sums: Float[np.ndarray, "sample layer head"], selection: Selection, skipped_layers: int
) -> Finding:
    """Measures the gap in attention sum between chosen heads and those below τ; 0 where none is below."""
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


def _threshold_on_the_other_side(selection: Selection) -> Finding:
    """Measures the share of heads that pass τ; a bend above the chord shows whatever the share."""
    passing = float(selection.passing.mean())
    below = selection.threshold.side == "below"
    return Finding(
        "threshold on the other side",
        f"τ lies {selection.threshold.side} the chord of the sorted sums; share of heads that pass:",
        passing,
        MOST_PASSING,
        not below or passing > MOST_PASSING,
        "the curve of sorted sums (notebook 06): criterion 1 separates little where most heads look at the "
        "picture; that sums are those of the query, and that the first token is in the prompt",
    )


def _no_head_stands_out(selection: Selection, kept: int) -> Finding:
    """Measures the least frequency of the chosen heads, as a multiple of a random draw among passing heads.

    The limit leaves four standard errors to chance, so that few samples do not pass for a finding.
    """
    passing, samples = int(selection.passing.sum()), len(selection.chosen)
    by_chance = min(1.0, kept / passing) if passing else 1.0
    lift = min(float(selection.frequency[head]) for head in selection.heads) / by_chance
    limit = max(LEAST_LIFT, 1 + 4 * float(np.sqrt((1 - by_chance) / (by_chance * samples))))
    return Finding(
        "no head stands out",
        "ratio of the last chosen head's selection frequency to that of a random draw:",
        lift,
        limit,
        lift < limit,
        f"that more heads pass τ ({passing}) than a sample keeps ({kept}), the maps of the chosen heads (the "
        "same cells whatever the expression?), and with masks the IoU of chosen against other passing heads",
    )


def _same_place(found: Real[np.ndarray, "n 4"], sizes: Real[np.ndarray, "n 2"]) -> Finding:
    """Measures the share of boxes that cover one point of the picture: 1 for boxes of the whole picture."""
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
    """Measures the displacement that all boxes share, by medians, so that boxes elsewhere do not count.

    Heads that light up more than the object widen a box along both edges alike, so wide boxes alone do not
    show; an error of geometry is another factor along one edge, or a shift.
    """
    found_axes, true_axes = _by_axis(found, sizes), _by_axis(true, sizes)
    edges = np.maximum(true_axes[..., 1], np.finfo(float).tiny)
    shift = np.median((found_axes[..., 0] - true_axes[..., 0]) / edges, axis=0)
    factor = np.maximum(np.median(found_axes[..., 1] / edges, axis=0), np.finfo(float).tiny)
    value = float(max(np.abs(shift).max(), factor.max() / factor.min() - 1))
    return Finding(
        "displaced boxes",
        "shift or one-sided stretch that all boxes share, in edges of the object,",
        value,
        MOST_DISPLACED,
        value > MOST_DISPLACED,
        "how pictures become square (pad, crop, stretch) and whether boxes are taken back the same way: they "
        f"are × {factor[0]:.2f} along the longer edge, × {factor[1]:.2f} along the shorter, "
        f"shifted by {shift[0]:+.2f} and {shift[1]:+.2f} of the object's",
    )


def _by_axis(boxes: Real[np.ndarray, "n 4"], sizes: Real[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2 2"]:
    """Returns centre and edge along each picture's longer and shorter side, as its shares (square: x, y)."""
    shares = boxes / np.tile(sizes, 2)
    low, high = shares[:, :2], shares[:, 2:]
    axes = np.stack([(low + high) / 2, high - low], axis=-1)
    upright = sizes[:, 1] > sizes[:, 0]
    return np.where(upright[:, None, None], axes[:, ::-1], axes)
