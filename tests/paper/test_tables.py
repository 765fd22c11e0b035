from __future__ import annotations

import numpy as np
import pytest

from locheads.errors import LocheadsError
from locheads.paper.open_choices import (
    ATTEMPTS,
    CHOICES,
    INDEPENDENT_FREQUENCIES,
    Choice,
    choices_frame,
)
from locheads.paper.tables import HEADS, REFER_COLUMNS, Reported, everything, frame, reported


@pytest.mark.parametrize(
    ("key", "value", "table"),
    [
        (("rec", "LLaVA-1.5-7B", "refcoco", "val"), 86.5, "Table 1"),
        (("rec", "LLaVA-7B", "refcoco", "val"), 80.3, "Table 1"),
        (("rec", "DeepSeek-VL-1.3B", "refcocog", "test"), 69.3, "Table 1"),
        (("rec", "Grounding DINO", "refcoco+", "testB"), 74.7, "Table 1"),
        (("rec", "Han et al.", "refcoco", "testB"), 51.7, "Table 1"),
        (("res", "LLaVA-1.5-13B", "refcoco+", "testA"), 67.1, "Table 2"),
        (("res", "Yu et al.", "refcocog", "val"), 31.1, "Table 2"),
        (("res", "F-LMM (DeepSeek-VL-7B)", "refcoco", "testA"), 78.8, "Table 7"),
        (("res", "LISA-13B", "reasonseg", "test long"), 50.9, "Table 3"),
        (("res", "LLaVA-1.5-13B", "reasonseg", "test"), 49.9, "Table 3"),
        (("res", "Yi-VL-6B", "refcoco", "val", "k=4"), 62.6, "Table 4"),
        (("rec", "LLaVA-1.5-13B", "refcoco", "val", "greedy, both"), 67.4, "Table 5"),
        (("rec", "LLaVA-1.5-7B", "refcocog", "val", "own text"), 2.92, "Table 6"),
        (("res", "LLaVA-1.5-13B", "refcoco", "val", "kernel=3"), 75.2, "Table 8"),
        (("png", "DeepSeek-VL-7B", "png", ""), 66.7, "Table 9"),
        (("spearman", "LLaVA-7B", "refcoco", ""), 0.783, "Figure 12"),
    ],
)
def test_printed_values(key: tuple[str, ...], value: float, table: str) -> None:
    entry = reported(*key)
    assert (entry.value, entry.table) == (value, table)


def test_ten_models_by_eight_columns() -> None:
    table = frame()
    for name in ("Table 1", "Table 2"):
        own = table[(table.table == name) & (table.kind == "heads")]
        assert (
            own.groupby("model").size().to_dict() == dict.fromkeys(own.model, 8) and own.model.nunique() == 10
        )
    assert len(REFER_COLUMNS) == 8


def test_every_table_is_there_with_all_its_numbers() -> None:
    counts = frame().groupby("table").size().to_dict()
    assert counts == {
        "Table 1": (10 + 13) * 8,
        "Table 2": (10 + 13) * 8,
        "Table 3": 4 * 4,
        "Table 4": 11 * 5,
        "Table 5": 6 * 2,
        "Table 6": 3 * 2,
        "Table 7": 4 * 8 + 1,
        "Table 8": 12 * 2,
        "Table 9": 2,
        "Figure 12": 6,
    }


def test_keys_are_unique() -> None:
    keys = frame()[["task", "model", "dataset", "split", "setting"]]
    assert not keys.duplicated().any()


def test_printed_means_of_table_4() -> None:
    table = frame()
    own = table[(table.table == "Table 4") & (table.kind == "heads")].groupby("setting").value.mean().round(1)
    printed = {k: reported("res", "mean", "refcoco", "val", f"k={k}").value for k in range(1, 6)}
    assert [k for k in printed if own[f"k={k}"] != printed[k]] == [4]
    assert (own["k=4"], printed[4]) == (66.6, 65.4)


def test_tables_agree_where_they_repeat_a_number() -> None:
    for entry in everything():
        if (
            entry.setting in ("k=3", "fixed, both", "sigma=1.0", "kernel=7", "its heads")
            and entry.model != "mean"
        ):
            assert entry.value == reported(entry.task, entry.model, entry.dataset, entry.split).value, entry


def test_values_lie_in_their_range() -> None:
    table = frame()
    rho = table.task == "spearman"
    assert table[rho].value.between(0.7, 1).all() and table[~rho].value.between(1, 100).all()


def test_unreported_is_an_error() -> None:
    with pytest.raises(LocheadsError, match="no rec / LLaVA-1.5-7B / refcocog / testA"):
        reported("rec", "LLaVA-1.5-7B", "refcocog", "testA")


def test_entries_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        everything()[0].value = 100.0  # type: ignore[misc]
    assert isinstance(everything()[0], Reported)


def test_named_heads() -> None:
    assert HEADS == {
        "LLaVA-1.5-7B": ((14, 24), (14, 13), (14, 26)),
        "LLaVA-1.5-13B": ((15, 39), (16, 30), (7, 2)),
    }


def test_open_choices() -> None:
    table = choices_frame()
    assert [answers.choice for answers in CHOICES] == list(Choice)
    assert table.shape == (17, 3) and list(table.index) == [choice.value for choice in Choice]
    assert table.loc["heads of a sample", ["first_release", "later_rewrite"]].str.contains("greedy").all()
    assert "period" in table.loc["query token", "paper"] and "raw" in table.loc["IoU behind ρ", "paper"]
    assert "bug" in table.loc["passing heads", "first_release"]
    assert table.loc["logarithm", "later_rewrite"] == "natural"


def test_independent_run() -> None:
    frequencies = list(INDEPENDENT_FREQUENCIES.values())
    assert frequencies == sorted(frequencies, reverse=True) and len(frequencies) == 13
    assert INDEPENDENT_FREQUENCIES[14, 24] == 57.1
    # one head of the paper's three is not among the independent run's first twelve
    ranks = [list(INDEPENDENT_FREQUENCIES).index(head) for head in HEADS["LLaVA-1.5-7B"]]
    assert ranks == [0, 12, 1]


def test_others_fall_short_of_what_the_paper_reports() -> None:
    own = [attempt for attempt in ATTEMPTS if "issue 13" in attempt.source]
    assert np.array_equal([attempt.value for attempt in own], [46.0, 26.0])
    assert {attempt.against for attempt in own} == {reported("rec", "LLaVA-7B", "refcoco", "val").value}
    (asked,) = [attempt for attempt in ATTEMPTS if "in words" in attempt.what]
    assert asked.value == 56.2
    assert asked.against == reported("rec", "LLaVA-1.5-7B", "refcoco", "val").value
