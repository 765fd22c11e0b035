"""The quick checks ask what the paper's summary asks; package and results bear their answers out."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import numpy as np
import pytest

from locheads import paper
from locheads.method.geometry import Window
from locheads.method.grounding import ground
from locheads.run import outputs, runner


def quick_checks(path: Path) -> str:
    """The text between the headings of the quick checks and of the exercises, in one line."""
    document = nbformat.read(path, as_version=4)
    prose = "\n".join(cell.source for cell in document.cells if cell.cell_type == "markdown")
    return " ".join(prose.partition("## Quick checks")[2].partition("## Exercises")[0].split())


def of(number: str) -> str:
    return quick_checks(runner.find_notebook(number))


@pytest.mark.parametrize("path", runner.notebooks(), ids=lambda path: path.stem)
def test_every_notebook_has_two_with_folded_answers(path: Path) -> None:
    text = quick_checks(path)
    folds = re.findall(r"<details><summary>(?:Answer|Expected)</summary>.+?</details>", text)
    assert len(folds) >= 2 and len(folds) == text.count("<details>")


def test_the_summarys_questions_are_among_them() -> None:
    assert "why is L14H24 a localization head and L14H10 not" in of("01")
    assert "What do REC and RES return for “the red cup on the left”?" in of("03")


def test_the_patches_of_the_16_by_16_map_make_the_box_of_the_answer() -> None:
    text = of("03")
    weights = "4.0 at (row 3, column 5), 3.5 at (3, 6), 3.0 at (4, 5), 0.5 at (10, 10) and 0 elsewhere"
    assert "On a 16 × 16 map" in text and weights in text
    summed = np.zeros((1, 16, 16))
    for (row, column), weight in {(3, 5): 4.0, (3, 6): 3.5, (4, 5): 3.0, (10, 10): 0.5}.items():
        summed[0, row, column] = weight
    found = ground(summed, Window.stretch((16, 16), (16, 16)), kernel=1)
    assert found.mask.sum() == 4 and found.region[3:5, 5:7].sum() == found.region.sum()
    assert found.box_cells.tolist() == [5, 3, 7, 5]
    assert "x from 5 to 7, y from 3 to 5" in text


def test_the_three_first_experiments_expect_what_the_results_hold() -> None:
    text = of("03")
    grounding = outputs.load_results(outputs.SPECIMEN, "03_grounding")
    numbers = outputs.load_results(outputs.SPECIMEN, "04_number_of_heads")
    pairs = outputs.load_results(outputs.SPECIMEN, "02_iou_frequency_correlation")
    assert pairs["mean_iou_selected_meant"] > 0.6 and pairs["mean_iou_selected_rival"] < 0.04
    three, random = (100 * grounding[f"rec_acc50_{who}_control"] for who in ("localization", "random"))
    assert f"from {three:.1f} to {random:.1f} %" in text
    here = ", ".join(f"{100 * numbers[f'rec_acc50_k{k}']:.1f}" for k in (1, 3))
    assert f"`Acc@0.5` of {here} and {100 * numbers['rec_acc50_k6']:.1f} % with one, three and six" in text
    frame = paper.frame().query("table == 'Table 4' and model == 'LLaVA-1.5-7B'").set_index("setting").value
    assert f"cIoU of {frame['k=1']}, {frame['k=3']} and {frame['k=5']} %" in text
