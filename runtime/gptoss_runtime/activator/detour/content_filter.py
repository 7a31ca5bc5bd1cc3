"""What the content filter does with requests and answers, by the moderation model's word."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from gptoss_runtime.activator.detour.answer import WholeAnswer, text_of
from gptoss_runtime.activator.detour.moderation import Judgement, Moderator, Stage, Verdict
from gptoss_runtime.activator.detour.relay import Collected, End
from gptoss_runtime.activator.detour.words import Unreadable, main_field, text_of_request
from gptoss_runtime.gateway_contract import ContentFilter
from gptoss_runtime.openai_errors import error_json


MAX_ANSWER_BYTES = 8_000_000
"""An answer larger than this is not judged, but refused."""
RETRY_AFTER_SECONDS = 5

_REFUSED = "content_filter"
_BAD_REQUEST = 400
_BAD_GATEWAY = 502
"""And not 503, which gateways take as the word that a request may be sent again."""

log = logging.getLogger("gptoss_runtime.activator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """Why a request is not carried out, or an answer not handed over."""

    status: int
    code: str
    error: bytes
    """The JSON that clients get."""
    retry_after_seconds: int | None = None


class Filter:
    """Judges what the orders say, and decides what a missing verdict means."""

    def __init__(self, orders: ContentFilter, moderator: Moderator) -> None:
        self._orders = orders
        self._moderator = moderator

    @property
    def sees_answers(self) -> bool:
        """Whether answers are judged."""
        return self._orders.after

    async def object_to_request(self, document: dict[str, Any] | None) -> Objection | None:
        """Return why a request with this body must not reach a replica; None: it may.

        A body that the filter cannot read is refused, whatever a replica would make of it.
        """
        if not self._orders.before:
            return None
        if document is None:
            return _refused("the body must be a JSON object in UTF-8", code="invalid_json")
        param = main_field(document)
        try:
            text = text_of_request(document)
        except Unreadable as error:
            return _refused(str(error), param=param)
        judgement = await self._moderator.judge(Stage.BEFORE, text)
        return self._objection(judgement, "the request was refused by the content filter", param)

    async def object_to_answer(self, content_type: str, collected: Collected) -> Objection | None:
        """Return why an answer must not reach the client; None: it may."""
        if collected.end is End.TOO_LARGE:
            return _refused(f"the answer is larger than {MAX_ANSWER_BYTES} bytes, too large for the content filter")
        try:
            # In a thread: others do not wait while a long answer is read.
            text = await asyncio.to_thread(text_of, WholeAnswer(content_type=content_type, body=collected.body))
        except ValueError as error:
            judgement = Judgement(verdict=Verdict.FAILED, reason=f"the answer cannot be read: {error}")
        else:
            judgement = await self._moderator.judge(Stage.AFTER, text)
        return self._objection(judgement, "the answer was refused by the content filter", None)

    def _objection(self, judgement: Judgement, message: str, param: str | None) -> Objection | None:
        match judgement.verdict:
            case Verdict.ALLOWED:
                return None
            case Verdict.REFUSED:
                return _refused(message, param=param)
            case Verdict.FAILED:
                log.warning(
                    "Content filter: %s; the text is %s",
                    judgement.reason,
                    "refused" if self._orders.refuse_on_failure else "let through, as spec.routing.contentFilter says",
                )
                return _unavailable() if self._orders.refuse_on_failure else None


def _refused(message: str, *, code: str = _REFUSED, param: str | None = None) -> Objection:
    error = error_json("invalid_request_error", code, message, param).encode()
    return Objection(status=_BAD_REQUEST, code=code, error=error)


def _unavailable() -> Objection:
    message = "the content filter gave no verdict; try again"
    code = "content_filter_unavailable"
    error = error_json("server_error", code, message).encode()
    return Objection(status=_BAD_GATEWAY, code=code, error=error, retry_after_seconds=RETRY_AFTER_SECONDS)
