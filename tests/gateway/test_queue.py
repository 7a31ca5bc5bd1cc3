import json
from concurrent.futures import ThreadPoolExecutor

from e2e.gateway.local import local_gateway
from e2e.gateway.replicas import simulated_replicas
from tests.gateway.asking import ask, ask_all, chat, haproxy_metric, queued, stream, until


ADDRESS = "127.0.1.51"
KEYS = {"high": "sk-high-aaaaaaaaaaaaaaaa gold", "low": "sk-low-bbbbbbbbbbbbbbbbb bulk"}
TIERS = [{"name": "gold", "priority": "High"}, {"name": "bulk", "priority": "Low"}]


def test_high_priority_passes_what_waits() -> None:
    routing = {"apiKeys": {"secretName": "keys", "tiers": TIERS}}
    with (
        simulated_replicas([ADDRESS]) as (replica,),
        local_gateway([ADDRESS], address="127.0.1.5", keys=KEYS, routing=routing) as gateway,
        ThreadPoolExecutor(16) as threads,
    ):
        replica.set(slots=1, first_token_seconds=0.15)
        until(
            lambda: haproxy_metric(gateway, "haproxy_server_limit_sessions", proxy="replicas", server="replica1") == 1,
            "one slot",
        )
        ended: list[str] = []

        def wait(tenant: str, size: int) -> int:
            key = KEYS[tenant].split()[0]
            status = ask(gateway, chat("x" * size), key=key).status
            ended.append(tenant)
            return status

        # Long prompts keep their priority when they come back from the second HAProxy.
        low = [threads.submit(wait, "low", size) for size in (10, 30_000) * 4]
        until(lambda: queued(gateway) == 7, "seven wait")
        high = [threads.submit(wait, "high", size) for size in (10, 30_000)]

        assert [each.result() for each in (*low, *high)] == [200] * 10

    # One runs when they come, and another may have been chosen already.
    assert set(ended[3:]) == {"low"}


def test_a_full_queue_and_a_long_wait_are_429() -> None:
    routing = {"queue": {"maxRequests": 2, "maxWaitSeconds": 1}}
    with (
        simulated_replicas([ADDRESS]) as (replica,),
        local_gateway([ADDRESS], address="127.0.1.5", routing=routing) as gateway,
        ThreadPoolExecutor(4) as threads,
    ):
        replica.set(slots=1, chunks=60, gap_seconds=0.05)
        until(
            lambda: haproxy_metric(gateway, "haproxy_server_limit_sessions", proxy="replicas", server="replica1") == 1,
            "one slot",
        )
        with stream(gateway) as running:
            waiting = [threads.submit(ask, gateway, chat("x" * size)) for size in (10, 30_000)]
            until(lambda: queued(gateway) == 2, "two wait")

            full = ask_all(gateway, [chat(), chat("x" * 30_000)])
            late = [each.result() for each in waiting]
            assert running.read().endswith(b"data: [DONE]\n\n")

    assert [(answer.status, answer.code) for answer in full] == [(429, "queue_full")] * 2
    assert [(answer.status, answer.code) for answer in late] == [(429, "queue_timeout")] * 2
    for answer in (*full, *late):
        assert int(answer.headers["retry-after"]) >= 1
        assert json.loads(answer.body)["error"]["type"] in {"rate_limit_error", "server_error"}


def test_what_waits_is_not_hurt_when_a_replica_hangs() -> None:
    addresses = ["127.0.1.51", "127.0.1.52"]
    with (
        simulated_replicas(addresses) as (good, bad),
        local_gateway(addresses, address="127.0.1.5") as gateway,
        ThreadPoolExecutor(24) as threads,
    ):
        for replica in (good, bad):
            replica.set(slots=2, first_token_seconds=0.05)
        until(
            lambda: haproxy_metric(gateway, "haproxy_server_limit_sessions", proxy="replicas", server="replica2") == 2,
            "few slots",
        )
        bad.set(ready=False, first_token_seconds=3.0)
        waiting = [threads.submit(ask, gateway, chat(str(number))) for number in range(24)]
        until(
            lambda: (
                haproxy_metric(gateway, "haproxy_server_status", proxy="replicas", server="replica2", state="UP") == 0
            ),
            "it is out",
        )
        before = bad.seen()["requests"]

        assert [each.result().status for each in waiting] == [200] * 24
        assert bad.seen()["requests"] == before
