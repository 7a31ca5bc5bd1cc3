"""What a held request is told that cannot go on, as OpenAI's API would say it."""

import math
from dataclasses import dataclass

from gptoss_runtime.openai_errors import error_json


UNKNOWN_SECONDS = 5
"""Retry-After where no replica was ever seen to start."""
LONGEST_SECONDS = 600
"""Largest Retry-After."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An error of OpenAI's API.

    Its status is 429, not 503: HAProxy takes a 503 as the word that a held request may go on.
    """

    code: str
    message: str
    retry_after_seconds: int | None = None
    status: int = 429
    kind: str = "rate_limit_error"
    """The error's `type`."""

    def body(self) -> bytes:
        """Return the JSON that clients get."""
        return error_json(self.kind, self.code, self.message).encode()


def retry_after_seconds(estimate_seconds: float | None) -> int:
    """Return when a client should come again, from the estimated seconds until a replica is ready."""
    if estimate_seconds is None:
        return UNKNOWN_SECONDS
    return min(max(math.ceil(estimate_seconds), 1), LONGEST_SECONDS)


def hold_full(most: int, estimate_seconds: float | None) -> Refusal:
    """Return the refusal of a request that comes when `most` are held already."""
    seconds = retry_after_seconds(estimate_seconds)
    return Refusal(
        code="hold_full",
        message=f"No replica is ready, and {most} requests wait already. Try again in {seconds} s.",
        retry_after_seconds=seconds,
    )


def replicas_lost() -> Refusal:
    """Return the refusal of a request that lost one replica after the other."""
    return Refusal(
        code="bad_gateway",
        message="Every replica that took the request broke off before it answered.",
        status=502,
        kind="server_error",
    )


def hold_timeout(waited_seconds: float, estimate_seconds: float | None) -> Refusal:
    """Return the refusal of a request that has waited as long as it may."""
    seconds = retry_after_seconds(estimate_seconds)
    return Refusal(
        code="hold_timeout",
        message=f"No replica became ready in {waited_seconds:g} s. Try again in {seconds} s.",
        retry_after_seconds=seconds,
    )
