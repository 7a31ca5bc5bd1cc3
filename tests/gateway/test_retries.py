from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from e2e.gateway.local import LocalGateway, local_gateway
from e2e.gateway.replicas import SimulatedReplica, simulated_replicas
from tests.gateway.asking import ask, ask_all, chat, haproxy_metric, stream, until


SIZES = (1_000, 9_000, 20_000, 200_000, 2_000_000)
ADDRESSES = ["127.0.1.61", "127.0.1.62"]
Fleet = tuple[LocalGateway, list[SimulatedReplica]]


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    with (
        simulated_replicas(ADDRESSES) as replicas,
        local_gateway(ADDRESSES, address="127.0.1.6") as gateway,
    ):
        yield gateway, replicas


def is_up(gateway: LocalGateway, number: int) -> bool:
    name = f"replica{number}"
    return haproxy_metric(gateway, "haproxy_server_status", proxy="replicas", server=name, state="UP") == 1


def test_a_replica_killed_before_the_first_token_loses_no_request(fleet: Fleet) -> None:
    gateway, (victim, other) = fleet
    for replica in (victim, other):
        replica.set(first_token_seconds=1.0)
    bodies = [chat("x" * size, stream=streamed) for size in SIZES for streamed in (False, True)] * 2

    with ThreadPoolExecutor(len(bodies)) as threads:
        waiting = [threads.submit(ask, gateway, body) for body in bodies]
        until(lambda: victim.seen()["running"] >= len(bodies) // 2, "half of them are at the victim")
        victim.kill()
        answers = [each.result() for each in waiting]

    assert [answer.status for answer in answers] == [200] * len(bodies)
    assert {answer.headers["x-replica"] for answer in answers} == {other.address}
    assert b"replica_lost" not in b"".join(answer.body for answer in answers)


@pytest.mark.parametrize("size", SIZES)
def test_503_and_an_early_end_are_tried_elsewhere(fleet: Fleet, size: int) -> None:
    gateway, (bad, good) = fleet
    bad.set(status=503)

    answers = ask_all(gateway, [chat("x" * size)] * 6, at_once=2)

    assert [(answer.status, answer.headers["x-replica"]) for answer in answers] == [(200, good.address)] * 6


def test_a_request_that_kills_every_replica_it_meets_ends_in_an_error(fleet: Fleet) -> None:
    gateway, replicas = fleet

    for size in (10, 30_000):
        answer = ask(gateway, chat("die early" + "x" * size))
        assert answer.status in {502, 503}
        assert answer.code is not None

    assert sum(replica.seen()["requests"] for replica in replicas) <= 20


@pytest.mark.parametrize("size", [10, 30_000], ids=["short", "long"])
def test_nothing_is_sent_again_after_a_token(fleet: Fleet, size: int) -> None:
    gateway, replicas = fleet

    with stream(gateway, "die" + "x" * size) as response:
        text = response.read().decode()

    assert text.count('"chat.completion.chunk"') in {2, 3}
    assert '"code":"replica_lost"' in text
    assert text.endswith("data: [DONE]\n\n")
    assert sum(replica.seen()["requests"] for replica in replicas) == 1


def test_other_errors_of_a_replica_are_the_clients(fleet: Fleet) -> None:
    gateway, replicas = fleet
    for replica in replicas:
        replica.set(status=400)

    answer = ask(gateway, chat())

    assert answer.status == 400
    assert sum(replica.seen()["requests"] for replica in replicas) == 1


def test_a_draining_replica_gets_nothing_new_and_ends_its_streams(fleet: Fleet) -> None:
    gateway, (leaving, other) = fleet
    for replica in (leaving, other):
        replica.set(chunks=40, gap_seconds=0.05)

    with stream(gateway) as first, stream(gateway) as second:
        leaving.set(drain=True)
        name = {"proxy": "replicas", "server": "replica1", "state": "DRAIN"}
        until(lambda: haproxy_metric(gateway, "haproxy_server_status", **name) == 1, "it drains")
        for replica in (leaving, other):
            replica.set(chunks=1)
        before = leaving.seen()["requests"]
        answers = ask_all(gateway, [chat()] * 10, at_once=4)
        ends = [response.read() for response in (first, second)]

    assert {answer.headers["x-replica"] for answer in answers} == {other.address}
    assert leaving.seen()["requests"] == before
    assert all(end.endswith(b"data: [DONE]\n\n") and b"replica_lost" not in end for end in ends)


def test_a_replica_that_is_ready_again_is_used_again(fleet: Fleet) -> None:
    gateway, (victim, _) = fleet
    victim.kill()
    until(lambda: not is_up(gateway, 1), "it is out")

    victim.start()

    until(lambda: is_up(gateway, 1), "it is back")
    assert {answer.headers["x-replica"] for answer in ask_all(gateway, [chat()] * 4, at_once=1)} == set(ADDRESSES)


def test_nothing_is_lost_when_all_replicas_die_and_come_back(fleet: Fleet) -> None:
    gateway, replicas = fleet
    for replica in replicas:
        replica.set(first_token_seconds=1.0)
    bodies = [chat("x" * size, stream=streamed) for size in (10, 30_000) for streamed in (False, True)] * 5

    with ThreadPoolExecutor(len(bodies)) as threads:
        waiting = [threads.submit(ask, gateway, body) for body in bodies]
        until(lambda: sum(replica.seen()["running"] for replica in replicas) == len(bodies), "all are there")
        for replica in replicas:
            replica.kill()
        until(lambda: not is_up(gateway, 1) and not is_up(gateway, 2), "all are out")
        for replica in replicas:
            replica.start()
        answers = [each.result() for each in waiting]

    assert [answer.status for answer in answers] == [200] * len(bodies)
    assert b"replica_lost" not in b"".join(answer.body for answer in answers)


def test_requests_are_held_while_no_replica_is_ready(fleet: Fleet) -> None:
    gateway, replicas = fleet
    for replica in replicas:
        replica.set(ready=False)
    until(lambda: not is_up(gateway, 1) and not is_up(gateway, 2), "none is ready")

    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(ask, gateway, chat("x" * size)) for size in (10, 30_000) * 4]
        until(
            lambda: (
                haproxy_metric(gateway, "haproxy_server_current_sessions", proxy="replicas", server="activator") == 8
            ),
            "8 held",
        )
        replicas[1].set(ready=True)
        answers = [each.result() for each in waiting]

    assert [answer.status for answer in answers] == [200] * 8
