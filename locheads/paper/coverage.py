"""Where each table and figure of the paper is redone: the notebook, and its numbers in `results/`."""

from __future__ import annotations

from dataclasses import dataclass

from locheads.paper.tables import Reported

PLACES = (
    *(f"Table {number}" for number in range(1, 10)),
    *(f"Figure {number}" for number in (5, 9, 12, 13, 14)),
)
"""The paper's tables, and its figures with a number to compare or a case to look at."""


@dataclass(frozen=True)
class Counterpart:
    """What stands beside a table or figure of the paper.

    Attributes:
        place: As in `PLACES`.
        title: What is measured, with unit.
        notebook: Name of the notebook that redoes it.
        key: Name of a number in `results/<world>/<notebook>.json`. Of a table: with `{metric}`, `{dataset}`,
            `{split}` and `{setting}` for those of a reported number, as `name_of` writes them.
        samples: Name of the number of samples, in the same file; empty where it holds none.
    """

    place: str
    title: str
    notebook: str
    key: str
    samples: str = "held_out"


REC, RES = "REC Acc@0.5 [%]", "RES cIoU [%]"
COVERAGE = (
    Counterpart("Table 1", REC, "03_grounding", "{metric}_{dataset}_{split}"),
    Counterpart("Table 2", RES, "03_grounding", "{metric}_{dataset}_{split}"),
    Counterpart("Table 3", RES, "10_reasoning_segmentation", "{metric}_{dataset}_{split}", "queries_val"),
    Counterpart("Table 4", RES, "04_number_of_heads", "{metric}_{setting}"),
    Counterpart("Table 5", f"{REC} and {RES}", "05_selection_criteria", "{metric}_{setting}"),
    Counterpart("Table 6", REC, "09_own_answer", "{metric}_{setting}"),
    Counterpart("Table 7", RES, "03_grounding", "{metric}_{dataset}_{split}"),
    Counterpart("Table 8", f"{REC} and {RES}", "08_smoothing", "{metric}_{setting}"),
    Counterpart("Table 9", "average recall [%]", "11_narrative_grounding", "{metric}_all_largest", "phrases"),
    Counterpart("Figure 5", "Spearman's ρ", "02_iou_frequency_correlation", "spearman_rho", "samples"),
    Counterpart("Figure 9", "failures", "13_failures", "rec_acc50_counting", "counting_expressions"),
    Counterpart("Figure 12", "Spearman's ρ", "15_across_models", "spearman_rho", "samples"),
    Counterpart("Figure 13", "same heads over τ", "06_threshold", "same_top3_share_in_papers_range", ""),
    Counterpart("Figure 14", "same heads over N", "07_stability", "same_top3_kept_share", "samples"),
)
"""In the order of `PLACES`."""

METRICS = {"rec": "rec_acc50", "res": "res_ciou", "png": "average_recall", "spearman": "spearman_rho"}


def counterpart(place: str) -> Counterpart:
    """The entry of a table or figure."""
    return next(one for one in COVERAGE if one.place == place)


def key_of(entry: Reported) -> str:
    """The name under which the counterpart of a reported number is saved."""
    return counterpart(entry.table).key.format(
        metric=METRICS[entry.task],
        dataset=entry.dataset,
        split=name_of(entry.split),
        setting=name_of(entry.setting),
    )


def name_of(setting: str) -> str:
    """A setting or split as results spell it: `k=4` → `k4`, `fixed, both` → `fixed_both`.

    Table 8 varies σ with a kernel of 7 and the kernel with σ = 1: `sigma=0` → `sigma0.0_kernel7`.
    """
    what, _, value = setting.partition("=")
    if what == "sigma":
        return f"sigma{float(value):.1f}_kernel7"
    if what == "kernel":
        return f"sigma1.0_kernel{value}"
    return setting.replace(", ", "_").replace(" ", "_").replace("=", "")
