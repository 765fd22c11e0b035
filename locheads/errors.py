"""The one exception for problems that the user can mend, and the one warning for those they let pass."""

from __future__ import annotations


class LocheadsError(Exception):
    """A problem the user can mend: one line that names the file, sample or parameter and what to do."""


class LocheadsWarning(UserWarning):
    """What was left out of a result, and why: the user asked to go on without it."""
