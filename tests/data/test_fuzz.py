"""A hundred damaged inputs per reader: no exception but the project's own; `fuzz.py` tries more by hand."""

from __future__ import annotations

import json
from typing import Any

import fuzz
import pytest
from hypothesis import HealthCheck, given, settings


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_no_exception_but_the_projects_own(kind: str) -> None:
    @settings(max_examples=100, suppress_health_check=list(HealthCheck))
    @given(fuzz.KINDS[kind][0])
    def each(value: Any) -> None:
        assert fuzz.attempt(kind, value) in ("read", "refused")

    each()


@pytest.mark.parametrize("kind", fuzz.KINDS)
def test_undamaged_inputs_are_read(kind: str) -> None:
    listed = [(json.dumps(fuzz.LINE).encode(), json.dumps(fuzz.OTHER_LINE).encode())]
    good: dict[str, list[Any]] = {
        "manifest": listed,
        "refcoco": [(fuzz._pickled(fuzz.REFERENCES), fuzz.as_json(fuzz.INSTANCES))],
        "reasonseg": [fuzz.as_json(fuzz.REASONSEG)],
        "narratives": [
            (fuzz.as_json(fuzz.NARRATIVES), fuzz.as_json(fuzz.PANOPTIC), fuzz.PANOPTIC_MASK.getvalue())
        ],
        "pictures": fuzz.PICTURES,
        "masks": [fuzz.PICTURES[0], fuzz.PICTURES[4], fuzz.PICTURES[8]],
    }
    for value in good[kind]:
        assert fuzz.attempt(kind, value) == "read"
