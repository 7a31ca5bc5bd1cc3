"""How many held requests may go on."""

from hypothesis import given
from hypothesis import strategies as st

from gptoss_runtime.activator.haproxy.servers import BackendStat, Replicas, ServerStat, ServerStatus
from gptoss_runtime.activator.hold.release import LEAST_RESERVE, Release, how_many


def a_server(**changes: object) -> ServerStat:
    base: dict[str, object] = {"name": "replica1", "address": "10.0.0.1", "status": ServerStatus.UP}
    return ServerStat(**{**base, "slots": 100, "running": 0, "queued": 0, "weight": 100, **changes})  # type: ignore[arg-type]


def seen(*servers: ServerStat, queued: int = 0) -> Replicas:
    running = sum(server.running for server in servers)
    return Replicas(backend=BackendStat(running=running, queued=queued), servers=servers)


SERVERS = st.builds(
    a_server,
    status=st.sampled_from(ServerStatus),
    slots=st.one_of(st.none(), st.integers(1, 500)),
    running=st.integers(0, 600),
    queued=st.integers(0, 50),
)


def test_the_first_replica_gets_what_it_has_room_for_and_a_small_reserve() -> None:
    release = how_many(1000, seen(a_server(running=10), queued=5))
    assert release == Release(count=110, reason="100 slots and 25 places in the queue, of which 15 are taken")


def test_a_replica_with_few_slots_still_has_a_reserve() -> None:
    assert how_many(1000, seen(a_server(slots=1))).count == 1 + LEAST_RESERVE


def test_nothing_goes_on_while_no_replica_is_ready() -> None:
    servers = (a_server(status=ServerStatus.DOWN), a_server(status=ServerStatus.DRAIN))
    assert how_many(7, seen(*servers)) == Release(count=0, reason="no replica is ready")


def test_a_replica_without_a_limit_takes_all() -> None:
    assert how_many(7, seen(a_server(slots=None))).count == 7


@given(held=st.integers(0, 5000), servers=st.lists(SERVERS, max_size=6), queued=st.integers(0, 2000))
def test_never_more_than_are_held_nor_more_than_fit(held: int, servers: list[ServerStat], queued: int) -> None:
    release = how_many(held, seen(*servers, queued=queued))
    assert 0 <= release.count <= held
    up = [server for server in servers if server.status is ServerStatus.UP]
    if not up:
        assert release.count == 0
    elif all(server.slots is not None for server in up):
        slots = sum(server.slots or 0 for server in up)
        taken = queued + sum(server.running + server.queued for server in up)
        assert release.count <= max(0, slots + max(LEAST_RESERVE, slots // 4) - taken)


@given(held=st.integers(1, 5000), servers=st.lists(SERVERS, max_size=6))
def test_an_idle_replica_always_gets_something(held: int, servers: list[ServerStat]) -> None:
    idle = a_server(slots=4)
    others = [server for server in servers if server.running + server.queued == 0]
    assert how_many(held, seen(idle, *others)).count >= 1


@given(held=st.integers(0, 3000), slots=st.integers(1, 300), serve=st.integers(1, 300))
def test_all_that_is_held_goes_on_in_the_end_and_the_queue_stays_short(held: int, slots: int, serve: int) -> None:
    waiting = 0
    for _ in range(held + 1):
        running = min(waiting, slots)
        count = how_many(held, seen(a_server(slots=slots, running=running), queued=waiting - running)).count
        held -= count
        waiting += count
        assert waiting <= slots + max(LEAST_RESERVE, slots // 4)
        waiting -= min(serve, running)
        if not held:
            return
    assert held == 0
