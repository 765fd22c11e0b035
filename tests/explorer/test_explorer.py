"""What the explorer shows, its page and its widget."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_up_explorer import MadeUp, made_up_explorer

from locheads.errors import LocheadsError
from locheads.explorer import page as pages
from locheads.explorer.data import choose_expressions, explorer_data, quantised


@pytest.fixture(scope="module")
def made() -> MadeUp:
    return made_up_explorer()


def gathered(made: MadeUp, **changed: object) -> dict[str, object]:
    given = {"profile": made.profile, "samples": made.samples, "shown": made.shown}
    return explorer_data(**{**given, **changed}, window_of=made.window_of, selection=made.selection)


def test_pictures_are_shown_whole_and_from_best_to_worst(made: MadeUp) -> None:
    names = [made.samples[place].image_id for place in made.shown]
    assert len(names) == 6 and names[::2] == names[1::2] and len(set(names)) == 3
    two = choose_expressions(made.profile, made.samples, made.window_of, made.selection.heads, pictures=2)
    assert two == [*made.shown[:2], *made.shown[-2:]]


def test_samples_without_a_box_are_never_chosen(made: MadeUp) -> None:
    some = [replace(one, box=None) if place != 3 else one for place, one in enumerate(made.samples)]
    assert choose_expressions(made.profile, some, made.window_of, made.selection.heads) == [3]
    none = [replace(one, box=None) for one in made.samples]
    with pytest.raises(LocheadsError, match="no sample has a box"):
        choose_expressions(made.profile, none, made.window_of, made.selection.heads)
    with pytest.raises(LocheadsError, match=f"sample {none[made.shown[0]].sample_id} has no box"):
        gathered(made, samples=none)


def test_heads_and_numbers_are_those_of_profile_and_selection(made: MadeUp) -> None:
    data = made.data
    assert [divmod(head, data["heads"]) for head in data["chosen"]] == list(made.selection.heads)
    assert data["chosen"] == data["ranking"][:3] and set(data["chosen"]) <= set(data["exact"])
    assert data["attention_sum"][9] == pytest.approx(
        float(made.profile.attention_sum[:, 1, 1].mean()), abs=1e-5
    )
    one = data["expressions"][0]
    assert one["entropy"][-1] is None  # the uniform map
    assert one["iou"][10] == pytest.approx(float(made.profile.iou[made.shown[0], 1, 2]), abs=1e-5)
    assert one["window"] == [
        getattr(made.window_of(tuple(one["size"])), side) for side in ("x0", "y0", "x1", "y1")
    ]


def test_a_profile_without_all_maps_is_refused(made: MadeUp) -> None:
    with pytest.raises(LocheadsError, match="no maps"):
        gathered(made, profile=made.profile.drop_vars("maps"))
    some = made.profile.copy(deep=True)
    some.maps[:, 0, 0] = np.nan
    with pytest.raises(
        LocheadsError, match=f"sample {made.samples[made.shown[0]].sample_id}: the profile lacks"
    ):
        gathered(made, profile=some)


def test_an_empty_map_is_quantised_to_nothing() -> None:
    steps, scales = quantised(np.array([[0.0, 0.0], [0.0, 131070.0]]))
    assert steps.tolist() == [[0, 0], [0, 65535]] and scales.tolist() == [0.0, 2.0]


def test_the_page_holds_its_data_whatever_an_expression_says(made: MadeUp, tmp_path: Path) -> None:
    size = pages.write_page(made.data, tmp_path / "explorer.html")
    text = (tmp_path / "explorer.html").read_text(encoding="utf-8")
    assert size == len(text.encode()) < pages.LIMIT
    (content,) = re.findall(
        r'<script type="application/json" id="data">(.*?)</script>', text, flags=re.DOTALL
    )
    assert json.loads(content) == json.loads(json.dumps(made.data))
    assert text.count("</script>") == 2 and "made-up &lt;model&gt;</title>" in text


def test_the_page_names_no_other_file_and_no_address(made: MadeUp) -> None:
    around = re.sub(
        r'<script type="application/json".*?</script>', "", pages.page(made.data), flags=re.DOTALL
    )
    assert not re.search(r"https?://|^import |@import|url\(|src=\"(?!data:)", around, flags=re.MULTILINE)


def test_a_page_above_the_limit_is_refused_and_leaves_no_file(
    made: MadeUp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "LIMIT", 10_000)
    with pytest.raises(
        LocheadsError, match=r"explorer\.html: the page would have 0\.\d MB, more than 0 MB; show fewer"
    ):
        pages.write_page(made.data, tmp_path / "explorer.html")
    assert list(tmp_path.iterdir()) == []


def test_the_widget_runs_the_same_code_on_the_same_data(made: MadeUp) -> None:
    widget = pytest.importorskip("locheads.explorer.widget", reason="anywidget is not installed")
    explorer = widget.Explorer(made.data)
    assert explorer.data == made.data
    state = explorer.get_state()
    assert {"data", "expression", "k", "heads", "sigma", "level", "box"} <= state.keys()
    assert (state["k"], state["sigma"], state["level"]) == (3, 1.0, 1.0)
    assert pages.module() in str(widget.Explorer._esm) or state["_esm"] == pages.module()
