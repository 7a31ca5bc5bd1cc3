"""Asks a replica for a client, and hands its answer over: at once, or when the content filter has seen it."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

from aiohttp import web
from multidict import CIMultiDict

from gptoss_runtime.activator.detour.answer import JSON_TYPE, WholeAnswer, is_stream, whole_events
from gptoss_runtime.activator.detour.cache import to_keep
from gptoss_runtime.activator.detour.content_filter import MAX_ANSWER_BYTES, Filter, Objection
from gptoss_runtime.activator.detour.relay import Collected, End, begin, collect, cut, heartbeats, relay
from gptoss_runtime.activator.events import comment, error_end
from gptoss_runtime.activator.forward import Answer, Forwarder, ForwardError, Request
from gptoss_runtime.gateway_contract import HELD_STATUS, Header
from gptoss_runtime.openai_errors import error_json


CHECKING = comment("checking")
"""Keeps a stream open that is collected to be judged."""
RETRY_AFTER_SECONDS = 5

Outcome = tuple[web.StreamResponse, WholeAnswer | None]
"""What the client was told, and what of it another client may be told too."""

log = logging.getLogger("gptoss_runtime.activator")


class Asker:
    """Carries requests to replicas. Ending a call early, as when the client leaves, stops the replica too."""

    def __init__(self, forwarder: Forwarder, content_filter: Filter | None, *, heartbeat_seconds: float) -> None:
        self._forwarder = forwarder
        self._filter = content_filter if content_filter is not None and content_filter.sees_answers else None
        self._heartbeat_seconds = heartbeat_seconds

    async def ask(self, request: web.Request, asked: Request, *, added: Mapping[str, str], keep_bytes: int) -> Outcome:
        """Answer `request` with what a replica says to `asked`.

        `added` are headers for the client. An answer of at most `keep_bytes` is given back too, if it may be kept.
        """
        try:
            async with self._forwarder.send(asked) as answer:
                if answer.status == HELD_STATUS:
                    # Its body may be empty: it was HAProxy that was to read it.
                    return no_replica(), None
                response: web.StreamResponse
                collected: Collected | None
                if self._filter is None or answer.status != HTTPStatus.OK:
                    response, collected = await relay(request, answer, added=added, keep_bytes=keep_bytes)
                elif is_stream(answer.header("content-type")):
                    response, collected = await self._checked_stream(request, answer, self._filter, added)
                else:
                    response, collected = await _checked(answer, self._filter, added)
                return response, _kept(answer, collected, keep_bytes)
        except ForwardError as error:
            log.warning("A request by the detour got no answer: %s", error)
            return bad_gateway("bad_gateway", "the gateway reached no replica; try again"), None

    async def _checked_stream(
        self, request: web.Request, answer: Answer, content_filter: Filter, added: Mapping[str, str]
    ) -> tuple[web.StreamResponse, Collected | None]:
        content_type = answer.header("content-type")
        response = await begin(request, answer.status, answer.headers, added)
        async with heartbeats(response, seconds=self._heartbeat_seconds, comment=CHECKING):
            collected = await collect(answer, limit_bytes=MAX_ANSWER_BYTES)
            if collected.end is End.BROKEN:
                collected = Collected(body=whole_events(collected.body), end=collected.end)
            objection = await content_filter.object_to_answer(content_type, collected)
        if objection is not None:
            await response.write(error_end(objection.error))
            await response.write_eof()
            return response, None
        await response.write(collected.body)
        if collected.end is End.BROKEN:
            cut(request)
            return response, None
        await response.write_eof()
        return response, collected


async def _checked(
    answer: Answer, content_filter: Filter, added: Mapping[str, str]
) -> tuple[web.StreamResponse, Collected | None]:
    collected = await collect(answer, limit_bytes=MAX_ANSWER_BYTES)
    if collected.end is End.BROKEN:
        return bad_gateway("replica_lost", "the replica was lost while it answered; try again"), None
    objection = await content_filter.object_to_answer(answer.header("content-type"), collected)
    if objection is not None:
        return objection_response(objection), None
    headers = CIMultiDict([*answer.headers, *added.items()])
    return web.Response(status=answer.status, headers=headers, body=collected.body), collected


def _kept(answer: Answer, collected: Collected | None, keep_bytes: int) -> WholeAnswer | None:
    if collected is None or collected.end is not End.WHOLE or len(collected.body) > keep_bytes:
        return None
    return to_keep(answer.status, dict(answer.headers), collected.body)


def objection_response(objection: Objection) -> web.Response:
    """Return what the content filter has to say."""
    return _error(objection.status, objection.code, objection.error, objection.retry_after_seconds)


def bad_gateway(code: str, message: str) -> web.Response:
    """Return the error of a request that may have reached a replica, so that nobody sends it again unasked."""
    error = error_json("server_error", code, message).encode()
    return _error(HTTPStatus.BAD_GATEWAY, code, error, RETRY_AFTER_SECONDS)


def no_replica() -> web.Response:
    """Return the error of a request that no replica took."""
    message = "no replica could take the request in time; try again"
    code = "no_replica"
    error = error_json("server_error", code, message).encode()
    return _error(HTTPStatus.SERVICE_UNAVAILABLE, code, error, RETRY_AFTER_SECONDS)


def _error(status: int, code: str, error: bytes, retry_after_seconds: int | None) -> web.Response:
    headers: dict[str, str] = {Header.CODE: code}
    if retry_after_seconds is not None:
        headers["retry-after"] = str(retry_after_seconds)
    return web.Response(status=status, headers=headers, body=error, content_type=JSON_TYPE)
