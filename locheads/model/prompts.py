"""Defines the prompts around image and expression, and finds the query token.

The paper calls the last text token the query and does not print its prompt; its release puts a system
sentence before the image and nothing after the expression. A prompt here is a format string with
`{image}` and `{expression}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase, ProcessorMixin

from locheads.errors import LocheadsError

SYSTEM = (
    "You are a helpful language and vision assistant. "
    "You are able to understand the visual content that the user provides, "
    "and assist the user with a variety of tasks using natural language."
)
"""The system sentence of the release: its conversation template is called `referseg`."""

SPECIMEN_SYSTEM = "you look at the picture and say which object is meant"
"""The system sentence of the specimens, in words they know."""

PROMPTS = {
    "release": SYSTEM + "\n{image}\n{expression}",
    "specimen": SPECIMEN_SYSTEM + "\n{image}\n{expression}",
    "plain": "{image}\n{expression}",
}
"""The prompts that have a name; `chat`, the model's own chat template, is one more."""

Query = Literal["word", "period", "last"]
"""The query token whose row is captured.

`period`, the paper's reading of its example "the pizza mouth.": the period at the expression's end, appended
where there is none. `word`: the last token of its last word, before a period that it may have. `last`: the
last token of the whole text.
"""


def worded(expression: str, query: Query) -> str:
    """Returns the expression as the prompt holds it: stripped, and with one period at its end for `period`.

    Example:
        >>> worded("the red ring ", "period"), worded("the red ring.", "period")
        ('the red ring.', 'the red ring.')
    """
    text = expression.strip()
    return text + "." if query == "period" and not text.endswith(".") else text


def up_to_query(expression: str, query: Query) -> str:
    """Returns the part of the expression, as the prompt holds it, whose last token is the query.

    Example:
        >>> up_to_query("the red ring", "period"), up_to_query("the red ring.", "word")
        ('the red ring.', 'the red ring')
    """
    text = worded(expression, query)
    return (text.rstrip(". ") or text) if query == "word" else text


def resolve_prompt(prompt: str, processor: ProcessorMixin, image: str) -> str:
    """Resolves a prompt's name or format string into a text whose only placeholder is `{expression}`.

    Args:
        prompt: `release`, `specimen`, `plain`, `chat`, or a format string.
        processor: Gives the chat template and the beginning-of-text token.
        image: Placeholder of the image in this model's texts; empty: the processor puts it before the text.

    Raises:
        LocheadsError: The model has no chat template, or a placeholder is missing or repeated.
    """
    text = _chat(processor) if prompt == "chat" else PROMPTS.get(prompt, prompt).replace("{image}", image)
    placeholder = str(processor.image_token)
    if text.count(placeholder) != int(bool(image)) or text.count("{expression}") != 1:
        raise LocheadsError(
            f"prompt '{prompt}': give {', '.join(PROMPTS)}, chat, "
            "or a text with {image} and {expression} once each"
        )
    begin = processor.tokenizer.bos_token
    doubled = bool(begin) and text.startswith(begin) and _begins_itself(processor.tokenizer)
    return text.removeprefix(begin) if doubled else text


def _chat(processor: ProcessorMixin) -> str:
    if not processor.chat_template:
        raise LocheadsError("the model has no chat template; take prompt 'release', or an own one")
    content = [{"type": "image"}, {"type": "text", "text": "{expression}"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    return str(text)


def own_tokens(processor: ProcessorMixin) -> tuple[str, ...]:
    """Returns the texts that stand for a model's own tokens: special ones, and placeholders of media.

    Longer ones come first, so that the first one found in a text is the whole token.
    """
    added = processor.tokenizer.added_tokens_decoder.values()
    special = {token.content for token in added if token.special} | set(
        processor.tokenizer.all_special_tokens
    )
    named = {
        text for key, text in vars(processor).items() if key.endswith("_token") and isinstance(text, str)
    }
    return tuple(sorted((special | named) - {""}, key=lambda token: (-len(token), token)))


def marked_image(processor: ProcessorMixin) -> str:
    """Returns the image placeholder with the markers that the model's chat template puts around it.

    The placeholder alone, if there is no template or it moves the image away from between two texts.
    """
    content = [{"type": "text", "text": "A1"}, {"type": "image"}, {"type": "text", "text": "B2"}]
    placeholder = str(processor.image_token)
    if not processor.chat_template:
        return placeholder
    text = str(processor.apply_chat_template([{"role": "user", "content": content}]))
    between = text.partition("A1")[2].partition("B2")[0].strip()
    return between if between.count(placeholder) == 1 else placeholder


def _begins_itself(tokenizer: PreTrainedTokenizerBase) -> bool:
    return tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]


def tokens_after(tokenizer: PreTrainedTokenizerBase, queried: str, after: str, ids: Sequence[int]) -> int:
    """Counts the tokens after the query token.

    Args:
        tokenizer: The model's tokeniser.
        queried: From `up_to_query`: text that ends with the query token.
        after: All text behind it.
        ids: Token ids of the whole text, without padding.

    Raises:
        LocheadsError: The text does not end as described.
    """
    if not after:
        return 0
    whole = tokenizer(queried + after, add_special_tokens=False)["input_ids"]
    alone = tokenizer(queried, add_special_tokens=False)["input_ids"]
    common = next((i for i, (a, b) in enumerate(zip(whole, alone, strict=False)) if a != b), len(alone))
    following = whole[min(common, len(alone) - 1) + 1 :]
    if list(ids[len(ids) - len(following) :]) != list(following):
        raise LocheadsError(
            f"'{queried}': cannot tell where it ends in the prompt '…{after}'; "
            "take query 'last' or another prompt"
        )
    return len(following)
