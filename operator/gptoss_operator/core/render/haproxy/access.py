"""Who may send requests, and how many: rules of the front door that need no look at the body."""

from collections.abc import Iterator

from gptoss_operator.api.routing import ApiKeysSpec, Priority, TierSpec
from gptoss_operator.core.render.haproxy.errors import refuse
from gptoss_operator.core.render.haproxy.places import Places
from gptoss_runtime.gateway_contract import ANONYMOUS, PRIORITY_CLASSES, TENANT_TABLE, Header, Map


def access_rules(keys: ApiKeysSpec | None, places: Places) -> Iterator[str]:
    """Yield the rules that find out the tenant, and refuse who is none or wants too much."""
    if keys is None:
        yield f"http-request set-var(txn.tenant) str({ANONYMOUS})"
    else:
        # Only hashes are in memory and on disk, and comparing them tells nothing about the key.
        digest = r"req.hdr(authorization),word(2,\ ),sha2(256),hex"
        yield f"http-request set-var(txn.tenant) {digest},map_str({places.map(Map.KEYS)})"
        problem = "a valid API key is needed: Authorization: Bearer KEY"
        # Without an answer, for the reason that `silent` has.
        yield "http-request reject if chunked long_body !{ var(txn.tenant) -m found }"
        yield refuse(401, "invalid_api_key", problem, when="unless { var(txn.tenant) -m found }")
        yield "http-request del-header authorization"
        yield from _limits(keys.tiers, places)
    yield f"http-request set-header {Header.TENANT} %[var(txn.tenant)]"


def tenant_table() -> str:
    """Return the section with the stick table: a backend of its own, since HAProxy has tables there."""
    store = "gpc0,gpc0_rate(1s),conn_cur"
    return f"backend {TENANT_TABLE}\n  stick-table type string len 64 size 100k expire 60s store {store}\n"


def _limits(tiers: tuple[TierSpec, ...], places: Places) -> Iterator[str]:
    """Yield only the rules that some tier needs."""
    rates = any(tier.requests_per_second for tier in tiers)
    concurrency = any(tier.concurrent_requests for tier in tiers)
    if any(tier.tokens_per_minute for tier in tiers):
        yield f"http-request set-var(txn.blocked) {_of_tenant(places, Map.BLOCKED)}"
        yield refuse(
            429,
            "tokens_exceeded",
            "the tokens of this minute are used up",
            when="if { var(txn.blocked) -m found }",
            early=True,
            retry_after="%[var(txn.blocked)]",
        )
    if rates or concurrency:
        yield f"http-request track-sc0 var(txn.tenant) table {TENANT_TABLE}"
    if rates:
        yield f"http-request set-var(txn.rate) {_of_tenant(places, Map.RATES)}"
        yield refuse(
            429,
            "rate_exceeded",
            "too many requests in one second",
            when="if { var(txn.rate) -m found } { sc_gpc0_rate(0),sub(txn.rate) ge 0 }",
            early=True,
        )
    if concurrency:
        yield f"http-request set-var(txn.concurrency) {_of_tenant(places, Map.CONCURRENCY)}"
        yield refuse(
            429,
            "concurrency_exceeded",
            "too many requests at once",
            when="if { var(txn.concurrency) -m found } { sc_conn_cur(0),sub(txn.concurrency) gt 0 }",
            early=True,
        )
    if rates:
        # Only what was let through counts: who asks too often still gets his rate.
        yield "http-request sc-inc-gpc0(0)"
    if any(tier.priority is not Priority.NORMAL for tier in tiers):
        normal = PRIORITY_CLASSES[Priority.NORMAL]
        yield f"http-request set-var(txn.priority) var(txn.tenant),map_str_int({places.map(Map.PRIORITIES)},{normal})"
        yield "http-request set-priority-class var(txn.priority)"
        yield f"http-request set-header {Header.PRIORITY} %[var(txn.priority)]"


def _of_tenant(places: Places, name: Map) -> str:
    return f"var(txn.tenant),map_str_int({places.map(name)})"
