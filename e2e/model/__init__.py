"""A tiny gpt-oss checkpoint for tests: the real architecture, vocabulary and format, and a known answer.

Its weights are not random and not trained. They are a program, written by hand, that speaks well-formed harmony and
always says the same, whatever the temperature, so a test can assert the text. `min_tokens` in a request makes the
answer repeat itself, so a test can also ask for an answer of any length. Where a prompt offers the tool
`get_temperature`, it is called instead.
"""

from e2e.model.cached import ensure_model, ensure_variant
from e2e.model.program import ANSWER_TEXT, REASONING_TEXT
from e2e.model.variants import OTHER_ANSWER_TEXT, Variant
from e2e.model.write import write_model


__all__ = [
    "ANSWER_TEXT",
    "OTHER_ANSWER_TEXT",
    "REASONING_TEXT",
    "Variant",
    "ensure_model",
    "ensure_variant",
    "write_model",
]
