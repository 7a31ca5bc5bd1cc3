"""HAProxy's configuration: pure text from the spec. Why each choice was made is in docs/concepts/gateway.md."""

import json

from gptoss_operator.api.names import replica_service
from gptoss_operator.api.routing import RoutingStrategy
from gptoss_operator.api.spec import GptOssSpec
from gptoss_operator.core.observation import Owner
from gptoss_runtime.contract import AGENT_PORT, HEALTH_PORT


GATEWAY_PORT = 8080
GATEWAY_HEALTH_PORT = 8404

ALGORITHMS = {RoutingStrategy.ROUND_ROBIN: "roundrobin"}
"""HAProxy's name of each strategy."""
MIN_SLOTS = 32
"""Server slots that are filled from DNS. Only a change of their number restarts gateways, so there are plenty."""

READ_PATHS = ("/v1/models",)
"""Paths that clients may GET."""
POST_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
"""Paths that clients may POST to. Everything else of vLLM, such as /tokenize or /pause, stays inside."""
MAX_BODY_BYTES = 16 * 2**20

ERRORS = {
    400: ("invalid_request_error", "bad_request", "the request is not valid HTTP"),
    408: ("invalid_request_error", "request_timeout", "the request took too long to arrive"),
    500: ("server_error", "internal_error", "the gateway failed"),
    502: ("server_error", "bad_gateway", "the replica broke off before it answered"),
    503: ("server_error", "no_replica", "no replica could take the request in time; try again"),
    504: ("server_error", "gateway_timeout", "the replica did not answer in time"),
}
"""Type, code and message of what HAProxy answers by itself, in OpenAI's terms."""
RETRY_AFTER_SECONDS = {429: 1, 503: 5}


def slots(desired_replicas: int) -> int:
    """Return how many server slots the gateway has: a power of two with room for replacements and growth."""
    count = MIN_SLOTS
    while count < desired_replicas + 8:
        count *= 2
    return count


def error_json(kind: str, code: str, message: str) -> str:
    """Return an error as OpenAI's clients expect it."""
    return json.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}}, separators=(",", ":"))


def haproxy_config(owner: Owner, spec: GptOssSpec, desired_replicas: int, cluster_domain: str) -> str:
    """Return the whole configuration file."""
    queue = spec.routing.queue
    records = f"_http._tcp.{replica_service(owner.name)}.{owner.namespace}.svc.{cluster_domain}"
    return f"""\
# Written by the gpt-oss operator for {owner.namespace}/{owner.name}. Changes here are overwritten.
global
  log stdout format raw local0 info
  maxconn 8000
  nbthread 2
  # A request that fits is kept, and sent to another replica if the first is lost before it answered.
  tune.bufsize 65536
  hard-stop-after {spec.drain_seconds}s

defaults
  mode http
  log global
  timeout connect 1s
  timeout client {spec.routing.request_timeout_seconds}s
  timeout server {spec.routing.request_timeout_seconds}s
  timeout queue {queue.max_wait_seconds}s
  # A replica that is busy computing may be late with an answer; one that is gone refuses the connection at once.
  timeout check 2s
  timeout http-request 60s
  timeout http-keep-alive 60s
  # Not more: a request that kills engines would be carried from one replica to the next.
  retries 2
  option redispatch 1
  retry-on conn-failure empty-response 503
  option http-no-delay
  option abortonclose
{_own_errors()}

resolvers dns
  parse-resolv-conf
  accepted_payload_size 8192
  timeout resolve 1s
  timeout retry 1s
  hold valid 1s
  hold obsolete 0s

frontend openai
  bind :{GATEWAY_PORT}
  option http-buffer-request
  unique-id-format %{{+X}}o%ci%cp%Ts%rt%pid
  unique-id-header x-request-id
  log-format '{_log_format()}'
  acl may_get path {" ".join(READ_PATHS)}
  acl may_post path {" ".join(POST_PATHS)}
  {_answer(404, "invalid_request_error", "unknown_url", "this path is not served")} unless may_get or may_post
  {_answer(405, "invalid_request_error", "method_not_allowed", "use GET here")} if may_get !METH_GET
  {_answer(405, "invalid_request_error", "method_not_allowed", "use POST here")} if may_post !{{ method POST }}
  acl too_large req.hdr_val(content-length) gt {MAX_BODY_BYTES}
  {_answer(413, "invalid_request_error", "request_too_large", f"the body may have {MAX_BODY_BYTES} bytes")} if too_large
  acl queue_full queue(replicas) ge {queue.max_requests}
  {_answer(429, "rate_limit_error", "queue_full", "every replica is busy; try again")} if queue_full
  default_backend replicas

backend replicas
  balance {ALGORITHMS[spec.routing.strategy]}
  http-reuse always
  option httpchk GET /readyz
  http-check expect status 200
  # Replicas are found by DNS. Each speaks for itself: a health check says whether it answers, its agent how much it
  # takes and when it leaves. Percentages of the agent are of `weight`; that of the DNS records, which is another for
  # each number of replicas, would undo it at every answer.
  default-server resolve-opts ignore-weight
  default-server check port {HEALTH_PORT} inter 300ms fastinter 100ms downinter 250ms fall 2 rise 1
  default-server agent-check agent-port {AGENT_PORT} agent-inter 250ms
  default-server weight 100 maxconn {spec.engine.max_num_seqs}
  default-server observe layer4 error-limit 1 on-error mark-down pool-purge-delay 2s
  server-template replica {slots(desired_replicas)} {records} resolvers dns init-addr none

frontend health
  bind :{GATEWAY_HEALTH_PORT}
  no log
  monitor-uri /healthz
  http-request use-service prometheus-exporter if {{ path /metrics }}
  http-request return status 404
"""


def _own_errors() -> str:
    return "\n".join(
        f"  http-error status {status} content-type application/json {_retry_after(status)}string '{error_json(*text)}'"
        for status, text in ERRORS.items()
    )


def _answer(status: int, kind: str, code: str, message: str) -> str:
    return (
        f"http-request return status {status} content-type application/json {_retry_after(status)}"
        f"string '{error_json(kind, code, message)}'"
    )


def _retry_after(status: int) -> str:
    return f"hdr Retry-After {RETRY_AFTER_SECONDS[status]} " if status in RETRY_AFTER_SECONDS else ""


def _log_format() -> str:
    """Return one JSON object for each request. Times in milliseconds; -1 where a request did not come so far."""
    fields = {
        "time": '"%Ts.%ms"',
        "id": '"%ID"',
        "client": '"%ci"',
        "method": '"%{+E}HM"',
        "path": '"%{+E}HP"',
        "status": "%ST",
        "replica": '"%si"',
        "retries": '"%rc"',
        "queue_ms": "%Tw",
        "connect_ms": "%Tc",
        "ttft_ms": "%Tr",
        "total_ms": "%Ta",
        "bytes_in": "%U",
        "bytes_out": "%B",
        "ended": '"%tsc"',
    }
    return "{" + ",".join(f'"{name}":{value}' for name, value in fields.items()) + "}"
