"""Captures maps over a data set and scores every head: one labelled store on disk that can be resumed."""
