from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from e2e.gateway.local import LocalGateway, local_gateway
from e2e.gateway.replicas import SimulatedReplica, simulated_replicas
from tests.gateway.asking import ask, ask_all, chat, until


ADDRESSES = ["127.0.1.41", "127.0.1.42", "127.0.1.43", "127.0.1.44"]


@contextmanager
def fleet(**routing: object) -> Iterator[tuple[LocalGateway, list[SimulatedReplica]]]:
    with (
        simulated_replicas(ADDRESSES) as replicas,
        local_gateway(ADDRESSES, address="127.0.1.4", routing=routing) as gateway,
    ):
        yield gateway, replicas


def test_round_robin_is_exact() -> None:
    with fleet() as (gateway, replicas):
        answers = ask_all(gateway, [chat(str(number)) for number in range(200)], at_once=8)

        counts = [replica.seen()["requests"] for replica in replicas]

    assert {answer.status for answer in answers} == {200}
    assert sum(counts) == 200
    assert max(counts) - min(counts) <= 1


def test_least_loaded_avoids_the_slow_one() -> None:
    with fleet(strategy="LeastLoaded") as (gateway, replicas):
        replicas[0].set(first_token_seconds=0.3)

        answers = ask_all(gateway, [chat(str(number)) for number in range(160)], at_once=8)
        slow, *others = [replica.seen()["requests"] for replica in replicas]

    assert {answer.status for answer in answers} == {200}
    assert slow < min(others) / 2


def conversation(number: int, turns: int, size: int = 20) -> dict[str, Any]:
    """Return the request of the last of some turns."""
    said = [{"role": "system", "content": f"You are helper {number}. " + "Be brief. " * size}]
    for turn in range(turns):
        said.append({"role": "user", "content": f"question {turn} " + "x" * size * 10 * turn})
        said.append({"role": "assistant", "content": f"answer {turn}"})
    return chat() | {"messages": said[:-1]}


def homes(gateway: LocalGateway, bodies: list[dict[str, Any]]) -> list[str]:
    """Return which replica answered each of some requests, sent one after the other."""
    return [ask(gateway, body).headers["x-replica"] for body in bodies]


def test_a_conversation_stays_on_its_replica_and_moves_only_with_it() -> None:
    with fleet(strategy="PrefixAffinity") as (gateway, replicas):
        first = homes(gateway, [conversation(number, 1) for number in range(40)])
        assert len(set(first)) == 4
        # Later turns are longer; the last takes the second HAProxy.
        for turns in (2, 3, 40):
            assert homes(gateway, [conversation(number, turns) for number in range(10)]) == first[:10]

        replicas[0].kill()
        # The health check finds out by itself, or by the first request.
        until(
            lambda: ADDRESSES[0] not in homes(gateway, [conversation(number, 1) for number in range(8)]), "it is gone"
        )
        after = homes(gateway, [conversation(number, 1) for number in range(40)])

    moved = [number for number in range(40) if first[number] != ADDRESSES[0] and after[number] != first[number]]
    assert ADDRESSES[0] not in after
    assert len(moved) <= 4


def test_prompts_that_begin_alike_go_together_and_others_spread() -> None:
    with fleet(strategy="PrefixAffinity", prefixAffinity={"prefixBytes": 64}) as (gateway, _):
        shared = "You are a careful assistant of the Example company. " * 3
        together = homes(gateway, [chat(shared + str(number)) for number in range(20)])
        spread = Counter(homes(gateway, [chat(f"{number} is my number") for number in range(200)]))

    assert len(set(together)) == 1
    assert len(spread) == 4
    assert max(spread.values()) <= 110
