"""Runs the command as `python -m locheads.cli`."""

from locheads.cli import main

main()
