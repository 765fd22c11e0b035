"""The registry of what is redone: place in the paper, notebook, key in `results/`, the paper's value.

`COVERAGE` holds the tables and figures, `HEADLINES` single numbers of notebooks, `SAID` numbers that the
paper prints in its text and figures, without a table. The closing table and RESULTS.md are views of these.
"""

from __future__ import annotations

from dataclasses import dataclass

from locheads.paper.tables import (
    FREQUENCY_OF_L14_H24,
    HEADS,
    SPEARMAN_FLOOR,
    SPEARMAN_P,
    STABLE_KEPT,
    STABLE_THRESHOLDS,
    THRESHOLD_OF_LLAVA_15_7B,
    Reported,
    reported,
)

MODEL = "LLaVA-1.5-7B"
"""The paper's model that the closing table compares with, where it does not name another."""

PLACES = (
    *(f"Table {number}" for number in range(1, 10)),
    *(f"Figure {number}" for number in ("6b", 9, 10, 12, 13, 14)),
)
"""The paper's tables, and its figures with a number to compare or a case to look at."""


@dataclass(frozen=True)
class Counterpart:
    """Says which notebook and numbers redo a table or figure of the paper.

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
    Counterpart("Figure 6b", "Spearman's ρ", "02_iou_frequency_correlation", "spearman_rho", "samples"),
    Counterpart("Figure 9", "failures", "13_failures", "rec_acc50_counting", "counting_expressions"),
    Counterpart(
        "Figure 10", "texts with exactly their boxes", "20_several_objects", "exact_words_that_agree_all"
    ),
    Counterpart("Figure 12", "Spearman's ρ", "15_across_models", "spearman_rho", "samples"),
    Counterpart("Figure 13", "same heads over τ", "06_threshold", "same_top3_share_in_papers_range", ""),
    Counterpart("Figure 14", "same heads over N", "07_stability", "same_top3_kept_share", "samples"),
)
"""In the order of `PLACES`."""

METRICS = {"rec": "rec_acc50", "res": "res_ciou", "png": "average_recall", "spearman": "spearman_rho"}


def counterpart(place: str) -> Counterpart:
    """Returns the entry of a table or figure in `COVERAGE`."""
    return next(one for one in COVERAGE if one.place == place)


def key_of(entry: Reported) -> str:
    """Returns the name under which the counterpart of a reported number is saved in `results/`."""
    return counterpart(entry.table).key.format(
        metric=METRICS[entry.task],
        dataset=entry.dataset,
        split=name_of(entry.split),
        setting=name_of(entry.setting),
    )


def name_of(setting: str) -> str:
    """Returns a setting or split as results spell it: `k=4` → `k4`, `fixed, both` → `fixed_both`.

    Table 8 varies σ with a kernel of 7 and the kernel with σ = 1: `sigma=0` → `sigma0.0_kernel7`.
    """
    what, _, value = setting.partition("=")
    if what == "sigma":
        return f"sigma{float(value):.1f}_kernel7"
    if what == "kernel":
        return f"sigma1.0_kernel{value}"
    return setting.replace(", ", "_").replace(" ", "_").replace("=", "")


@dataclass(frozen=True)
class Headline:
    """Names a number of a notebook, with the paper's value.

    Attributes:
        notebook: Name of the notebook.
        key: Name of the number in `results/<world>/<notebook>.json`.
        paper: The paper's value as printed; `"-"` where it has none.
        source: Where the paper has it, and of which model where it is not `MODEL`.
    """

    notebook: str
    key: str
    paper: str = "-"
    source: str = ""


def headline_of(key: str, task: str, setting: str = "", model: str = MODEL, **column: str) -> Headline:
    """Returns the headline of a reported number: notebook and table are those of its counterpart.

    Args:
        key: Name of the number in `results/`.
        task: As in `tables.Reported`.
        setting: As in `tables.Reported`.
        model: As in `tables.Reported`.
        **column: `dataset` and `split` as in `tables.Reported`; RefCOCO val where they are left out.
    """
    dataset, split = column.get("dataset", "refcoco"), column.get("split", "val")
    entry = reported(task, model, dataset, split, setting)
    source = entry.table if model == MODEL else f"{entry.table}, {model}"
    return Headline(counterpart(entry.table).notebook, key, f"{entry.value / 100:.3f}", source)


def _ablation(key: str, setting: str) -> Headline:
    """Returns a number of Tables 5 and 8, which are of the larger model."""
    return headline_of(key, key[:3], setting, "LLaVA-1.5-13B")


def _named_heads(model: str) -> list[str]:
    return [f"L{layer} H{head}" for layer, head in HEADS[model]]


def _frequent_heads() -> str:
    first, *others = _named_heads(MODEL)
    return ", ".join([f"{first} {FREQUENCY_OF_L14_H24:.0f}%", *others])


HEADLINES = (
    Headline("01_head_profiling", "selected_heads", _frequent_heads(), "named in the text"),
    Headline("02_iou_frequency_correlation", "spearman_rho", f"> {SPEARMAN_FLOOR}", "each of ten models"),
    Headline("02_iou_frequency_correlation", "n_heads"),
    headline_of("rec_acc50_refcoco_val", "rec"),
    Headline("03_grounding", "rec_acc50_refcoco_val_random"),
    headline_of("rec_acc50_refcoco+_val", "rec", dataset="refcoco+"),
    headline_of("rec_acc50_refcocog_val", "rec", dataset="refcocog"),
    headline_of("res_ciou_refcoco_val", "res"),
    *(headline_of(f"res_ciou_k{k}", "res", f"k={k}") for k in (1, 3, 5)),
    _ablation("rec_acc50_fixed_attention_sum", "fixed, attention sum"),
    _ablation("rec_acc50_fixed_entropy", "fixed, entropy"),
    _ablation("rec_acc50_greedy_both", "greedy, both"),
    _ablation("rec_acc50_fixed_both", "fixed, both"),
    Headline("06_threshold", "threshold", f"{THRESHOLD_OF_LLAVA_15_7B:.3f}", "named in the text"),
    Headline("06_threshold", "same_top3_share_in_papers_range", "1.000", "Figure 13, τ from 0.2 to 0.6"),
    Headline("07_stability", "same_top3_kept_share", "1.000", "Figure 14, N from 1 to 14"),
    Headline("07_stability", "shared_top3_n100"),
    _ablation("rec_acc50_sigma0.0_kernel7", "sigma=0"),
    _ablation("rec_acc50_sigma1.0_kernel7", "sigma=1.0"),
    headline_of("rec_acc50_own_text", "rec", "own text", dataset="refcocog"),
    headline_of("rec_acc50_its_heads", "rec", "its heads", dataset="refcocog"),
    Headline("09_own_answer", "right_region_text"),
    Headline("09_own_answer", "right_region_heads"),
    headline_of("res_ciou_reasonseg_val", "res", dataset="reasonseg"),
    headline_of("res_ciou_reasonseg_test", "res", dataset="reasonseg", split="test"),
    headline_of("average_recall_all_largest", "png", model="DeepSeek-VL-7B", dataset="png", split=""),
    Headline("12_across_datasets", "mean_cost_of_foreign_heads"),
    Headline("12_across_datasets", "mean_cost_of_random_heads"),
    Headline("13_failures", "rec_acc50_counting"),
    Headline("13_failures", "rec_acc50_not_counting"),
    Headline("13_failures", "share_merged"),
    Headline("14_audit", "rec_acc50_default"),
    Headline("14_audit", "rec_acc50_first_release_as_shipped_five"),
    Headline("14_audit", "rec_acc50_later_rewrite_as_shipped_five"),
    Headline("14_audit", "rec_acc50_later_rewrite_criteria"),
    Headline("14_audit", "largest_effect"),
    Headline("15_across_models", "least_spearman_rho", f"> {SPEARMAN_FLOOR}", "each of ten models"),
    Headline("16_causes", "zero_frequency_20"),
    Headline("16_causes", "zero_random_20"),
    Headline("16_causes", "steer_frequency_20"),
    Headline("16_causes", "steer_random_20"),
    Headline("17_emergence", "half_way_beyond"),
    Headline("17_emergence", "half_way_rec_acc50"),
    Headline("18_training_data", "rec_acc50_words"),
    Headline("18_training_data", "rec_acc50_places"),
    Headline("18_training_data", "rec_acc50_boxes"),
    Headline("19_pooled_tokens", "boxes_grid"),
    Headline("19_pooled_tokens", "boxes_average"),
    Headline("19_pooled_tokens", "boxes_perceiver"),
    Headline("20_several_objects", "f1_agreement"),
    Headline("20_several_objects", "exact_words_that_agree_all"),
    Headline("21_confidence", "auroc_agreement"),
    Headline("21_confidence", "miss_rate_of_agreeing_half"),
    Headline("22_kinds_of_heads", "share_localizing"),
    Headline("22_kinds_of_heads", "choices_localizing"),
)
"""In the order of the table. Acc@0.5 and cIoU are fractions here; the paper prints per cent."""


@dataclass(frozen=True)
class Said:
    """Describes a value that the paper gives in its text or in a figure, and the number that redoes it.

    Attributes:
        title: What is measured, and the figure.
        value: The paper's value as printed.
        model: Which model it is of.
        notebook: Name of the notebook that redoes it.
        key: Name of the number in `results/<world>/<notebook>.json`.
    """

    title: str
    value: str
    model: str
    notebook: str
    key: str


def _said(title: str, value: str, model: str, place: str) -> Said:
    """Returns the entry of a figure: notebook and key are those of its counterpart."""
    one = counterpart(place)
    return Said(title, value, model, one.notebook, one.key)


SAID = (
    Said(
        "localization heads",
        "; ".join(", ".join(_named_heads(model)) for model in HEADS),
        "; ".join(HEADS),
        "01_head_profiling",
        "selected_heads",
    ),
    Said("τ", f"{THRESHOLD_OF_LLAVA_15_7B:g}", MODEL, "06_threshold", "threshold"),
    _said(
        "Spearman's ρ (Figure 6b)",
        f"> {SPEARMAN_FLOOR}, p < {SPEARMAN_P}",
        "each of ten models",
        "Figure 6b",
    ),
    _said(
        f"share of τ in {list(STABLE_THRESHOLDS)} with the same three heads (Figure 13)",
        "1",
        MODEL,
        "Figure 13",
    ),
    _said(
        f"share of N in {STABLE_KEPT[0]}…{STABLE_KEPT[1]} with the same three heads (Figure 14)",
        "1",
        MODEL,
        "Figure 14",
    ),
)
"""In the order of RESULTS.md."""
