"""What the specimen's implicit queries amount to: most are a name in other words."""

from __future__ import annotations

from locheads.specimen.expressions import _HINTS
from locheads.specimen.scenes import SHAPES


def plain_words(query: str) -> str | None:
    """The plain expression that a hint stands for, `the one that looks like a banana` → `the crescent`.

    None for a query that compares objects (`the odd one out`), and for any text that is no hint.
    """
    for word, hint in _HINTS.items():
        if query == hint:
            return f"the {word}" if word in SHAPES else f"the {word} object"
    return None
