"""The mathematics of the paper on arrays: geometry, criteria, selection, grounding.

Nothing here knows a model, a file or a plot.
"""
