"""Draws the figures: each function takes results and returns a matplotlib figure, colour-blind safe.

The figures of several notebooks are exported here; those of a single study are in the module named after it:
`arms`, `causes`, `confidence`, `failures`, `groups`, `kinds`, `pooled`, `several_objects`.
"""

from locheads.plotting.ablations import (
    criteria_bars,
    frequency_sweep,
    level_lines,
    setting_lines,
    trial_frequencies,
)
from locheads.plotting.finding import finding
from locheads.plotting.grounding import grounding_grid, overlay, two_boxes_grid
from locheads.plotting.heads import (
    frequency_bars,
    head_heatmap,
    head_maps,
    iou_against_frequency,
    threshold_curve,
)
from locheads.plotting.levels import number_by_level
from locheads.plotting.models import iou_panels, rank_and_depth
from locheads.plotting.scores import effect_dots, gain_lines, recall_curves, score_bars
from locheads.plotting.steps import average_beside_heads, entropy_steps, grounding_steps

__all__ = [
    "average_beside_heads",
    "criteria_bars",
    "effect_dots",
    "entropy_steps",
    "finding",
    "frequency_bars",
    "frequency_sweep",
    "gain_lines",
    "grounding_grid",
    "grounding_steps",
    "head_heatmap",
    "head_maps",
    "iou_against_frequency",
    "iou_panels",
    "level_lines",
    "number_by_level",
    "overlay",
    "rank_and_depth",
    "recall_curves",
    "score_bars",
    "setting_lines",
    "threshold_curve",
    "trial_frequencies",
    "two_boxes_grid",
]
