"""Scores boxes, masks and rankings: metrics, samples grounded in one or many ways, tables with intervals."""
