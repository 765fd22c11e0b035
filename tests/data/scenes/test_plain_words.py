from __future__ import annotations

from locheads.data.scenes.expressions import _HINTS, ATTRIBUTES, plain_words
from locheads.specimen.vocabulary import words


def test_a_hint_stands_for_a_shape_or_a_colour() -> None:
    assert plain_words("the one that looks like a banana") == "the crescent"
    assert plain_words("the one that looks like the sea") == "the blue object"


def test_every_hint_has_plain_words_of_the_vocabulary_and_no_two_share_them() -> None:
    plain = [plain_words(hint) for hint in _HINTS.values()]
    assert len(set(plain)) == len(_HINTS) and ATTRIBUTES[:2] == ("color", "shape")
    assert all(set(str(text).split()) <= set(words()) for text in plain)


def test_comparisons_and_other_texts_are_no_hints() -> None:
    for text in ("the odd one out", "the shape that appears twice the one on the left", "a banana", ""):
        assert plain_words(text) is None
