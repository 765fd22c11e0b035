"""Explores heads and settings by hand: a widget for JupyterLab, and the same as one HTML page.

Both run the same JavaScript, whose boxes are those of `locheads.method.grounding.ground`.
"""
