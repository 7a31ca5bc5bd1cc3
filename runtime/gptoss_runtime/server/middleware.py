"""ASGI middleware that runs inside vLLM: `--middleware gptoss_runtime.server.middleware.Middleware`.

It withholds the head of a stream until its first token (`withhold`), counts requests by gateway and tokens by tenant,
reports a request's tokens to the gateway that it came from, and ends a stream that breaks off with an error that
clients understand (`exchange`). It can end all requests at once (`cut`), and tells vLLM's numbers cheaply (`numbers`).
On a token's way it does no more than to remember the last part and to count.

Standard library only, since it is imported by vLLM's process.
"""

import asyncio
import json
from typing import Final

from gptoss_runtime.server import numbers
from gptoss_runtime.server.asgi import App, Receive, Scope, Send, answer, header_of
from gptoss_runtime.server.books import CUT_PATH, IN_FLIGHT_PATH, NUMBERS_PATH, OWN_HEADER, TOKENS_PATH, Books
from gptoss_runtime.server.cut import Cut
from gptoss_runtime.server.exchange import Exchange, refuse
from gptoss_runtime.server.withhold import WithholdHead


API: Final = "/v1/"
"""How the paths begin whose requests are counted."""
OURS: Final = "/gptoss/"
"""How the paths begin that only the supervisor asks for."""

_NOT_FOUND: Final = 404


class Middleware:
    """What vLLM is started with. One for the life of the process."""

    def __init__(self, app: App) -> None:
        self._app = WithholdHead(app)
        self._books = Books()
        self._own_books = Books()
        """Where the supervisor's own requests are counted, which nobody reads."""
        self._cut = Cut()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or whatever else `scope` stands for."""
        path = scope.get("path", "")
        if scope["type"] == "http" and path.startswith(API):
            await self._watch(scope, receive, send)
        elif scope["type"] == "http" and path.startswith(OURS):
            await self._tell(scope["method"], path, send)
        else:
            await self._app(scope, receive, send)

    async def _watch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._cut.is_made:
            await refuse(send)
            return
        # vLLM leaves the count of tokens here; it must be the same dict that we look into.
        scope.setdefault("state", {})
        own = self._cut.allows(header_of(scope, OWN_HEADER))
        exchange = Exchange(scope, receive, send, self._own_books if own else self._books)
        self._cut.enter(exchange)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except (Exception, asyncio.CancelledError):
            exchange.note_failure()
            if exchange.was_cut:
                # The client has its answer; how the application took the news matters to nobody.
                return
            # Cancelled is what still runs when vLLM's time to stop is over; a client that hung up shows otherwise.
            await exchange.break_off()
            raise
        finally:
            exchange.close()
            self._cut.leave(exchange)

    async def _tell(self, method: str, path: str, send: Send) -> None:
        if path == IN_FLIGHT_PATH:
            await answer(send, _json(self._books.requests()))
        elif path == TOKENS_PATH:
            await answer(send, _json(self._books.totals()))
        elif path == NUMBERS_PATH and (text := numbers.exposition()) is not None:
            await answer(send, text, kind=b"text/plain; version=0.0.4; charset=utf-8")
        elif path.startswith(f"{CUT_PATH}/") and self._cut.allows(path.removeprefix(f"{CUT_PATH}/")):
            await self._change_cut(method, send)
        else:
            await answer(send, _json({"error": "not found"}), status=_NOT_FOUND)

    async def _change_cut(self, method: str, send: Send) -> None:
        match method:
            case "POST":
                await answer(send, _json(await self._cut.make()))
            case "DELETE":
                self._cut.lift()
                await answer(send, _json({}))
            case _:
                await answer(send, _json({"error": "POST or DELETE"}), status=405)


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
