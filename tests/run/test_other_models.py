"""Every notebook runs with a model of another family than the specimen's, on data in the `refer` layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny_base
import tiny_models
import tiny_qwen
from whole_study import run_to_its_end, write_refer

pytestmark = pytest.mark.slow


def test_the_whole_study_with_qwen2_5_vl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tiny_base.TEXT, "num_hidden_layers", 8)
    monkeypatch.setattr(tiny_qwen, "SLIDING", {})
    model = tiny_models.save("qwen2_5_vl", tmp_path / "qwen")
    run_to_its_end(tmp_path, model, write_refer(tmp_path / "refer"), "chat", left_out=set(), recorded=True)
