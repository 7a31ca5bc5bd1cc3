"""OpenAI's own client reads what the detour answers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from openai import APIError, AsyncOpenAI, BadRequestError
from openai.types.chat import ChatCompletionUserMessageParam

from tests.activator.detour_harness import PATIENCE_SECONDS, Gateway, detour
from tests.runtime.harness import scenario


QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "2+2?"}


@asynccontextmanager
async def client_of(gateway: Gateway) -> AsyncIterator[AsyncOpenAI]:
    transport = httpx2.AsyncHTTPTransport(uds=str(gateway.socket))
    http = httpx2.AsyncClient(transport=transport, timeout=PATIENCE_SECONDS)
    async with AsyncOpenAI(base_url="http://gateway/v1", api_key="sk-x", max_retries=0, http_client=http) as client:
        yield client


@scenario
async def test_it_reads_hits_and_misses(tmp_path: Path) -> None:
    async with detour(tmp_path, cache_bytes=2**20) as gateway, client_of(gateway) as client:
        raw = client.chat.completions.with_raw_response
        answers = [await raw.create(model="m", messages=[QUESTION], temperature=0) for _ in range(2)]
        assert [answer.headers["x-gptoss-cache"] for answer in answers] == ["miss", "hit"]
        first, second = (answer.parse() for answer in answers)
        assert first == second
        assert second.choices[0].message.content == "four"


@scenario
async def test_it_reads_streams_of_both(tmp_path: Path) -> None:
    async with detour(tmp_path, cache_bytes=2**20) as gateway, client_of(gateway) as client:
        told = []
        for _ in range(2):
            stream = await client.chat.completions.create(model="m", messages=[QUESTION], seed=7, stream=True)
            told.append([chunk async for chunk in stream])
        assert told[0] == told[1]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in told[1]) == "1:four"
        assert len(gateway.replica.asked) == 1


@scenario
async def test_it_reads_refusals(tmp_path: Path) -> None:
    async with detour(tmp_path, before=True, after=True) as gateway, client_of(gateway) as client:
        with pytest.raises(BadRequestError) as refused:
            await client.completions.create(model="m", prompt="forbidden")
        assert (refused.value.code, refused.value.param) == ("content_filter", "prompt")
        gateway.replica.says = "forbidden"
        stream = await client.chat.completions.create(model="m", messages=[QUESTION], stream=True)
        with pytest.raises(APIError, match="refused by the content filter"):
            await anext(aiter(stream))
