"""Models that are told apart by what they say, for tests in which one replaces another."""

from enum import StrEnum
from types import MappingProxyType

from e2e.model.program import USUAL, Texts


class Variant(StrEnum):
    """Names for `ensure_variant`."""

    USUAL = "usual"
    """The one of `ensure_model`."""
    OTHER = "other"
    """As good as the usual one, with another answer."""
    WRONG = "wrong"
    """It thinks and never answers: vLLM serves it, and each start's check is content, but not a golden prompt."""


OTHER_ANSWER_TEXT = "Greetings from a second tiny checkpoint, whose words differ."
TEXTS = MappingProxyType(
    {
        Variant.USUAL: USUAL,
        Variant.OTHER: Texts(answer=OTHER_ANSWER_TEXT),
        Variant.WRONG: Texts(concludes=False),
    }
)
