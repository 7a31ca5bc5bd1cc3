"""What the fake vLLM has in place of an engine: it takes steps while it has requests, and counts them as vLLM does."""

import asyncio
from typing import Any

from prometheus_client import Gauge, Histogram


STEP_SECONDS = 0.05
TOKENS = ("token_id:11", "token_id:12", "token_id:13", "token_id:14")
CACHE_TOKENS = 2033601
BUSY = {"error": {"message": "too many requests"}}
_LABELS = ("engine",)


class FakeEngine:
    """An engine that can be frozen, and can lie."""

    def __init__(self) -> None:
        self.requests = 0
        """Running ones of clients."""
        self.lie = ""
        """How the probe's answer is wrong: `token`, `drift`, `nan`, `error`; or a chat's: `chat`, `harmony` (it has no
        reasoning), `tool` (no call); or `busy`: all are refused."""
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._steps = Histogram("vllm:iteration_tokens_total", "Tokens of a step.", _LABELS).labels("0")
        self._running = Gauge("vllm:num_requests_running", "Running.", _LABELS).labels("0")
        self._waiting = Gauge("vllm:num_requests_waiting", "Waiting.", _LABELS).labels("0")
        self._cache = Gauge("vllm:kv_cache_usage_perc", "Cache.", _LABELS).labels("0")
        info = Gauge("vllm:cache_config_info", "Cache.", (*_LABELS, "kv_cache_size_tokens"))
        info.labels("0", str(CACHE_TOKENS)).set(1)
        for gauge in (self._running, self._waiting, self._cache):
            gauge.set(0)

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def run(self) -> None:
        """Take steps, whose numbers change only with them."""
        while True:
            await self._thawed.wait()
            if self.requests:
                self._steps.observe(1)
            self._running.set(self.requests)
            await asyncio.sleep(STEP_SECONDS)

    async def answer_probe(self) -> tuple[int, dict[str, Any]]:
        """Return status and body of the answer to a completion of given tokens."""
        await self._thawed.wait()
        if self.lie == "busy":
            return 503, BUSY
        if self.lie == "error":
            return 500, {"error": {"message": "Out of range float values are not JSON compliant"}}
        self._steps.observe(1)
        tokens = ["token_id:99", *TOKENS[1:]] if self.lie == "token" else list(TOKENS)
        value = {"drift": -3.0, "nan": float("nan")}.get(self.lie, -0.25)
        logprobs = {
            "tokens": tokens,
            "token_logprobs": [value] * len(tokens),
            "top_logprobs": [{token: value, "token_id:7": -4.0} for token in tokens],
        }
        return 200, {"choices": [{"text": "", "logprobs": logprobs}]}

    async def answer_chat(self, *, tools: bool = False) -> tuple[int, dict[str, Any]]:
        """Return status and body of the answer to a chat, which may offer the tool of the golden prompt."""
        await self._thawed.wait()
        if self.lie == "busy":
            return 503, BUSY
        content = "" if self.lie == "chat" else "Hello."
        reasoning = None if self.lie in {"chat", "harmony"} else "The user greets me."
        message: dict[str, Any] = {"role": "assistant", "content": content, "reasoning": reasoning}
        if tools and self.lie != "tool":
            message["tool_calls"] = [{"function": {"name": "get_temperature", "arguments": '{"city": "Paris"}'}}]
        return 200, {"choices": [{"message": message}]}
