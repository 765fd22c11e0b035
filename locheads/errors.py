"""The one exception for problems that the user can mend."""

from __future__ import annotations


class LocheadsError(Exception):
    """A problem the user can mend: one line that names the file, sample or parameter and what to do."""
