"""Behaves like `vllm serve` as far as its supervisor can see, in a tenth of a second and without a model.

What it does is scripted by environment variables:
  FAKE_LOAD        named pipe; /health is refused until a byte is written into it (absent: at once)
  FAKE_LIE         how the answers of the start are wrong, as in fake_engine
  FAKE_FAIL        exit with status 1 at the start, after printing what vLLM prints then: `engine`, `usage` or `kill`
  FAKE_IGNORE_TERM "1": SIGTERM changes nothing
Scripted while it runs, over HTTP: POST /fake/health?status=, POST /fake/hang-health, POST /fake/die (exit status 0, as
vLLM does when its engine dies), POST /fake/finish (streams end), POST /fake/freeze and /fake/thaw (the engine), POST
/fake/lie?how= (its answers), POST /fake/pid, GET /fake/arguments.
A stream (POST /v1/completions) goes on until /fake/finish, and took 7 and 2 tokens. It goes through our middleware,
which is loaded here as vLLM loads it.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Awaitable
from types import SimpleNamespace
from typing import Any

from aiohttp import web
from prometheus_client import generate_latest

from gptoss_runtime.server.asgi import BODY, START, Message, Receive, Scope, Send
from gptoss_runtime.server.middleware import Middleware
from tests.runtime.fake_engine import FakeEngine


ENGINE_FAILURE = """\
(EngineCore pid=7) ERROR 11-22 07:04:41 [core.py:842] EngineCore failed to start.
(EngineCore pid=7) ERROR 11-22 07:04:41 [core.py:842] Traceback (most recent call last):
(EngineCore pid=7) ERROR 11-22 07:04:41 [core.py:842]   File "gpu_worker.py", line 1, in load_model
(EngineCore pid=7) ERROR 11-22 07:04:41 [core.py:842] ValueError: No available memory for the cache blocks.
Traceback (most recent call last):
  File "vllm", line 10, in <module>
RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {'EngineCore': 1}
"""
ENGINE_DEATH = "Engine core proc EngineCore died unexpectedly, shutting down client."
USAGE_FAILURE = "usage: vllm serve [model_tag] [options]\nvllm serve: error: unrecognized arguments: --frobnicate\n"


class Fake:
    def __init__(self) -> None:
        self.health_status = 200
        self.health_hangs = False
        self.finish = asyncio.Event()
        self.engine = FakeEngine()
        self.engine.lie = os.environ.get("FAKE_LIE", "")
        self.middleware = Middleware(self.app)

    async def health(self, _: web.Request) -> web.Response:
        if self.health_hangs:
            await asyncio.Event().wait()
        return web.Response(status=self.health_status)

    async def metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=generate_latest())

    async def models(self, _: web.Request) -> web.Response:
        names = sys.argv[sys.argv.index("--served-model-name") + 1 :]
        names = names[: next((i for i, name in enumerate(names) if name.startswith("-")), len(names))]
        return web.json_response({"data": [{"id": name, "max_model_len": 131072} for name in names]})

    async def arguments(self, _: web.Request) -> web.Response:
        return web.json_response({"arguments": sys.argv[1:], "environment": dict(os.environ)})

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = (await receive())["body"]
        if scope["path"].endswith("/chat/completions"):
            await answer(send, *await self.engine.answer_chat(tools=b'"tools"' in body))
        elif b"logprobs" in body:
            await answer(send, *await self.engine.answer_probe())
        else:
            await self.stream(scope, receive, send)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until told to finish, or until the client is gone."""
        self.engine.requests += 1
        try:
            await send({"type": START, "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
            await send({"type": BODY, "body": b"data: first\n\n", "more_body": True})
            if not await first_of(self.finish.wait(), receive()):
                return
            usage = SimpleNamespace(prompt_tokens=7, completion_tokens=2)
            scope["state"]["request_metadata"] = SimpleNamespace(final_usage_info=usage)
            await send({"type": BODY, "body": b"data: [DONE]\n\n", "more_body": False})
        finally:
            self.engine.requests -= 1

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Let the middleware answer, as uvicorn would."""
        response = web.StreamResponse()
        unread = [{"type": "http.request", "body": await request.read(), "more_body": False}]
        answered = asyncio.Event()

        async def receive() -> Message:
            if unread:
                return unread.pop()
            await answered.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if message["type"] == START:
                response.set_status(message["status"])
                response.headers.update({name.decode(): value.decode() for name, value in message["headers"]})
                await response.prepare(request)
            else:
                await response.write(message["body"])
                if not message.get("more_body", False):
                    answered.set()

        headers = [(name.lower(), value) for name, value in request.raw_headers]
        scope = {
            "type": "http",
            "method": request.method,
            "path": request.path,
            "headers": headers,
            "client": (request.remote, 1),
        }
        await self.middleware(scope, receive, send)
        return response

    async def order(self, request: web.Request) -> web.Response:
        match request.match_info["order"]:
            case "health":
                self.health_status = int(request.query["status"])
            case "hang-health":
                self.health_hangs = True
            case "finish":
                self.finish.set()
            case "freeze":
                self.engine.freeze()
            case "thaw":
                self.engine.thaw()
            case "lie":
                self.engine.lie = request.query["how"]
            case "pid":
                return web.Response(text=str(os.getpid()))
            case "die":
                sys.stdout.write(f"ERROR 11-22 07:04:41 [core_client.py:600] {ENGINE_DEATH}\n")
                sys.stdout.flush()
                os._exit(0)
            case "orphan":
                # A grandchild whose parent ends at once: it becomes the supervisor's child, and then a zombie.
                program = "import os; pid = os.fork(); (pid or os._exit(0)) and print(pid)"
                answer = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)  # noqa: ASYNC221
                return web.Response(text=answer.stdout)
            case other:
                raise web.HTTPNotFound(text=other)
        return web.Response(text="done")


async def answer(send: Send, status: int, document: dict[str, Any]) -> None:
    """Send a whole answer."""
    await send({"type": START, "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": BODY, "body": json.dumps(document).encode(), "more_body": False})


async def first_of(first: Awaitable[object], second: Awaitable[object]) -> bool:
    """Wait for one of two, and return whether it was the first."""
    tasks = [asyncio.ensure_future(first), asyncio.ensure_future(second)]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    return tasks[0] in done


async def opened(path: str, stop: asyncio.Event) -> None:
    """Wait until a byte is written into the pipe at `path`, or for the end."""
    loaded = asyncio.Event()
    # Read and write, so that the pipe is not at its end before somebody writes.
    pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    loop = asyncio.get_running_loop()
    loop.add_reader(pipe, loaded.set)
    waiting = [asyncio.ensure_future(loaded.wait()), asyncio.ensure_future(stop.wait())]
    await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(pipe)


def say(words: str) -> None:
    """Print a line as vLLM's engine does."""
    sys.stdout.write(f"(EngineCore pid=7) INFO 11-22 07:04:41 [gpu_model_runner.py:5040] {words}\n")
    sys.stdout.flush()


async def serve(port: int) -> None:
    fake = Fake()
    app = web.Application()
    app.add_routes(
        [
            web.get("/health", fake.health),
            web.get("/metrics", fake.metrics),
            web.get("/fake/arguments", fake.arguments),
            web.get("/v1/models", fake.models),
            web.post("/v1/completions", fake.serve),
            web.post("/v1/chat/completions", fake.serve),
            web.route("*", "/gptoss/{path:.*}", fake.serve),
            web.post("/fake/{order}", fake.order),
        ]
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if os.environ.get("FAKE_IGNORE_TERM") == "1":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        loop.add_signal_handler(signal.SIGTERM, stop.set)
    say("Starting to load model fake...")
    if path := os.environ.get("FAKE_LOAD"):
        await opened(path, stop)
    if stop.is_set():
        return
    say("Model loading took 13.7 GiB memory and 0.100000 seconds")
    # As in vLLM, a client that hangs up ends its request.
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    working = asyncio.create_task(fake.engine.run())
    await stop.wait()
    working.cancel()
    await runner.cleanup()


def main() -> None:
    match os.environ.get("FAKE_FAIL"):
        case "engine":
            sys.stderr.write(ENGINE_FAILURE)
            sys.exit(1)
        case "usage":
            sys.stderr.write(USAGE_FAILURE)
            sys.exit(2)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
    parser = ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    known, _ = parser.parse_known_args()
    asyncio.run(serve(known.port))


if __name__ == "__main__":
    main()
