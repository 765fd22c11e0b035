"""Every exercise has a solution that asserts its outcome; none of it is in the student edition."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from test_contract import LARGEST, LOCAL_PATH, NOTEBOOKS, _output_problems, _texts

from locheads.model import own_answer
from locheads.model.loading import load_lvlm
from locheads.run import outputs

sys.path.insert(0, str(outputs.ROOT / "docs"))

import course

v4 = nbformat.v4
SOLUTIONS = sorted((outputs.ROOT / "notebooks" / "solutions").glob("*.ipynb"))
TAGGED = [
    path
    for path in [*NOTEBOOKS, *SOLUTIONS]
    if any(course.tagged(cell, "solution") for cell in nbformat.read(path, as_version=4).cells)
]


def sections(solution: NotebookNode) -> dict[int, list[NotebookNode]]:
    """The cells of each exercise, its text first."""
    found: dict[int, list[NotebookNode]] = {}
    for cell in solution.cells:
        if cell.cell_type == "markdown" and cell.source.startswith("## Exercise "):
            found[len(found) + 1] = []
        if found:
            found[len(found)].append(cell)
    return found


def unguarded(notebook: NotebookNode) -> Iterator[str]:
    """Checks that might pass on the blank: each has to read a name that nothing but a solution defines."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    given = set(dir(builtins)).union(
        *(course.assigned(cell.source) for cell in code if not course.tagged(cell, "solution"))
    )
    solved: set[str] = set()
    for cell in code:
        if course.tagged(cell, "solution"):
            solved |= course.assigned(cell.source) - given
        elif course.tagged(cell, "check") and not course.read(cell.source) & solved:
            yield cell.source


def test_every_notebook_has_solutions_of_its_name() -> None:
    assert [path.name for path in SOLUTIONS] == [path.name for path in NOTEBOOKS]


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_every_exercise_is_solved_and_checked(path: Path) -> None:
    notebook = nbformat.read(path.parents[1] / path.name, as_version=4)
    solved = sections(nbformat.read(path, as_version=4))
    wanted = course.exercises(notebook)
    assert len(wanted) >= 3 and list(solved) == list(wanted)
    for number, (title, *cells) in solved.items():
        assert title.source == f"## Exercise {number}\n\n{wanted[number]}"
        code = [cell for cell in cells if cell.cell_type == "code"]
        assert [cell.metadata.tags for cell in code] == [["solution"], ["check"]]
        assert "assert " in code[1].source
        assert "save_" not in "".join(cell.source for cell in code)


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_solutions_are_executed_once_without_a_complaint(path: Path) -> None:
    document = nbformat.read(path, as_version=4)
    code = [cell for cell in document.cells if cell.cell_type == "code"]
    assert path.stat().st_size < LARGEST
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert set(_output_problems(code)) <= {"no output that nbval compares"}
    text = "\n".join(_texts(document))
    assert not LOCAL_PATH.search(text) and str(outputs.ROOT) not in text


@pytest.mark.parametrize("path", TAGGED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_check_passes_on_the_blank(path: Path) -> None:
    assert list(unguarded(nbformat.read(path, as_version=4))) == []


def test_nothing_leaks_into_the_student_edition() -> None:
    students, solved = course.edition()
    assert len(students) == len(NOTEBOOKS) + len(SOLUTIONS)
    assert course.leaks(students, solved) == []
    stubs = [cell for one in students.values() for cell in one.cells if course.tagged(cell, "solution")]
    assert len(stubs) >= 3 * len(SOLUTIONS) and all("your turn" in cell.source for cell in stubs)


def small_exercise() -> NotebookNode:
    """An exercise as in the solutions: set-up, its text, a solution with its output, an answer, a check."""
    solution = v4.new_code_cell(
        "total = sum(numbers) + len(numbers)\nprint('the total is', total, 'this time')"
    )
    solution.outputs = [v4.new_output("stream", name="stdout", text="the total is 9 this time\n")]
    answer = v4.new_markdown_cell("It is nine, because three numbers count as three more.")
    check = v4.new_code_cell("assert total == 9")
    for cell, tag in ((solution, "solution"), (answer, "solution"), (check, "check")):
        cell.metadata["tags"] = [tag]
    text = v4.new_markdown_cell("## Exercise 1\n\n*(easy)* Add up.")
    return v4.new_notebook(cells=[v4.new_code_cell("numbers = [1, 2, 3]"), text, solution, answer, check])


def test_the_blank_keeps_text_and_checks_and_says_what_is_wanted() -> None:
    students = course.blanked(small_exercise())
    setup, text, stub, check = students.cells
    assert (setup.source, text.source) == ("numbers = [1, 2, 3]", "## Exercise 1\n\n*(easy)* Add up.")
    assert (
        stub.source.startswith("# Your turn. Later cells read: total.\n")
        and check.source == "assert total == 9"
    )
    assert all(not cell.get("outputs") for cell in students.cells)
    assert course.leaks({"x": students}, {"x": small_exercise()}) == []


@pytest.mark.parametrize(
    ("planted", "where"),
    [
        ("total = sum(numbers) + len(numbers)", "code"),
        ("Hint: It is nine, because three numbers count as three more.", "markdown"),
        ("# the total is 9 this time", "code"),
    ],
)
def test_a_planted_leak_is_found(planted: str, where: str) -> None:
    students = course.blanked(small_exercise())
    students.cells.append(v4.new_code_cell(planted) if where == "code" else v4.new_markdown_cell(planted))
    (found,) = course.leaks({"x": students}, {"x": small_exercise()})
    assert found.startswith("x: ")


def test_an_output_that_is_left_is_a_leak() -> None:
    assert "x: an output" in course.leaks({"x": small_exercise()}, {})


def test_a_check_that_reads_nothing_of_the_solution_is_found() -> None:
    exercise = small_exercise()
    assert list(unguarded(exercise)) == []
    exercise.cells[-1].source = "assert all(total for total in numbers) and numbers == [1, 2, 3]"
    exercise.cells[0].source += "\ntotal = 0"
    assert list(unguarded(exercise)) == [exercise.cells[-1].source]


@pytest.mark.slow
def test_in_a_kernel_the_small_exercise_fails_blank_and_passes_solved() -> None:
    NotebookClient(small_exercise(), kernel_name="python3").execute()
    students = course.blanked(small_exercise())
    NotebookClient(students, kernel_name="python3", allow_errors=True).execute()
    errors = [output.ename for cell in students.cells for output in cell.get("outputs", [])]
    assert errors == ["NotImplementedError", "NameError"]


def test_an_exercise_of_the_edition_fails_blank_and_passes_solved() -> None:
    """The third of notebook 09, which needs a model but no profile."""
    students, solved = course.edition()
    name = "exercises/09_own_answer.ipynb"
    names = {"words": own_answer, "lvlm": load_lvlm("specimen", "cpu")}
    for cell in sections(solved[name])[3]:
        if cell.cell_type == "code":
            exec(cell.source, names)
    names = {key: names[key] for key in ("words", "lvlm")}
    stub, check = (cell.source for cell in sections(students[name])[3] if cell.cell_type == "code")
    with pytest.raises(NotImplementedError, match="your turn"):
        exec(stub, names)
    with pytest.raises(NameError, match="boxes"):
        exec(check, names)


@pytest.mark.slow
def test_the_command_writes_the_edition(tmp_path: Path) -> None:
    command = [sys.executable, str(outputs.ROOT / "docs" / "course.py"), str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert said.startswith(f"{len(NOTEBOOKS) + len(SOLUTIONS)} notebooks in ")
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.ipynb")}
    assert names == {path.name for path in NOTEBOOKS} | {f"exercises/{path.name}" for path in SOLUTIONS}
