"""Load from inside the cluster, bounded in count and time: runs in a pod that has Python and nothing else.

    python3 - completions URL MODEL REQUESTS SECONDS [THREADS] [LARGEST]
        REQUESTS in all by THREADS (1) threads, each request on a connection of its own and with 4 tokens; no new one
        after SECONDS. Prompts grow from 1 KB to LARGEST bytes and begin again; without LARGEST they are one word.
    python3 - at-once URL MODEL REQUESTS TOKENS
        all at once, each with TOKENS tokens, not streamed
    python3 - streams URL MODEL STREAMS TOKENS [STOP]
        all at once, each with TOKENS tokens; with STOP, each thread begins a new stream as long as the file STOP is
        not there
    python3 - chats URL MODEL THREADS SECONDS STOP
        chats by THREADS threads, each begins a new one as long as the file STOP is not there, and within SECONDS

Prints one JSON document. Each thread whose stream has its first token or has ended, or that has sent a request, adds
its number to `/tmp/begun-KIND`, a line each time.
"""

import http.client
import itertools
import json
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


REQUEST_SECONDS = 400
"""Longer than the start of a replica on a busy machine, which held requests wait for."""
SMALLEST = 1_000
"""Bytes of the smallest prompt of mixed sizes; each next one is three times as long."""
ENOUGH_ERRORS = 5
BEGUN = "/tmp/begun-"  # noqa: S108 - in the client's pod, which nobody else is in
PROMPT_TOKENS = 64
"""What vLLM keeps of a prompt, so that the size of the request does not change what it computes."""
CHAT_TOKENS = 256
"""More than a chat with the tiny model takes."""
TEXT_LENGTH = 20
"""Letters that are kept of an answer: they tell the tiny models apart."""


class Request:
    """One request, and what became of it."""

    path = "/completions"

    def __init__(self, url: str, model: str, tokens: int, *, stream: bool = False, prompt: str = "Hello") -> None:
        self.url = urllib.parse.urlsplit(url)
        self.body = {
            "model": model,
            "prompt": prompt,
            "truncate_prompt_tokens": PROMPT_TOKENS,
            "max_tokens": tokens,
            "min_tokens": tokens,
            "stream": stream,
        }
        self.end = "no end"
        """The finish reason, or the status or the exception that came instead."""
        self.tokens = 0
        """Events with text that came, of a stream."""
        self.text = ""
        """The answer's beginning."""
        self.began = 0.0
        """In seconds since 1970."""
        self.comments: list[str] = []
        self.on_token: Callable[[], object] = lambda: None
        """Called for the first event with text."""

    def run(self) -> None:
        link = http.client.HTTPConnection(self.url.hostname or "", self.url.port, timeout=REQUEST_SECONDS)
        headers = {"content-type": "application/json"}
        self.began = time.time()
        try:
            link.request("POST", f"{self.url.path}{self.path}", json.dumps(self.body), headers)
            self.read(link.getresponse())
        except (OSError, http.client.HTTPException) as error:
            self.end = repr(error)
        finally:
            link.close()

    def read(self, response: http.client.HTTPResponse) -> None:
        if response.status != http.client.OK:
            self.end = f"{response.status} {response.read().decode()[:200]}"
        elif self.body["stream"]:
            for line in response:
                self.take(line.decode().strip())
        else:
            choice = json.loads(response.read())["choices"][0]
            self.keep(choice)
            self.end = choice["finish_reason"]

    def keep(self, choice: dict[str, Any]) -> None:
        self.text = (self.text + choice["text"])[:TEXT_LENGTH]

    def take(self, line: str) -> None:
        if line.startswith(":"):
            self.comments.append(line)
        if not line.startswith("data: {"):
            return
        event = json.loads(line.removeprefix("data: "))
        if "error" in event:
            self.end = f"error: {event['error']['code']}"
            return
        self.tokens += 1
        if self.tokens == 1:
            self.on_token()
        for choice in event["choices"]:
            self.keep(choice)
            self.end = choice.get("finish_reason") or self.end

    @property
    def answer(self) -> tuple[float, str, str]:
        return round(self.began, 3), self.text, self.end


class Chat(Request):
    """A request in harmony, which ends by itself."""

    path = "/chat/completions"

    def __init__(self, url: str, model: str) -> None:
        super().__init__(url, model, CHAT_TOKENS)
        self.body = {
            "model": model,
            "messages": [{"role": "user", "content": "Hello"}],
            "max_completion_tokens": CHAT_TOKENS,
            "stream": False,
        }

    def keep(self, choice: dict[str, Any]) -> None:
        self.text = (choice["message"]["content"] or "")[:TEXT_LENGTH]


def completions(
    url: str, model: str, requests: int, seconds: float, *, threads: int = 1, largest: int = 0
) -> dict[str, object]:
    ends: list[str] = []
    slowest = [0.0]
    sizes = list(itertools.takewhile(lambda size: size <= largest, (SMALLEST * 3**i for i in itertools.count())))
    deadline = time.monotonic() + seconds
    numbers = itertools.count()

    def work(thread: int) -> None:
        while (number := next(numbers)) < requests and time.monotonic() < deadline:
            began = time.monotonic()
            prompt = ("Hello world " * largest)[: sizes[number % len(sizes)]] if sizes else "Hello"
            request = Request(url, model, 4, prompt=prompt)
            mark("completions", thread)
            request.run()
            ends.append(request.end)
            slowest.append(time.monotonic() - began)

    together([partial(work, thread) for thread in range(threads)])
    errors = [end for end in ends if end != "length"]
    return {
        "answered": len(ends) - len(errors),
        "errors": errors[:ENOUGH_ERRORS],
        "slowest_seconds": round(max(slowest), 2),
    }


def at_once(url: str, model: str, count: int, tokens: int) -> dict[str, object]:
    requests = [Request(url, model, tokens) for _ in range(count)]
    together([request.run for request in requests])
    return {"finished": sorted(request.end for request in requests)}


def streams(url: str, model: str, count: int, tokens: int, stop: str = "") -> dict[str, object]:
    requests: list[Request] = []

    def work(thread: int) -> None:
        while True:
            request = Request(url, model, tokens, stream=True)
            request.on_token = partial(mark, "streams", thread)
            requests.append(request)
            request.run()
            mark("streams", thread)
            # One that fails ends its thread, or a lasting fault would make thousands of them.
            if not stop or request.end != "length" or Path(stop).exists():
                return

    together([partial(work, thread) for thread in range(count)])
    return {
        "finished": sorted(request.end for request in requests),
        "begun": sum(request.tokens > 0 for request in requests),
        "commented": sum(bool(request.comments) for request in requests),
        "comments": sorted({comment for request in requests for comment in request.comments}),
        "answers": [request.answer for request in requests],
    }


def chats(url: str, model: str, count: int, seconds: float, stop: str) -> dict[str, object]:
    answers: list[tuple[float, str, str]] = []
    deadline = time.monotonic() + seconds

    def work(thread: int) -> None:
        while time.monotonic() < deadline and not Path(stop).exists():
            chat = Chat(url, model)
            mark("chats", thread)
            chat.run()
            answers.append(chat.answer)

    together([partial(work, thread) for thread in range(count)])
    return {"answers": answers}


def mark(kind: str, thread: int) -> None:
    with Path(f"{BEGUN}{kind}").open("a") as begun:
        begun.write(f"{thread}\n")


def together(works: list[Callable[[], None]]) -> None:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 2 * REQUEST_SECONDS
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def main() -> None:
    kind, url, model, count, bound, *more = sys.argv[1:]
    match kind:
        case "streams":
            result = streams(url, model, int(count), int(bound), *more)
        case "at-once":
            result = at_once(url, model, int(count), int(bound))
        case "chats":
            result = chats(url, model, int(count), float(bound), *more)
        case _:
            options = dict(zip(("threads", "largest"), map(int, more), strict=False))
            result = completions(url, model, int(count), float(bound), **options)
    print(json.dumps(result))


main()
