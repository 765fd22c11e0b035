"""Shapes and types are checked at every call into the package; generated examples are the same every time."""

from __future__ import annotations

from importlib import import_module

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("locheads", "beartype.beartype")
import_module("locheads.model")  # mends the import of torchvision before a test imports transformers

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("ci")


LONGEST = {"test_other_models.py", "test_other_layouts.py"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of slow tests come first: of two workers, none is left alone with the longest at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in slow, item.path.name not in LONGEST))
