"""Every table and figure of the paper is redone somewhere, and RESULTS.md is what the results give."""

from __future__ import annotations

import pytest

from locheads import paper
from locheads.paper.coverage import (
    COVERAGE,
    PLACES,
    SAID,
    Counterpart,
    Said,
    counterpart,
    headline_of,
    key_of,
    name_of,
)
from locheads.run import outputs, runner
from locheads.run.results_md import _value, report, worlds

NOTEBOOKS = {path.stem for path in runner.notebooks()}


def test_results_md_is_what_the_committed_results_give() -> None:
    written = (outputs.ROOT / "RESULTS.md").read_text(encoding="utf-8")
    assert written == report(worlds()), "run `locheads results`"


def test_every_place_of_the_paper_has_one_counterpart() -> None:
    assert tuple(one.place for one in COVERAGE) == PLACES
    assert {entry.table for entry in paper.everything()} <= set(PLACES)


@pytest.mark.parametrize("one", COVERAGE, ids=lambda one: one.place)
def test_the_counterpart_is_in_the_committed_results(one: Counterpart) -> None:
    if one.notebook not in NOTEBOOKS:
        pytest.xfail(f"{one.notebook} is not there")
    found = outputs.load_results(outputs.SPECIMEN, one.notebook)
    entries = [entry for entry in paper.everything() if entry.table == one.place]
    missing = {key_of(entry) for entry in entries} - set(found) if entries else {one.key} - set(found)
    assert not missing
    assert not one.samples or one.samples in found


@pytest.mark.parametrize("one", SAID, ids=lambda one: one.key)
def test_what_the_paper_says_without_a_table_is_in_the_committed_results(one: Said) -> None:
    assert one.key in outputs.load_results(outputs.SPECIMEN, one.notebook)
    assert f"| {one.title} | {one.value} | {one.model} |" in report([outputs.SPECIMEN])


def test_a_headline_takes_notebook_and_source_from_the_registry() -> None:
    one = headline_of("mine", "res", dataset="refcoco+")
    assert (one.notebook, one.key, one.paper, one.source) == ("03_grounding", "mine", "0.625", "Table 2")
    larger = headline_of("mine", "rec", "fixed, both", "LLaVA-1.5-13B")
    assert (larger.notebook, larger.source) == ("05_selection_criteria", "Table 5, LLaVA-1.5-13B")


@pytest.mark.parametrize(
    ("setting", "name"),
    [
        ("k=4", "k4"),
        ("greedy, attention sum", "greedy_attention_sum"),
        ("sigma=0", "sigma0.0_kernel7"),
        ("sigma=1.4", "sigma1.4_kernel7"),
        ("kernel=11", "sigma1.0_kernel11"),
        ("test short", "test_short"),
        ("", ""),
    ],
)
def test_settings_as_results_spell_them(setting: str, name: str) -> None:
    assert name_of(setting) == name


def test_every_reported_number_is_in_the_file_beside_its_counterpart() -> None:
    text = report([outputs.SPECIMEN])
    for entry in paper.everything():
        section = text.split(f"## {entry.table}:")[1].split("\n## ")[0]
        rows = [line for line in section.splitlines() if line.startswith(f"| {entry.model}")]
        told = next(r for r in rows if f" {entry.value:.1f} " in r or f" {entry.value:g} " in r)
        preset = f"`locheads run {counterpart(entry.table).notebook[:2]} "
        wanted = {"heads": "needs the real model", "text": preset, "summary": "mean of the models"}
        assert wanted.get(entry.kind, "baseline") in told
    assert "**specimen**" in text and "its numbers are never the paper's" in text


def test_a_value_has_its_interval_where_one_was_saved() -> None:
    assert _value({"a": 0.7}, "a", "rec") == "**70.0**"
    assert _value({"a": 0.7, "a_low": 0.61, "a_high": 0.79}, "a", "rec") == "**70.0** [61.0, 79.0]"
    found = {"spearman_rho": 0.7321, "spearman_ci_low": 0.5, "spearman_ci_high": 0.9}
    assert _value(found, "spearman_rho", "spearman") == "**0.732** [0.500, 0.900]"
    assert _value({"a": None}, "a", "rec") == "–"
