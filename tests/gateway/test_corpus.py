from collections.abc import Iterator

import pytest

from e2e.gateway.local import LocalGateway, local_gateway
from e2e.gateway.replicas import SimulatedReplica, simulated_replicas
from tests.gateway.corpus import CORPUS
from tests.gateway.corpus.case import Case, post
from tests.gateway.raw import answers, connect, exchange, half_close, read_some, read_to_end, send


Served = tuple[LocalGateway, list[SimulatedReplica]]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    addresses = ["127.0.1.11", "127.0.1.12"]
    with simulated_replicas(addresses) as replicas, local_gateway(addresses, address="127.0.1.1") as gateway:
        yield gateway, replicas


def heads(replicas: list[SimulatedReplica]) -> int:
    return sum(replica.seen()["heads"] for replica in replicas)


def play(gateway: LocalGateway, case: Case) -> bytes:
    """Return all that the gateway says until it closes."""
    with connect(gateway) as client:
        send(client, case.data)
        if case.half_close:
            half_close(client)
        first = read_some(client)
        half_close(client)
        return first + read_to_end(client)


@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_is_refused_and_no_replica_sees_it(served: Served, case: Case) -> None:
    gateway, replicas = served
    before = heads(replicas)

    received = play(gateway, case)

    assert heads(replicas) == before
    if case.name.startswith("h2: ") and not received.startswith(b"HTTP/1.1"):
        return  # It has closed, and no replica saw anything: frames tell no more.
    said = answers(received)
    assert all(400 <= answer.status < 500 for answer in said), said
    if case.code is not None:
        assert [answer.code for answer in said][:1] == [case.code]
    assert [answer.status for answer in exchange(gateway, post())] == [200]
