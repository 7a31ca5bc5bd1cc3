"""The text of a request that a model would read, for the content filter. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec


SPOKEN_FIELDS = ("instructions", "previous_input_messages", "messages", "prompt", "suffix", "input", "documents")
"""Fields of OpenAI's APIs and of vLLM's additions whose text becomes part of the prompt."""
SCHEMA_FIELDS = ("tools", "response_format", "text", "structured_outputs", "chat_template", "chat_template_kwargs")
"""Fields that a model reads as they are written, names included, or that say what the answer must look like."""
_UNREADABLE_FIELDS = ("prompt_embeds", "mm_payload")
"""Prompts that are no text."""
_MAIN_FIELDS = ("messages", "prompt", "input")


class Unreadable(ValueError):
    """A request whose text cannot be told. The message says why, to the client."""


def read_object(body: bytes) -> dict[str, Any] | None:
    """Return a body that is a JSON object in UTF-8; None where it is anything else."""
    try:
        document = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def main_field(document: dict[str, Any]) -> str | None:
    """Return the field that holds the prompt, to name it in an error."""
    return next((name for name in _MAIN_FIELDS if name in document), None)


def text_of_request(document: dict[str, Any]) -> str:
    """Return every text of a request that a model may read, a line for each.

    Raises Unreadable for a prompt that is not text, such as token ids: the filter would see nothing of it.
    """
    if any(document.get(name) is not None for name in _UNREADABLE_FIELDS):
        raise Unreadable(f"{' and '.join(_UNREADABLE_FIELDS)} cannot be checked by the content filter; send text")
    if not _is_text(document.get("prompt")):
        raise Unreadable("a prompt of token ids cannot be checked by the content filter; send text")
    try:
        spoken = [text for name in SPOKEN_FIELDS for text in _texts(document.get(name))]
        written = [msgspec.json.encode(document[name]).decode() for name in SCHEMA_FIELDS if document.get(name)]
    except RecursionError as error:
        raise Unreadable("the body is too deep") from error
    return "\n".join(spoken + written)


def _is_text(prompt: object) -> bool:
    if isinstance(prompt, list):
        return all(isinstance(item, str) for item in prompt)
    # An object is a template's name and its values, in the Responses API.
    return prompt is None or isinstance(prompt, str | dict)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            # A type is one of a few words that say nothing.
            if name != "type":
                yield from _texts(item)
