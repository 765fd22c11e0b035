"""Runs notebooks headlessly and keeps their output: results, figures, tables."""
