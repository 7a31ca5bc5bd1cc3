"""The configuration of the HAProxy that faces clients."""

from collections.abc import Iterable, Sequence

from gptoss_operator.api.routing import RoutingSpec
from gptoss_operator.core.render.haproxy.access import access_rules, tenant_table
from gptoss_operator.core.render.haproxy.body import affinity_rules, body_rules, forget_body
from gptoss_operator.core.render.haproxy.errors import own_errors, queue_timeout_is_429, refuse, silent
from gptoss_operator.core.render.haproxy.lanes import balance, detours, marks, round_trip, servers
from gptoss_operator.core.render.haproxy.log import TRACE_LENGTH, log_format
from gptoss_operator.core.render.haproxy.places import Places
from gptoss_operator.core.render.haproxy.script import SCRIPT_FILE
from gptoss_runtime.gateway_contract import LEAVING, QUEUE_FULL, Header, Section, Socket


BUFFER_BYTES = 16384
"""HAProxy keeps a request that fits, to send it to another replica, and copies the whole buffer for it each time:
with 64 KiB a quarter of all requests is lost to that."""
CACHED_BYTES = 16777216
LONG_BODY_BYTES = 11000
"""Bodies beyond it take the second HAProxy: the rest of the buffer is for headers and HAProxy's own book-keeping."""
LOG_LINE_BYTES = 8192
LOG_RING_BYTES = 1048576
"""Lines that wait while the activator starts again."""
MAX_CONNECTIONS = 8000
LONG_CONNECTIONS = 256
CLIENT_SECONDS = 60
RETRIES = 6

READ_PATHS = ("/v1/models",)
"""Paths that clients may GET."""
POST_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
"""Paths that clients may POST to. Everything else of vLLM, such as /tokenize or /pause, stays inside."""


def main_config(
    spec: RoutingSpec,
    *,
    title: str,
    models: Sequence[str],
    records: str,
    desired_replicas: int,
    max_num_seqs: int,
    drain_seconds: int,
    places: Places,
) -> str:
    """Return the whole file. `records` is the DNS name of the replicas' SRV records."""
    return "\n".join(
        (
            f"# Written by the gpt-oss operator for {title}. Changes here are overwritten.",
            _global(spec, drain_seconds, places),
            _log_ring(places),
            _defaults(spec, places),
            _resolvers() if not places.replicas else "",
            _door(spec, models, places),
            tenant_table() if spec.api_keys else "",
            _inner(places),
            _section(f"backend {Section.REPLICAS}", _replicas(spec, records, desired_replicas, max_num_seqs, places)),
            _section(
                f"backend {Section.LONG_PROMPTS}",
                (
                    *round_trip(),
                    "retry-on conn-failure",
                    # That process closes without a word where a body does not arrive.
                    silent(502),
                    f"server long {places.socket(Socket.LONG)} maxconn {LONG_CONNECTIONS}",
                ),
            ),
            _section(
                f"backend {Section.DETOUR}",
                (*round_trip(), "retry-on conn-failure", f"server {Section.ACTIVATOR} {places.socket(Socket.DETOUR)}"),
            )
            if detours(spec)
            else "",
            _health(places),
        )
    )


def _global(spec: RoutingSpec, drain_seconds: int, places: Places) -> str:
    lines = [
        f"log ring@{Section.ACTIVATOR} len {LOG_LINE_BYTES} format raw local0 info",
        # News of servers also in the container's own log; requests are the activator's to write.
        "log stdout format raw local1 notice",
        f"stats socket {places.run}/{Socket.RUNTIME} mode 600 level admin",
        f"maxconn {MAX_CONNECTIONS}",
        f"nbthread {spec.gateway.threads}",
        f"tune.bufsize {BUFFER_BYTES}",
        # Room for the buffers in each thread's own cache: by default most of them go through malloc each time.
        f"tune.memory.hot-size {CACHED_BYTES}",
        f"lua-load-per-thread {places.config}/{SCRIPT_FILE}",
        f"hard-stop-after {drain_seconds}s",
    ]
    if spec.tls:
        lines.append("ssl-load-extra-del-ext")
    return _section("global", lines)


def _log_ring(places: Places) -> str:
    """Return the way of the log to the activator.

    A stream out of a ring, not datagrams: Linux queues ten of these for a socket, and HAProxy drops the others.
    HAProxy ends it as soon as it begins to stop, so it is stopped when the last request has ended: see `/leave`.
    """
    lines = (
        "format raw",
        f"maxlen {LOG_LINE_BYTES}",
        f"size {LOG_RING_BYTES}",
        "timeout connect 1s",
        "timeout server 10s",
        f"server {Section.ACTIVATOR} {places.socket(Socket.LOG)} log-proto legacy",
    )
    return _section(f"ring {Section.ACTIVATOR}", lines)


def _defaults(spec: RoutingSpec, places: Places) -> str:
    timeout = spec.request_timeout_seconds
    lines = (
        "mode http",
        "log global",
        "timeout connect 1s",
        # A client that neither sends nor reads is gone. One that waits for its answer is not meant.
        f"timeout client {CLIENT_SECONDS}s",
        f"timeout server {timeout}s",
        f"timeout queue {spec.queue.max_wait_seconds}s",
        # A replica that is busy computing may be late with an answer; one that is gone refuses the connection at once.
        "timeout check 2s",
        "timeout http-request 30s",
        "timeout http-keep-alive 60s",
        # When all replicas die at once, a request may meet each of them before the activator holds it. Not more: one
        # that kills engines would be carried from replica to replica.
        f"retries {RETRIES}",
        "option redispatch 1",
        "option http-no-delay",
        "option abortonclose",
        *own_errors(places),
    )
    return _section("defaults", lines)


def _resolvers() -> str:
    return _section(
        "resolvers dns",
        (
            "parse-resolv-conf",
            "accepted_payload_size 8192",
            "timeout resolve 1s",
            "timeout retry 1s",
            "hold valid 1s",
            "hold obsolete 0s",
        ),
    )


def _door(spec: RoutingSpec, models: Sequence[str], places: Places) -> str:
    tls = f" ssl crt {places.tls}/tls.crt alpn h2,http/1.1" if spec.tls else ""
    detour = detours(spec)
    short = "{ var(txn.short) -m bool }"
    limit = spec.limits.max_body_bytes
    lines = [
        f"bind {places.bind}{tls}",
        "option http-buffer-request",
        "unique-id-format %[date(0,ms),hex,lower]%[rand(4294967295),hex,lower]",
        f"log-format '{log_format()}'",
        f"capture request header traceparent len {TRACE_LENGTH}",
        f"acl may_get path {' '.join(READ_PATHS)}",
        f"acl may_post path {' '.join(POST_PATHS)}",
        "acl is_post method POST",
        # As vLLM has it. Some clients ask first; while no replica is ready, requests are held, so the answer is yes.
        "http-request return status 200 if METH_GET { path /health }",
        f"acl long_body req.hdr_val(content-length) gt {LONG_BODY_BYTES}",
        f"acl long_body req.body_len gt {LONG_BODY_BYTES}",
        # Not answered, for the reason that `silent` has. Honest clients know the path.
        "acl chunked req.fhdr(transfer-encoding) -m found",
        "http-request reject if chunked long_body !may_post",
        "http-request reject if chunked long_body !is_post",
        refuse(404, "unknown_url", "this path is not served", when="unless may_get or may_post"),
        refuse(405, "method_not_allowed", "use GET here", when="if may_get !METH_GET"),
        refuse(405, "method_not_allowed", "use POST here", when="if may_post !is_post"),
        # Parsers differ in what they make of it, and no honest client sends it.
        refuse(400, "bad_request", "not in HTTP/1.0", when="if HTTP_1.0 { req.fhdr(transfer-encoding) -m found }"),
        # A replica is not to speak another protocol, nor to believe a client who speaks as if it were the gateway.
        "http-request del-header upgrade",
        "http-request del-header x-gptoss- -m beg",
        *access_rules(spec.api_keys, places),
        f"http-request set-header {Header.REQUEST_ID} %[unique-id]",
        refuse(
            413,
            "request_too_large",
            f"the body may have {limit} bytes",
            when=f"if {{ req.hdr_val(content-length) gt {limit} }}",
        ),
        "http-request set-var(txn.short) bool(1) if is_post !long_body",
        *body_rules(spec, models, short),
        *affinity_rules(spec, short),
        *marks(spec, short),
        refuse(
            429,
            QUEUE_FULL,
            "every replica is busy; try again",
            when=f"if {{ queue({Section.REPLICAS}) ge {spec.queue.max_requests} }}",
            early=True,
        ),
        *([f"http-request set-var(txn.detour) bool(1) if {short} {detour}"] if detour else []),
        forget_body(short),
        # The last rule: the filter is made right after it.
        "http-request lua.expect_stream if { var(txn.stream) -m found } !{ var(txn.detour) -m found }",
        f"http-after-response set-var(txn.code) res.hdr({Header.CODE}) if {{ status ge 400 }}",
        queue_timeout_is_429(),
        f"http-after-response set-header {Header.REQUEST_ID} %[unique-id]",
        f"http-after-response set-header connection close if {{ var({LEAVING}) -m bool }}",
        f"use_backend {Section.LONG_PROMPTS} if is_post long_body",
        *([f"use_backend {Section.DETOUR} if {{ var(txn.detour) -m found }}"] if detour else []),
        f"default_backend {Section.REPLICAS}",
    ]
    return _section(f"frontend {Section.CLIENTS}", lines)


def _inner(places: Places) -> str:
    """Return the frontend of requests that passed the door already. They are logged there."""
    lines = (
        f"bind {places.socket(Socket.INNER)} mode 600",
        "no log",
        # Who sent it here has the whole body, and sends it again.
        "http-request disable-l7-retry",
        f"http-request set-priority-class req.hdr_val({Header.PRIORITY})",
        f"http-request set-var(txn.affinity) req.hdr({Header.AFFINITY}),add(0)",
        queue_timeout_is_429(),
        f"http-response set-header {Header.REPLICA} %si",
        f"http-response set-header {Header.QUEUE_MS} %Tw",
        f"http-request lua.expect_stream if {{ req.hdr({Header.STREAM}) -m found }}",
        f"default_backend {Section.REPLICAS}",
    )
    return _section("frontend inner", lines)


def _replicas(
    spec: RoutingSpec, records: str, desired_replicas: int, max_num_seqs: int, places: Places
) -> Iterable[str]:
    return (
        *balance(spec),
        "filter lua.stream_end",
        "http-reuse always",
        "retry-on conn-failure empty-response 503",
        "option httpchk GET /readyz",
        "http-check expect status 200",
        *servers(records, desired_replicas, max_num_seqs, places),
    )


def _health(places: Places) -> str:
    lines = (
        f"bind {places.health_bind}",
        "no log",
        "monitor-uri /healthz",
        f"monitor fail if {{ var({LEAVING}) -m bool }}",
        "http-request use-service prometheus-exporter if { path /metrics }",
        "http-request return status 404",
    )
    return _section("frontend health", lines)


def _section(title: str, lines: Iterable[str]) -> str:
    return "\n".join((title, *(f"  {line}" for line in lines), ""))
