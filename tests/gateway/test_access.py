import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.gateway.local import LocalGateway, local_gateway, write_secret
from e2e.gateway.replicas import SimulatedReplica, simulated_replicas
from tests.gateway.asking import ask, ask_all, ask_on, chat, connection, page, until
from tests.gateway.raw import Answer


ADDRESS = "127.0.1.71"
KEYS = {
    "plain": "sk-plain-aaaaaaaaaaaaaaaa",
    "hashed": f"sha256:{hashlib.sha256(b'sk-hashed-bbbbbbbbbbbbbbb').hexdigest()}",
    "rated": "sk-rated-cccccccccccccccc rated",
    "narrow": "sk-narrow-ddddddddddddddd narrow",
    "metered": "sk-metered-eeeeeeeeeeeeee metered",
}
PLAIN, HASHED = "sk-plain-aaaaaaaaaaaaaaaa", "sk-hashed-bbbbbbbbbbbbbbb"
RATED, NARROW, METERED = (KEYS[name].split()[0] for name in ("rated", "narrow", "metered"))
ROUTING = {
    "apiKeys": {
        "secretName": "keys",
        "tiers": [
            {"name": "rated", "requestsPerSecond": 5},
            {"name": "narrow", "concurrentRequests": 2},
            {"name": "metered", "tokensPerMinute": 30},
        ],
    },
    "limits": {"maxBodyBytes": 100_000, "maxTokens": 4096, "maxChoices": 4},
}
Served = tuple[LocalGateway, SimulatedReplica]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with (
        simulated_replicas([ADDRESS]) as (replica,),
        local_gateway([ADDRESS], address="127.0.1.7", keys=KEYS, routing=ROUTING) as gateway,
    ):
        yield gateway, replica


def said(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.code


def test_only_who_has_a_key_comes_in(served: Served) -> None:
    gateway, replica = served
    before = replica.seen()["heads"]

    strangers = [ask(gateway, chat(), key=key) for key in ("", "sk-wrong", PLAIN + "x", PLAIN[:-1], KEYS["hashed"])]
    assert [said(answer) for answer in strangers] == [(401, "invalid_api_key")] * 5
    assert replica.seen()["heads"] == before

    assert [ask(gateway, chat(), key=key).status for key in (PLAIN, HASHED)] == [200, 200]
    head = replica.seen()["last_head"]
    assert "x-gptoss-tenant: hashed\r\n" in head
    assert "authorization" not in head.lower()


def test_the_tenant_is_the_keys_not_the_clients(served: Served) -> None:
    gateway, replica = served

    ask(gateway, chat(), key=PLAIN, x_gptoss_tenant="root")

    assert replica.seen()["last_head"].lower().count("x-gptoss-tenant") == 1
    assert "x-gptoss-tenant: plain\r\n" in replica.seen()["last_head"]


def test_keys_change_without_a_dropped_connection(served: Served) -> None:
    gateway, _ = served
    new = "sk-newcomer-ffffffffffffffff"

    with connection(gateway) as client:
        assert ask_on(client, chat(), key=PLAIN).status == 200
        write_secret(gateway.directory / "keys", {**KEYS, "newcomer": new})
        until(lambda: ask_on(client, chat(), key=new).status == 200, "the new key is known")
        write_secret(gateway.directory / "keys", KEYS)
        until(lambda: ask_on(client, chat(), key=new).status == 401, "the new key is known no more")
        assert ask_on(client, chat(), key=PLAIN).status == 200


def test_too_many_requests_in_a_second_are_429(served: Served) -> None:
    gateway, _ = served

    answers = ask_all(gateway, [chat()] * 30, at_once=8, key=RATED)

    refused = [answer for answer in answers if answer.status != 200]
    assert {said(answer) for answer in refused} == {(429, "rate_exceeded")}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}
    # The burst takes less than two seconds, and others are not touched.
    assert 5 <= len(answers) - len(refused) <= 15
    assert ask(gateway, chat(), key=PLAIN).status == 200


def test_too_many_requests_at_once_are_429(served: Served) -> None:
    gateway, replica = served
    replica.set(first_token_seconds=1.0)
    try:
        with ThreadPoolExecutor(2) as threads:
            running = [threads.submit(ask, gateway, chat("x" * size), key=NARROW) for size in (10, 30_000)]
            until(lambda: replica.seen()["running"] == 2, "two run")
            third = ask(gateway, chat(), key=NARROW)
            assert [each.result().status for each in running] == [200, 200]
    finally:
        replica.set(first_token_seconds=0.0)

    assert said(third) == (429, "concurrency_exceeded")
    assert ask(gateway, chat(), key=NARROW).status == 200


def test_tokens_beyond_a_minutes_worth_are_429(served: Served) -> None:
    gateway, replica = served
    replica.set(usage_address=gateway.address, usage_port=gateway.usage_port)

    until(lambda: said(ask(gateway, chat(), key=METERED)) == (429, "tokens_exceeded"), "the tokens are used up")

    refused = ask(gateway, chat("x" * 30_000), key=METERED)
    assert said(refused) == (429, "tokens_exceeded")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert ask(gateway, chat(), key=PLAIN).status == 200


@pytest.mark.parametrize("size", [10, 30_000], ids=["short", "long"])
@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"max_tokens": 4096, "n": 4}, 200, None),
        ({"max_tokens": None}, 200, None),
        ({"max_tokens": 4097}, 400, "max_tokens"),
        ({"max_tokens": 1_000_000}, 400, "max_tokens"),
        ({"max_tokens": 10**12}, 400, "max_tokens"),
        ({"max_tokens": "5000"}, 400, "max_tokens"),
        ({"max_completion_tokens": 4097}, 400, "max_completion_tokens"),
        ({"max_output_tokens": 5000}, 400, "max_output_tokens"),
        ({"n": 5}, 400, "n"),
        ({"best_of": 100}, 400, "best_of"),
        ({"model": "gpt-4o"}, 404, "model"),
        ({"model": None}, 400, "model"),
    ],
    ids=str,
)
def test_what_a_request_may_ask_for(
    served: Served, fields: dict[str, object], status: int, param: str | None, size: int
) -> None:
    gateway, _ = served

    answer = ask(gateway, chat("x" * size, **fields), key=PLAIN)

    assert answer.status == status
    if param is not None:
        error = json.loads(answer.body)["error"]
        assert error["param"] == param
        assert param in error["message"]


def test_a_body_may_have_so_many_bytes_and_no_more(served: Served) -> None:
    gateway, _ = served

    assert ask(gateway, chat("x" * 99_000), key=PLAIN).status == 200
    assert said(ask(gateway, chat("x" * 100_000), key=PLAIN)) == (413, "request_too_large")


def test_models_are_served(served: Served) -> None:
    gateway, _ = served

    with connection(gateway) as client:
        client.request("GET", "/v1/models", headers={"authorization": f"Bearer {PLAIN}"})
        assert client.getresponse().status == 200


def test_metrics_tell_tenants_and_codes_apart(served: Served) -> None:
    gateway, _ = served
    ask(gateway, chat(), key=PLAIN)
    ask(gateway, chat(model="x"), key=PLAIN)
    url = f"http://{gateway.address}:{gateway.activator_port}/metrics"

    def seen() -> bool:
        lines = [line for line in page(url).splitlines() if 'tenant="plain"' in line]
        return any('"200"' in line for line in lines) and any('"404"' in line for line in lines)

    until(seen, "metrics of the tenant with both codes")
