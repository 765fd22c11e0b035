"""Localization heads: a reproducible companion to arXiv 2503.06287."""

__version__ = "0.1.0"
