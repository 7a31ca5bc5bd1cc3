"""What gateways and replicas say becomes the load of their deployment."""

import math
from dataclasses import replace

import pytest

from gptoss_operator.core.scaling.load import NOTHING_KNOWN, ReplicaLoad, Work
from gptoss_operator.core.scaling.rates import KEEP_SECONDS
from tests.shell.hearing import CHAT, World, a_gateway_pod, a_replica_pod


def test_nothing_is_known_of_what_was_never_heard() -> None:
    world = World()
    assert world.load() == NOTHING_KNOWN
    world.replica_says()
    load = world.load()
    assert (load.gateway_age_seconds, load.queued, load.arrivals_1m, load.idle_seconds) == (None,) * 4
    assert set(load.replicas) == {0}


def test_arrivals_are_those_offered_refused_ones_included() -> None:
    world = World()
    world.gateway_says()
    for _ in world.every(5, 80):
        world.gateway_says(arrived=8, shed=2, in_flight=9, queued=3)
    load = world.load()
    assert (load.arrivals_1m, load.arrivals_5m, load.arrivals_earlier) == (2.0, 2.0, 2.0)
    assert (load.queued, load.held, load.in_flight, load.idle_seconds) == (3, 0, 9, 0)


def test_each_window_is_told_when_it_is_known_and_not_before() -> None:
    world = World()
    world.gateway_says(arrived=1000)
    for number in world.every(5, 80):
        world.gateway_says(arrived=10)
        load, known = world.load(), 5 * (number + 1)
        assert (load.arrivals_1m is not None) == (known >= 60)
        assert (load.arrivals_5m is not None) == (known > 60)
        assert (load.arrivals_earlier is not None) == (known >= 360)
        assert {load.arrivals_1m, load.arrivals_5m, load.arrivals_earlier} <= {None, 2.0}


def test_a_gateway_that_was_heard_from_its_start_on_has_no_unknown_past() -> None:
    world = World()
    world.gateway_says(arrived=30, uptime_seconds=10, held=30)
    load = world.load()
    assert (load.arrivals_1m, load.arrivals_5m, load.arrivals_earlier) == (0.5, 0.1, 0.0)


def test_the_sums_need_every_gateway_that_clients_reach() -> None:
    world = World(gateways=[a_gateway_pod("a"), a_gateway_pod("b")])
    world.gateway_says("a")
    world.gateway_says("b", in_flight=4)
    for _ in world.every(5, 20):
        world.gateway_says("a", arrived=5)
    assert world.load().gateway_age_seconds == 100
    assert (world.load().arrivals_1m, world.load().queued, world.load().idle_seconds) == (None, None, None)
    world.gateway_says("b", arrived=100, in_flight=4)
    assert world.load().arrivals_1m == pytest.approx(2.0)
    assert (world.load().gateway_age_seconds, world.load().in_flight) == (0, 4)

    world.gateways.append(a_gateway_pod("c"))
    assert (world.load().gateway_age_seconds, world.load().in_flight) == (None, None)
    world.gateways[-1] = a_gateway_pod("c", ready=False)
    assert world.load().in_flight == 4, "one that clients do not reach yet has nothing to say"


def test_what_waits_is_told_though_another_gateway_is_silent() -> None:
    world = World(gateways=[a_gateway_pod("a"), a_gateway_pod("b")])
    world.gateway_says("a", held=5, oldest_held_seconds=2)
    load = world.load()
    assert (load.gateway_age_seconds, load.held, load.oldest_wait_seconds) == (None, 5, 2)
    assert (load.queued, load.in_flight, load.arrivals_1m) == (None, None, None)


def test_what_haproxy_does_not_say_is_unknown_and_no_evidence_of_idleness() -> None:
    world = World()
    world.gateway_says()
    for _ in world.every(5, 3):
        world.gateway_says(in_flight=None, queued=None)
    load = world.load()
    assert (load.in_flight, load.queued, load.held, load.idle_seconds) == (None, None, 0, 0)


def test_arrivals_that_were_not_told_for_a_moment_are_unknown_and_not_none() -> None:
    world = World()
    world.gateway_says()
    for _ in world.every(5, 80):
        world.gateway_says(arrived=10)
    uid = world.gateways[0].metadata.uid
    told = world.said[uid]
    world.now += 5
    assert world.loads.take_gateway(CHAT, uid, replace(told, sequence=told.sequence + 1, counters={}))
    assert (world.load().arrivals_1m, world.load().arrivals_5m, world.load().idle_seconds) == (None, None, 0)
    world.said[uid] = replace(told, sequence=told.sequence + 1)
    for _ in world.every(5, 14):
        world.gateway_says(arrived=10)
    assert world.load().arrivals_1m == 2.0


def test_pitfall_30_a_gateway_that_begins_anew_keeps_what_it_counted() -> None:
    world = World()
    world.gateway_says()
    for number in world.every(5, 80):
        restarts = number == 74
        world.gateway_says(arrived=10, restarted=restarts, uptime_seconds=3 if restarts else 9999)
    load = world.load()
    assert load.arrivals_1m == load.arrivals_5m == load.arrivals_earlier == 2.0


def test_pitfall_30_the_work_of_replicas_survives_their_resets_and_their_end() -> None:
    world = World(replicas=[a_replica_pod(0), a_replica_pod(1)])
    world.gateway_says()
    world.replica_says(0)
    world.replica_says(1)
    for number in world.every(5, 100):
        world.replica_says(0, finished=1, prompt=100, generated=50, restarted=number == 60)
        if number < 50:
            world.replica_says(1, finished=1, prompt=100, generated=50)
    assert world.load().work == Work(requests=150, prompt_tokens=15000, generation_tokens=7500)

    world.loads.keep_only({a_replica_pod(0).metadata.uid})
    assert world.load().work == Work(requests=150, prompt_tokens=15000, generation_tokens=7500)
    world.now += 700
    assert world.load().work is None


def test_a_replica_without_a_counter_does_not_say_what_its_work_was() -> None:
    world = World()
    world.gateway_says()
    assert world.load().work is None
    world.replica_says()
    assert world.load().work is None, "one document says how much, not since when"


def test_the_speed_of_a_replica_is_that_between_its_last_two_documents() -> None:
    world = World()
    world.replica_says(requests_running=10)
    world.now += 5
    world.replica_says(generated=500, requests_running=20, requests_waiting=2, kv_cache_usage=0.5, max_num_seqs=64)
    assert world.load().replicas[0] == ReplicaLoad(
        running=15, waiting=2, in_flight=0, kv_usage=0.5, tokens_per_second=100, max_num_seqs=64
    )
    world.now += 0.5
    world.replica_says(generated=1, requests_running=30)
    assert world.load().replicas[0].tokens_per_second == 100, "too soon to tell anything new"
    world.now += 31
    world.replica_says(generated=500, requests_running=30)
    assert (world.load().replicas[0].tokens_per_second, world.load().replicas[0].running) == (None, 30)
    world.now += 5
    world.replica_says(generated=500, requests_running=30, restarted=True)
    assert world.load().replicas[0].tokens_per_second is None


def test_only_replicas_that_take_requests_are_told_of() -> None:
    world = World(replicas=[a_replica_pod(0), a_replica_pod(1), a_replica_pod(2, ready=False), a_replica_pod(3)])
    world.replica_says(0)
    world.replica_says(1, ready=False)
    world.replica_says(2)
    assert set(world.load().replicas) == {0}


def test_the_time_to_the_first_token_is_that_of_the_last_two_minutes() -> None:
    world = World(gateways=[a_gateway_pod("a"), a_gateway_pod("b")])
    world.gateway_says("a", ttft_ms={"100": 1_000_000, "1000": 0, "inf": 0, "nonsense": 5})
    world.gateway_says("b")
    assert world.load().ttft_p95_seconds is None
    for _ in world.every(5, 10):
        world.gateway_says("a", ttft_ms={"100": 9, "1000": 0, "inf": 0, "nonsense": 5})
        world.gateway_says("b", ttft_ms={"100": 0, "1000": 1, "inf": 0})
    # 90 within 0.1 s, 10 within 1 s.
    assert world.load().ttft_p95_seconds == pytest.approx(0.55)
    for _ in world.every(5, 40):
        world.gateway_says("a")
        world.gateway_says("b")
    assert world.load().ttft_p95_seconds is None


def test_the_idle_clock_runs_only_on_evidence_without_a_gap() -> None:
    world = World()
    world.gateway_says(in_flight=1)
    assert world.load().idle_seconds == 0
    for _ in world.every(5, 21):
        world.gateway_says()
    assert world.load().idle_seconds == 100
    world.now += 29
    assert world.load().idle_seconds == 100, "known up to the last document"
    world.now += 2
    assert world.load().idle_seconds is None
    world.gateway_says()
    assert world.load().idle_seconds == 0, "nobody knows what was in the gap"
    for _ in world.every(5, 4):
        world.gateway_says()
    assert world.load().idle_seconds == 20


@pytest.mark.parametrize(
    "request_seen",
    [{"arrived": 1}, {"shed": 1}, {"held": 1}, {"queued": 1}, {"in_flight": 1}, {"in_flight": math.nan}],
    ids=lambda seen: next(iter(seen)),
)
def test_any_request_winds_the_idle_clock_back(request_seen: dict[str, float]) -> None:
    world = World()
    world.gateway_says()
    for _ in world.every(5, 10):
        world.gateway_says()
    world.gateway_says(**request_seen)  # type: ignore[arg-type]  # counters and gauges by name
    assert world.load().idle_seconds == 0
    for _ in world.every(5, 1):
        world.gateway_says()
    assert world.load().idle_seconds in (0, 5)


def test_a_replica_that_is_asked_past_the_gateways_is_not_idle() -> None:
    world = World()
    world.gateway_says()
    for number in world.every(5, 20):
        world.gateway_says()
        world.replica_says(requests_in_flight=float(number == 9), requests_running=1.0)
    assert world.load().idle_seconds == 50


def test_a_gateway_that_is_gone_counts_for_its_last_requests_and_proves_nothing_by_its_silence() -> None:
    world = World(gateways=[a_gateway_pod("a"), a_gateway_pod("b")])
    world.gateway_says("a")
    world.gateway_says("b")
    for number in world.every(5, 30):
        world.gateway_says("a")
        if number < 15:
            world.gateway_says("b", arrived=10, in_flight=1, queued=7)
        elif number == 15:
            del world.gateways[1]
            world.loads.keep_only({a_gateway_pod("a").metadata.uid})
    load = world.load()
    assert (load.queued, load.in_flight) == (0, 0)
    assert load.idle_seconds == 75
    assert load.arrivals_5m == pytest.approx(1.0), "150 came to it in 150 s"

    world.now += KEEP_SECONDS
    world.gateway_says("a")
    world.loads.keep_only({a_gateway_pod("a").metadata.uid})
    assert world.load().arrivals_5m == 0


def test_a_document_that_was_heard_before_is_no_news() -> None:
    world = World()
    world.gateway_says()
    world.now += 5
    assert not world.loads.take_gateway(CHAT, a_gateway_pod("a").metadata.uid, next(iter(world.said.values())))
    assert world.load().gateway_age_seconds == 5


def test_pods_that_are_gone_are_forgotten() -> None:
    world = World()
    world.gateway_says()
    world.replica_says()
    world.now += KEEP_SECONDS + 1
    world.loads.keep_only(())
    assert world.load() == NOTHING_KNOWN
