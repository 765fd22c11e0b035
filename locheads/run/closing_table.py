"""The closing table of a run: each notebook's time and headline numbers, beside the paper's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from locheads import paper
from locheads.run.outputs import SPECIMEN
from locheads.run.runner import Finished


@dataclass(frozen=True)
class Headline:
    """A result worth the closing table, and what the paper reports for LLaVA-1.5-7B, with the place."""

    notebook: str
    key: str
    paper: str = "-"
    source: str = ""


MODEL = "LLaVA-1.5-7B"


def _reported(
    notebook: str, key: str, task: str, dataset: str = "refcoco", setting: str = "", model: str = MODEL
) -> Headline:
    entry = paper.reported(task, model, dataset, "val", setting)
    source = entry.table if model == MODEL else f"{entry.table}, {model}"
    return Headline(notebook, key, f"{entry.value / 100:.3f}", source)


def _ablation(notebook: str, key: str, setting: str) -> Headline:
    """A number of Tables 5 and 8, which are of the larger model."""
    return _reported(notebook, key, key[:3], setting=setting, model="LLaVA-1.5-13B")


def _paper_heads() -> str:
    first, *others = (f"L{layer} H{head}" for layer, head in paper.HEADS[MODEL])
    return ", ".join([f"{first} {paper.FREQUENCY_OF_L14_H24:.0f}%", *others])


HEADLINES = (
    Headline("01_head_profiling", "selected_heads", _paper_heads(), "named in the text"),
    Headline(
        "02_iou_frequency_correlation", "spearman_rho", f"> {paper.SPEARMAN_FLOOR}", "each of ten models"
    ),
    Headline("02_iou_frequency_correlation", "n_heads"),
    _reported("03_grounding", "rec_acc50_refcoco_val", "rec"),
    Headline("03_grounding", "rec_acc50_refcoco_val_random"),
    _reported("03_grounding", "rec_acc50_refcoco+_val", "rec", "refcoco+"),
    _reported("03_grounding", "rec_acc50_refcocog_val", "rec", "refcocog"),
    _reported("03_grounding", "res_ciou_refcoco_val", "res"),
    *(_reported("04_number_of_heads", f"res_ciou_k{k}", "res", setting=f"k={k}") for k in (1, 3, 5)),
    _ablation("05_selection_criteria", "rec_acc50_fixed_attention_sum", "fixed, attention sum"),
    _ablation("05_selection_criteria", "rec_acc50_fixed_entropy", "fixed, entropy"),
    _ablation("05_selection_criteria", "rec_acc50_greedy_both", "greedy, both"),
    _ablation("05_selection_criteria", "rec_acc50_fixed_both", "fixed, both"),
    Headline("06_threshold", "threshold", f"{paper.THRESHOLD_OF_LLAVA_15_7B:.3f}", "named in the text"),
    Headline("06_threshold", "same_top3_threshold_share", "1.000", "Figure 13, τ from 0.2 to 0.6"),
    Headline("07_stability", "same_top3_kept_share", "1.000", "Figure 14, N from 1 to 14"),
    Headline("07_stability", "shared_top3_n100"),
    _ablation("08_smoothing", "rec_acc50_sigma0.0_kernel7", "sigma=0"),
    _ablation("08_smoothing", "rec_acc50_sigma1.0_kernel7", "sigma=1.0"),
    _reported("09_own_answer", "rec_acc50_own_text", "rec", "refcocog", "own text"),
    _reported("09_own_answer", "rec_acc50_its_heads", "rec", "refcocog", "its heads"),
    Headline("09_own_answer", "right_region_text"),
    Headline("09_own_answer", "right_region_heads"),
    _reported("10_reasoning_segmentation", "res_ciou_reasonseg_val", "res", "reasonseg"),
    Headline(
        "10_reasoning_segmentation",
        "res_ciou_reasonseg_test",
        f"{paper.reported('res', MODEL, 'reasonseg', 'test').value / 100:.3f}",
        "Table 3",
    ),
    Headline(
        "11_narrative_grounding",
        "average_recall_all_largest",
        f"{paper.reported('png', 'DeepSeek-VL-7B', 'png', '').value / 100:.3f}",
        "Table 9, DeepSeek-VL-7B",
    ),
    Headline("12_across_datasets", "mean_cost_of_foreign_heads"),
    Headline("12_across_datasets", "mean_cost_of_random_heads"),
    Headline("13_failures", "rec_acc50_counting"),
    Headline("13_failures", "rec_acc50_not_counting"),
    Headline("13_failures", "share_merged"),
    Headline("14_audit", "rec_acc50_default"),
    Headline("14_audit", "rec_acc50_first_release"),
    Headline("14_audit", "rec_acc50_later_rewrite"),
    Headline("14_audit", "largest_effect"),
    Headline("15_across_models", "least_spearman_rho", f"> {paper.SPEARMAN_FLOOR}", "each of ten models"),
)
"""In the order of the table. Acc@0.5 and cIoU are fractions here; the paper prints per cent."""


def report(finished: Sequence[Finished], world: str) -> str:
    """The table: notebook, seconds, headline numbers here and in the paper.

    Args:
        finished: What ran, in order. A headline that a notebook did not save is left out.
        world: Name of the world, for the heading.
    """
    titles = ("notebook", "seconds", "number", "here", "paper", "")
    rows = [titles, *(row for one in finished for row in _rows(one))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    lines = [_line(row, widths) for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    total = sum(one.seconds for one in finished)
    return "\n".join([_heading(world), "", *lines, "", f"{len(finished)} notebooks in {total:.0f} seconds"])


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _heading(world: str) -> str:
    models = "a small model on generated scenes" if world == SPECIMEN else "your model and data"
    return (
        f"'here' is the world '{world}' ({models}), 'paper' is {MODEL} on the real data sets:\n"
        "different models and data, side by side to compare the pattern, not the values."
    )


def _rows(one: Finished) -> Iterator[tuple[str, ...]]:
    """One row a headline; notebook and seconds only on the first."""
    first = (one.notebook, f"{one.seconds:.1f}")
    for headline in HEADLINES:
        if headline.notebook == one.notebook and headline.key in one.results:
            yield (*first, headline.key, shown(one.results[headline.key]), headline.paper, headline.source)
            first = ("", "")
    if first[0]:
        yield (*first, "", "", "", "")


def shown(value: Any) -> str:
    """A result as text: floats to three digits, records with layer and head as `L14 H24 45%`."""
    if isinstance(value, list):
        return ", ".join(map(_shown_head, value))
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _shown_head(record: dict[str, Any]) -> str:
    if not {"layer", "head"} <= record.keys():
        return " ".join(map(str, record.values()))
    frequency = f" {record['frequency']:.0%}" if "frequency" in record else ""
    return f"L{record['layer']} H{record['head']}{frequency}"
