"""Finds words whose maps are concentrated on one place, in texts that name no, one or two objects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from locheads.data import Annotated
from locheads.data.samples import Sample
from locheads.data.values import Box
from locheads.errors import NothingToMeasure
from locheads.evaluation.evaluate import Heads
from locheads.evaluation.intervals import percentiles, resampled_sums
from locheads.method.criteria import attention_sum, spatial_entropy
from locheads.method.grounding import ground
from locheads.model.lvlm import Lvlm
from locheads.model.words import WordMaps, capture_words
from locheads.studies.absent import absent_expressions, named_category

AGREEMENT, ENTROPY, SUM = "agreement of the heads", "low spatial entropy", "attention sum"
SCORES = (AGREEMENT, ENTROPY, SUM)
"""Scores of a word: higher means more like one place."""
SPACY = "en_core_web_sm"

WordCase = tuple[Image.Image, list[str], list[np.ndarray], list[float], list[bool]]
"""Picture, words, the map of each word over the picture, its score, and whether it is taken for a name."""
BoxCase = tuple[Image.Image, str, list[Box], list[Box]]
"""Picture, text, found boxes, true boxes."""


@dataclass(frozen=True)
class Text:
    """A text that names no object of the picture, one, or two.

    Attributes:
        name: Unique.
        sample: A sample of the picture.
        text: What is said.
        boxes: The objects (xyxy pixels) that it names, in this order.
        phrases: The part of the text of each.
    """

    name: str
    sample: Sample
    text: str
    boxes: tuple[Box, ...]
    phrases: tuple[str, ...]


def texts_of(
    samples: Sequence[Sample], objects: Mapping[str, Sequence[Annotated]], pictures: int, seed: int = 0
) -> list[Text]:
    """Makes three texts for each picture: of two objects ("… and …"), of one, and of one that is not there.

    Every phrase is an expression that says the name of its object's category.

    Args:
        samples: With boxes; expressions of several data sets on the same pictures go together.
        objects: All annotated objects, by image id.
        pictures: At most so many, drawn at random from those with two such objects.
        seed: Of the draws.

    Returns:
        Three texts per picture (two where every category is there), those of a picture together.

    Raises:
        NothingToMeasure: No picture has two such objects.
    """
    rng = np.random.default_rng(seed)
    named: dict[str, dict[Box, list[Sample]]] = defaultdict(lambda: defaultdict(list))
    for one in samples:
        if one.box is not None and named_category(one, objects):
            named[one.image_id][one.box].append(one)
    several = [name for name, boxes in named.items() if len(boxes) > 1]
    if not several:
        raise NothingToMeasure(
            "no picture has two objects whose expressions say their category; it takes data in the `refer` "
            "layout, which list all objects, and more of them"
        )
    chosen = [several[place] for place in rng.permutation(len(several))[:pictures]]
    without = {one.image_id: one for one in absent_expressions(samples, objects, len(objects), seed)}
    texts = []
    for name in chosen:
        pair = rng.permutation(len(named[name]))[:2]
        both = [list(named[name].values())[place] for place in pair]
        first, second = (some[rng.integers(len(some))] for some in both)
        some = [(first, second), (first,)]
        texts += [_joined(f"{name}-{len(ones)}", ones) for ones in some]
        if name in without:
            gone = without[name]
            texts.append(Text(f"{name}-0", first, plain_text(gone), (), (plain_text(gone),)))
    return texts


def _joined(name: str, samples: Sequence[Sample]) -> Text:
    phrases = tuple(map(plain_text, samples))
    return Text(
        name, samples[0], " and ".join(phrases), tuple(one.box for one in samples if one.box), phrases
    )


def plain_text(sample: Sample) -> str:
    """Returns an expression without the period at its end."""
    return sample.expression.strip().rstrip(". ")


def categories_of(objects: Mapping[str, Sequence[Annotated]]) -> frozenset[str]:
    """Returns the last word of each category's name, in lower case: the nouns that are known to be ones."""
    named = {one.category for some in objects.values() for one in some if one.category}
    return frozenset(name.lower().split()[-1] for name in named)


def words_of(
    lvlm: Lvlm, texts: Sequence[Text], heads: Heads, nouns: frozenset[str]
) -> tuple[pd.DataFrame, dict[str, WordMaps]]:
    """Captures the chosen heads at every word of each text, and scores and grounds each word.

    Args:
        lvlm: The frozen model.
        texts: The texts.
        heads: The localization heads.
        nouns: Words that count as nouns.

    Returns:
        One row per word: `text`, `image_id`, `targets` (number of objects), `place`, `word`, `noun`, the
        scores of `SCORES`, and `box` (xyxy pixels); and the maps by text. Punctuation marks are left out.
    """
    rows, maps = [], {}
    for text in texts:
        found = capture_words(lvlm, text.sample.image, text.text, heads)
        maps[text.name] = found
        for place, (word, some) in enumerate(zip(found.words, found.maps, strict=True)):
            if not word[0].isalnum():
                continue
            one = ground(some, lvlm.window(text.sample.size))
            row: dict[str, Any] = {"text": text.name, "image_id": text.sample.image_id}
            row |= {"targets": len(text.boxes), "place": place, "word": word, "noun": word.lower() in nouns}
            row |= {AGREEMENT: one.confidence, ENTROPY: -float(spatial_entropy(some).mean())}
            rows.append(row | {SUM: float(attention_sum(some).mean()), "box": tuple(map(float, one.box))})
    return pd.DataFrame(rows), maps


def f1_parts(words: pd.DataFrame, named: pd.Series) -> np.ndarray:
    """Returns, per word, whether it is found and a noun, found, and a noun: `word × 3`."""
    found, noun = named.to_numpy(bool), words.noun.to_numpy(bool)
    return np.stack([found & noun, found, noun], axis=-1).astype(float)


def f1(words: pd.DataFrame, named: pd.Series, seed: int = 0) -> dict[str, float]:
    """Computes the F1 of finding nouns, with the 95 % interval over pictures.

    Args:
        words: From `words_of`.
        named: Which words are taken for names.
        seed: Of the resamples.

    Returns:
        `precision`, `recall`, `F1`, `low`, `high`; a precision without any word found counts as 0.
    """
    parts = f1_parts(words, named)
    both, found, nouns = parts.sum(axis=0)
    drawn = resampled_sums(parts, words.image_id.to_numpy(), np.random.default_rng(seed))
    ratios = 2 * drawn[:, 0] / np.maximum(drawn[:, 1] + drawn[:, 2], 1)
    shares = {"precision": both / max(found, 1), "recall": both / max(nouns, 1)}
    return shares | {"F1": 2 * both / max(found + nouns, 1)} | vars(percentiles(ratios))


def best_threshold(words: pd.DataFrame, score: str) -> float:
    """Returns the threshold of a score with the highest F1 of nouns; of equal ones the highest threshold."""
    values = np.unique(words[score].to_numpy(float))[::-1]
    noun, order = words.noun.to_numpy(bool), words[score].to_numpy(float)
    scores = [2 * (noun & (order >= at)).sum() / ((order >= at).sum() + noun.sum()) for at in values]
    return float(values[int(np.argmax(scores))])


def spacy_nouns(texts: Sequence[Text], words: pd.DataFrame) -> pd.Series | None:
    """Returns which words spaCy takes for nouns; None, said in one line, where it is not installed."""
    if find_spec("spacy") is None or find_spec(SPACY) is None:
        print(f"spaCy is left out: install spacy and its model {SPACY} to compare with its nouns")
        return None
    import spacy

    tagger = spacy.load(SPACY)
    tagged = {one.name: [t.text for t in tagger(one.text) if t.pos_ in ("NOUN", "PROPN")] for one in texts}
    return pd.Series([row.word in tagged[row.text] for row in words.itertuples()], words.index)


def word_cases(
    texts: Sequence[Text], words: pd.DataFrame, maps: Mapping[str, WordMaps], lvlm: Lvlm, named: pd.Series
) -> list[WordCase]:
    """Returns texts as pictures, one per word: the sum of the heads' maps, the score, and if it is a name."""
    cases = []
    for one in texts:
        window, some = lvlm.window(one.sample.size), words[words.text == one.name]
        drawn = [window.grid_to_pixels(maps[one.name].maps[place].sum(axis=0)) for place in some.place]
        scores = some[AGREEMENT].tolist()
        cases.append((one.sample.image, some.word.tolist(), drawn, scores, named[some.index].tolist()))
    return cases


def box_cases(
    texts: Sequence[Text], found: Mapping[str, Sequence[Box]], outcome: pd.DataFrame, each: int = 2
) -> list[BoxCase]:
    """Returns, per number of targets, the first texts that are exact and the first that are not.

    Args:
        texts: The texts.
        found: Boxes by text.
        outcome: From `targets.outcomes`.
        each: How many texts per number of targets: half of them exact, where there are such.
    """
    chosen: list[str] = []
    for _, some in outcome.groupby("targets"):
        exact, other = some.text[some.exact].tolist(), some.text[~some.exact].tolist()
        chosen += [*exact[: each // 2], *other][:each] if exact else other[:each]
    by_name = {one.name: one for one in texts}
    return [
        (by_name[name].sample.image, by_name[name].text, list(found[name]), list(by_name[name].boxes))
        for name in chosen
    ]
