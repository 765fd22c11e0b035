"""The README says what the committed results hold."""

from __future__ import annotations

import re
from collections.abc import Callable

import pandas as pd
import pytest

from locheads import paper
from locheads.run import outputs, runner

README = (outputs.ROOT / "README.md").read_text(encoding="utf-8")
Results = outputs.Results


def percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %"


def heads(results: Results) -> str:
    named = [f"L{h['layer']} H{h['head']} ({percent(h['frequency'], 0)})" for h in results["selected_heads"]]
    return ", ".join(named)


def correlation(results: Results) -> str:
    low, high = results["spearman_ci_low"], results["spearman_ci_high"]
    return f"ρ = {results['spearman_rho']:.2f} [{low:.2f}, {high:.2f}]"


def scores(results: Results) -> str:
    hits, chance = (percent(results[f"rec_acc50_{which}_control"]) for which in ("localization", "random"))
    overlap, few = percent(results["res_ciou_refcoco_val"]), results["held_out"]
    return f"Acc@0.5 {hits} (random heads {chance}), cIoU {overlap} (on {few})"


def number_of_heads(results: Results) -> str:
    values = ", ".join(f"{100 * results[f'res_ciou_k{k}']:.1f}" for k in (1, 3, 5))
    return f"cIoU {values} %"


def fixed_and_greedy(results: Results) -> str:
    fixed, greedy = (percent(results[f"rec_acc50_{way}_both"]) for way in ("fixed", "greedy"))
    return f"Acc@0.5 {fixed} fixed, {greedy} greedy"


def threshold(results: Results) -> str:
    same = percent(results["same_top3_share_in_papers_range"])
    return f"τ = {results['threshold']:.2f}, same three heads over {same} of the paper's range"


def stability(results: Results) -> str:
    return f"same three heads for {percent(results['same_top3_kept_share'])} of these"


def smoothing(results: Results) -> str:
    without, smoothed = (percent(results[f"rec_acc50_sigma{sigma}_kernel7"]) for sigma in ("0.0", "1.0"))
    return f"Acc@0.5 {without} without, {smoothed} with"


def own_answer(results: Results) -> str:
    words, looks = (percent(results[f"rec_acc50_{way}"]) for way in ("own_text", "its_heads"))
    return f"Acc@0.5 {words} in words, {looks} by its heads"


def reasoning(results: Results) -> str:
    val, test = (percent(results[f"res_ciou_reasonseg_{split}"]) for split in ("val", "test"))
    return f"cIoU {val} val, {test} test"


def narratives(results: Results) -> str:
    return f"average recall {percent(results['average_recall_all_largest'])}"


def across(results: Results) -> str:
    foreign, random = (100 * results[f"mean_cost_of_{which}_heads"] for which in ("foreign", "random"))
    return f"heads of another set cost {foreign:.1f} points, random ones {random:.1f}"


def failures(results: Results) -> str:
    counting, others = (percent(results[f"rec_acc50_{which}"]) for which in ("counting", "not_counting"))
    return f"Acc@0.5 {counting} where the expression counts, {others} elsewhere"


def audit(results: Results) -> str:
    names = ("default", "first_release_as_shipped_five", "later_rewrite_as_shipped_five")
    default, first, later = (percent(results[f"rec_acc50_{name}"]) for name in names)
    fixed = percent(results["rec_acc50_later_rewrite_criteria"])
    return (
        f"Acc@0.5 {default}; as shipped, {first} first release, {later} rewrite "
        f"({fixed} with its criteria and fixed heads)"
    )


def models(results: Results) -> str:
    rhos = ", ".join(f"{row['rho']:.2f}" for row in results["correlations"])
    return f"ρ = {rhos} in three models"


def causes(results: Results) -> str:
    removed, random = (percent(results[f"zero_{who}_20"]) for who in ("frequency", "random"))
    steered, other = (percent(results[f"steer_{who}_20"]) for who in ("frequency", "random"))
    return f"without 20 heads {removed} right (random {random}); steered, {steered} follow (random {other})"


def emergence(results: Results) -> str:
    three, beyond = (results[f"half_way_{name}"] for name in ("rec_acc50", "beyond"))
    heads = f"Acc@0.5 of three heads after {three:.0f} steps"
    return f"half way: {heads}, answers beyond guessing after {beyond:.0f}"


def training_data(results: Results) -> str:
    words, places, boxes = (percent(results[f"rec_acc50_{arm}"]) for arm in ("words", "places", "boxes"))
    return f"Acc@0.5 {words} learning from looks alone, {places} with places, {boxes} with boxes"


def pooled(results: Results) -> str:
    grid, blocks, queries = (percent(results[f"boxes_{arm}"]) for arm in ("grid", "average", "perceiver"))
    return f"mean box IoU {grid} on the grid, {blocks} over 2 × 2 blocks, {queries} through 64 queries"


def kinds(results: Results) -> str:
    share, choices = (percent(results[f"{of}_localizing"]) for of in ("share", "choices"))
    return f"{share} of the heads localize; {choices} of the choices fall on them"


def several(results: Results) -> str:
    found, every = (percent(results[f"f1_{name}"]) for name in ("agreement", "every_word"))
    exact = percent(results["exact_words_that_agree_all"])
    return f"F1 of nouns {found} (every word {every}); exact boxes {exact}"


def confidence(results: Results) -> str:
    low, high = (f"{100 * results[f'auroc_agreement_{end}']:.1f}" for end in ("low", "high"))
    misses, fewer = (percent(results[name]) for name in ("miss_rate", "miss_rate_of_agreeing_half"))
    ranked = f"AUROC of agreement {percent(results['auroc_agreement'])} [{low}, {high}]"
    return f"{ranked}; misses {misses}, of the agreeing half {fewer}"


@pytest.mark.parametrize(
    ("notebook", "text"),
    [
        ("01_head_profiling", heads),
        ("02_iou_frequency_correlation", correlation),
        ("03_grounding", scores),
        ("04_number_of_heads", number_of_heads),
        ("05_selection_criteria", fixed_and_greedy),
        ("06_threshold", threshold),
        ("07_stability", stability),
        ("08_smoothing", smoothing),
        ("09_own_answer", own_answer),
        ("10_reasoning_segmentation", reasoning),
        ("11_narrative_grounding", narratives),
        ("12_across_datasets", across),
        ("13_failures", failures),
        ("14_audit", audit),
        ("15_across_models", models),
        ("16_causes", causes),
        ("17_emergence", emergence),
        ("18_training_data", training_data),
        ("19_pooled_tokens", pooled),
        ("20_several_objects", several),
        ("21_confidence", confidence),
        ("22_kinds_of_heads", kinds),
    ],
)
def test_the_specimens_column_is_the_committed_results(notebook: str, text: Callable[[Results], str]) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| [{notebook}]"))
    assert row.split("|")[-2].strip() == text(outputs.load_results(outputs.SPECIMEN, notebook))


def test_the_papers_column_is_the_papers() -> None:
    rec, res = (paper.reported(task, "LLaVA-1.5-7B", "refcoco", "val").value for task in ("rec", "res"))
    assert f"Acc@0.5 {rec} %, cIoU {res} %" in README and f"ρ > {paper.SPEARMAN_FLOOR}" in README


COSTS = {
    "plain forward pass": "plain",
    "all maps of all layers, `output_attentions=True`": "eager",
    "all maps of all layers, vl-saliency 1.1.6": "vl-saliency",
    "rows of all heads": "capture",
    "rows of all heads, 7 expressions an image": "shared 7",
    "rows of three heads": "heads",
    "rows of three heads, 7 expressions an image": "shared heads 7",
}
"""Rows of the table of costs, and what they are called in the benchmark."""


def costs() -> list[str]:
    """The table of costs: median ratio and highest peak of each variant."""
    turns = pd.read_csv(outputs.ROOT / "benchmarks" / "results" / "capture-small-cpu.csv").groupby("variant")
    ratio, peak = turns.ratio.median(), turns.peak_mib.max()
    return [f"| {what} | {ratio[name]:.2f} | {peak[name]:.0f} MiB |" for what, name in COSTS.items()]


def test_the_table_of_costs_is_the_committed_benchmark() -> None:
    assert "\n".join(costs()) in README


def test_every_notebook_is_in_the_index_and_every_link_leads_somewhere() -> None:
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert {f"notebooks/{path.name}" for path in runner.notebooks()} <= set(links)
    assert all((outputs.ROOT / link).exists() for link in links)


def test_what_the_running_text_says_of_levels_and_misses_is_in_the_results() -> None:
    words = " ".join(README.split())
    levels = outputs.load_results(outputs.SPECIMEN, "08_smoothing")
    misses = outputs.load_results(outputs.SPECIMEN, "13_failures")
    assert f"reach {percent(levels['rec_acc50_sigma1.0_level2.0'])} (notebook 08)" in words
    assert "four of five misses hold two objects (notebook 13)" in words
    assert round(5 * misses["share_merged"] / (1 - misses["share_hit"])) == 4


def specimens(notebook: str) -> Results:
    return outputs.load_results(outputs.SPECIMEN, notebook)


def test_what_is_seen_as_in_the_paper_is_in_the_results() -> None:
    words = " ".join(README.split())
    rhos = [row["rho"] for row in specimens("15_across_models")["correlations"]]
    assert [rho >= paper.SPEARMAN_FLOOR for rho in rhos].count(False) == 1 and len(rhos) == 3
    assert "though ρ stays below 0.7 in one of three models" in words
    criteria = specimens("05_selection_criteria")
    assert criteria["rec_acc50_fixed_both"] > criteria["rec_acc50_greedy_both_high"]
    assert criteria["rec_acc50_fixed_attention_sum_high"] < criteria["rec_acc50_fixed_both_low"]
    assert "fixed heads beat greedy ones, the attention sum alone fails" in words
    assert specimens("06_threshold")["same_top3_share_in_papers_range"] == 1
    assert "the same heads stay over the paper's range of τ" in words


def test_what_is_not_seen_is_not_in_the_results() -> None:
    words = " ".join(README.split())
    criteria, counts = specimens("05_selection_criteria"), specimens("04_number_of_heads")
    assert criteria["rec_acc50_fixed_entropy"] >= criteria["rec_acc50_fixed_both"]
    assert counts["rec_acc50_k3"] <= counts["rec_acc50_k1_high"]
    levels = specimens("08_smoothing")
    assert levels["rec_acc50_sigma1.0_level1.0"] < levels["rec_acc50_sigma0.0_level1.0"]
    assert levels["rec_acc50_sigma1.0_level2.0"] >= levels["rec_acc50_sigma0.0_level2.0"]
    for said in (
        "that entropy alone fails", "that three heads are better than one",
        "(at the mean it does not; at twice the mean it costs nothing)",
    ):  # fmt: skip
        assert said in words.split("*Not* seen: ")[1]


def test_the_ceiling_is_that_of_notebook_03() -> None:
    ceiling = percent(specimens("03_grounding")["ceiling_rec_acc50_refcoco_val"], 0)
    assert f"the ceiling in notebook 03 is {ceiling}" in " ".join(README.split())


def test_every_number_of_the_prose_on_the_specimen_is_read_by_a_test() -> None:
    """A number that is added to these two paragraphs needs a line in the tests above."""
    start, end = (
        README.index("The specimen grounds less well"),
        README.index("Every number of the paper, beside"),
    )
    prose = re.sub(r"\(notebook \d\d\)|notebook \d\d", "", README[start:end])
    assert re.findall(r"\d[\d.]*", prose) == ["87.0", "100", "0.7"]


def test_what_the_recipe_says_was_reached_is_in_the_results() -> None:
    words = " ".join((outputs.ROOT / "locheads" / "specimen" / "README.md").read_text("utf-8").split())
    models, counts = specimens("15_across_models"), specimens("04_number_of_heads")
    _, narrow, third = models["correlations"]
    _, of_narrow, of_third = (row for row in models["rec_acc50_val"] if row["heads"] == "its heads")
    assert f"ρ of the narrow specimen is {narrow['rho']:.2f}".replace("0.", ".") in words
    assert f"of the same shape, has {third['rho']:.2f}".replace("0.", ".") in words
    assert f"with {narrow['heads']} and {third['heads']} heads the intervals hold .7" in words
    assert all(row["low"] < 0.7 < row["high"] for row in (narrow, third))
    assert f"(Acc@0.5 {100 * of_narrow['value']:.1f} and {percent(of_third['value'])})" in words
    hits = specimens("03_grounding")["rec_acc50_localization_control"]
    assert f"Boxes are right in {percent(hits)}, not 80 %" in words
    at_levels = [100 * counts[f"rec_acc50_best_at_{level}"] for level in ("1.5", "2")]
    assert "five are best of all ({:.1f} and {:.1f} %, notebook 04)".format(*at_levels) in words
    assert counts["best_k_at_1.5"] == counts["best_k_at_2"] == 5
