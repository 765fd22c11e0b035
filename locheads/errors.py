"""Defines the exception for problems that the user can fix, and the warning for skipped input."""

from __future__ import annotations


class LocheadsError(Exception):
    """A problem the user can fix; its one-line message names the file, sample or parameter and a remedy."""


class NothingToMeasure(LocheadsError):
    """Data that cannot answer a notebook's question: it ends there, and a run goes on with the next one."""


class LocheadsWarning(UserWarning):
    """Input that was skipped at the user's request; the message says what and why."""


def first_line(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].strip()
