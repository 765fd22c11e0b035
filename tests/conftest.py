"""Shapes and types are checked at every call into the package; generated examples are the same every time."""

from __future__ import annotations

from importlib import import_module

from hypothesis import settings
from jaxtyping import install_import_hook

install_import_hook("locheads", "beartype.beartype")
import_module("locheads.model")  # mends the import of torchvision before a test imports transformers

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("ci")
