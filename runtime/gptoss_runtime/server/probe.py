"""Ask the model the same as at the start, and compare the answers. What to ask and how to compare is in `golden`."""

import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from gptoss_runtime.server.engine import Engine, Reply
from gptoss_runtime.server.golden import (
    Golden,
    WrongAnswerError,
    chat_request,
    check_chat,
    compare,
    completion_request,
    read_completion,
)
from gptoss_runtime.server.watchdog import Outcome, Probed


COMPLETIONS = "/v1/completions"
CHAT = "/v1/chat/completions"
FIRST_TIMEOUT_SECONDS = 60.0
"""For each answer of the start. The very first one makes kernels that need requests to be made."""
TIMEOUT_SECONDS = 10.0
"""For a probe of an idle engine, which takes a tenth of a second."""
BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
"""Statuses of an engine whose queue is full."""
_MAX_CHARACTERS = 200

log = logging.getLogger(__name__)


class Prober:
    """Knows what the model answered at the start.

    `chats`: whether it can be expected to hold a conversation, which made-up weights cannot.
    """

    def __init__(self, engine: Engine, model: str, *, chats: bool = True) -> None:
        self._engine = engine
        self._model = model
        self._chats = chats
        self._golden: Golden | None = None

    async def first(self) -> str:
        """Ask for the answers of the start, and return what is wrong with them; empty when they are good."""
        try:
            document = await self._good(COMPLETIONS, completion_request(self._model))
            golden = read_completion(document)
            if self._chats:
                check_chat(await self._good(CHAT, chat_request(self._model)))
        except WrongAnswerError as error:
            return str(error)
        self._golden = golden
        return ""

    async def again(self) -> Probed:
        """Probe an engine that has no requests."""
        started_at = time.monotonic()
        reply = await self._engine.ask_model(
            COMPLETIONS, completion_request(self._model), timeout_seconds=TIMEOUT_SECONDS
        )
        outcome, reason = self._outcome(reply)
        return Probed(outcome=outcome, reason=reason, started_at=started_at, ended_at=time.monotonic())

    def _outcome(self, reply: Reply) -> tuple[Outcome, str]:
        if reply.status is None:
            return Outcome.UNANSWERED, ""
        if reply.status in BUSY:
            return Outcome.BUSY, ""
        if reply.status != HTTPStatus.OK:
            return Outcome.WRONG, refused(reply)
        try:
            answer = read_completion(reply.document)
            if self._golden is not None:
                compare(self._golden, answer)
        except WrongAnswerError as error:
            return Outcome.WRONG, str(error)
        return Outcome.RIGHT, ""

    async def _good(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the answer's body. Raises WrongAnswerError when there is none, or one with another status than 200."""
        reply = await self._engine.ask_model(path, body, timeout_seconds=FIRST_TIMEOUT_SECONDS)
        if reply.status is None:
            raise WrongAnswerError(f"vLLM did not answer a first request to {path} in {FIRST_TIMEOUT_SECONDS:.0f} s")
        if reply.status != HTTPStatus.OK:
            raise WrongAnswerError(refused(reply))
        return reply.document


def refused(reply: Reply) -> str:
    """Return what an answer with another status than 200 says, in one line."""
    error = reply.document.get("error")
    message = str(error.get("message", "") if isinstance(error, dict) else error or "")
    words = f": {' '.join(message.split())[:_MAX_CHARACTERS]}" if message else ""
    return f"vLLM answered a request of the server's own with {reply.status}{words}"
