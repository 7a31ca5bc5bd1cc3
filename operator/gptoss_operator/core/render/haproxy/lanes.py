"""Where requests go behind the front door: to replicas, or first to the activator or to the second HAProxy."""

from collections.abc import Iterator

from gptoss_operator.api.routing import RoutingSpec, RoutingStrategy
from gptoss_operator.core.render.haproxy.body import BODY, DETERMINISTIC
from gptoss_operator.core.render.haproxy.places import Places
from gptoss_runtime.contract import AGENT_PORT, HEALTH_PORT, OPENAI_PORT
from gptoss_runtime.gateway_contract import Header, Section, Socket


MIN_SLOTS = 32
"""Server slots that are filled from DNS. Only a change of their number restarts gateways, so there are plenty."""
RETURNED = {
    "inner_replica": Header.REPLICA,
    "inner_queue_ms": Header.QUEUE_MS,
    "model": Header.MODEL,
    "stream": Header.STREAM,
}
"""What a request that went round tells the log, and the header that says it."""


def slots(desired_replicas: int) -> int:
    """Return how many server slots the gateway has: a power of two with room for replacements and growth."""
    count = MIN_SLOTS
    while count < desired_replicas + 8:
        count *= 2
    return count


def detours(spec: RoutingSpec) -> str | None:
    """Return the condition under which a POST goes to the activator first; None: never."""
    if spec.content_filter is not None:
        return "is_post"
    if spec.cache is not None:
        return f"is_post {{ {BODY} -m reg '{DETERMINISTIC}' }}"
    return None


def balance(spec: RoutingSpec) -> Iterator[str]:
    """Yield how a replica is chosen."""
    match spec.strategy:
        case RoutingStrategy.ROUND_ROBIN:
            yield "balance roundrobin"
        case RoutingStrategy.LEAST_LOADED:
            yield "balance leastconn"
        case RoutingStrategy.PREFIX_AFFINITY:
            yield "balance hash var(txn.affinity)"
            yield "hash-type consistent"
            yield f"hash-balance-factor {spec.prefix_affinity.max_load_percent}"


def servers(records: str, desired_replicas: int, max_num_seqs: int, places: Places) -> Iterator[str]:
    """Yield the lines of the replicas.

    Each speaks for itself: a health check says whether it answers, its agent how much it takes and when it leaves.
    """
    checks = (
        f"check port {HEALTH_PORT} inter 300ms fastinter 100ms downinter 60ms fall 2 rise 1 "
        f"agent-check agent-port {AGENT_PORT} agent-inter 250ms "
        # Percentages of the agent are of `weight`.
        f"weight 100 maxconn {max_num_seqs} "
        "observe layer4 error-limit 1 on-error mark-down pool-purge-delay 2s"
    )
    if places.replicas:
        for number, address in enumerate(places.replicas, start=1):
            yield f"server replica{number} {address}:{OPENAI_PORT} {checks}"
    else:
        # The weight of DNS records, another for each number of replicas, would undo that of the agent at every answer.
        yield (
            f"server-template replica {slots(desired_replicas)} {records} "
            f"resolvers dns resolve-opts ignore-weight init-addr none {checks}"
        )
    yield f"server {Section.ACTIVATOR} {places.socket(Socket.HOLD)} backup"


def round_trip() -> Iterator[str]:
    """Yield the rules of a backend whose requests come back by the inner socket."""
    for variable, header in RETURNED.items():
        yield f"http-response set-var(txn.{variable}) res.hdr({header})"
        yield f"http-response del-header {header}"
    yield f"http-response set-var(txn.cache) res.hdr({Header.CACHE})"


def marks(spec: RoutingSpec, which: str) -> Iterator[str]:
    """Yield the rules that tell the inner frontend what was found out about a body.

    Any request may come back there: by the second HAProxy, by the detour, or when it is held.
    """
    yield f"http-request set-header {Header.STREAM} 1 if {which} {{ var(txn.stream) -m found }}"
    if spec.strategy is RoutingStrategy.PREFIX_AFFINITY:
        yield f"http-request set-header {Header.AFFINITY} %[var(txn.affinity)] if {which}"
