"""Run notebooks headlessly, and keep what they leave: results, figures, tables."""
