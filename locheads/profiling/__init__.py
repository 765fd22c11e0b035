"""Capture over a data set and judge every head: one labelled store on disk that can be resumed."""
