"""Others' numbers beside the audit's."""

from __future__ import annotations

from locheads.studies.audit_others import boxes_beside, independent_run


def test_the_independent_run_names_the_heads_it_finds_again():
    text = independent_run()
    assert "2 of 3 again (L14 H24, L14 H26)" in text and "L14 H13 13" in text


def test_scores_of_this_run_stand_below_those_of_others_in_percent():
    table = boxes_beside({"as shipped": (0.31, 0.78)}, "specimen")
    assert table["Acc@0.5 [%]"].tolist() == [46.0, 26.0, 56.2, 31.0]
    assert table["held against [%]"].tolist() == [80.3, 80.3, 86.5, 78.0]
    assert table.iloc[-1]["source"] == "specimen, here"
