"""What the paper and its releases say, as data: reported values, open choices, published models."""

from locheads.paper.tables import (
    FREQUENCY_OF_L14_H24,
    HEADS,
    SPEARMAN_FLOOR,
    SPEARMAN_P,
    STABLE_KEPT,
    STABLE_THRESHOLDS,
    THRESHOLD_OF_LLAVA_15_7B,
    Reported,
    everything,
    frame,
    reported,
)

__all__ = [
    "FREQUENCY_OF_L14_H24",
    "HEADS",
    "SPEARMAN_FLOOR",
    "SPEARMAN_P",
    "STABLE_KEPT",
    "STABLE_THRESHOLDS",
    "THRESHOLD_OF_LLAVA_15_7B",
    "Reported",
    "everything",
    "frame",
    "reported",
]
