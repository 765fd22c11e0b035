"""Localization heads: a reproducible companion to arXiv 2503.06287."""

import warnings

# Libraries probe for notebook widgets when they are imported; without them they fall back to text.
warnings.filterwarnings("ignore", message="IProgress not found")

__version__ = "1.0.0"
