"""The configuration of the second HAProxy: bodies that do not fit the first one's buffers.

HAProxy sends a request again only if it fits one buffer, and pays for the size of the buffer with each request. So long
prompts, which are rarer and dearer anyway, go through a process of their own with large buffers. It looks at their
bodies, and sends them back to the first for a replica: as often as it takes until one answers.
"""

from collections.abc import Sequence

from gptoss_operator.api.routing import RoutingSpec
from gptoss_operator.core.render.haproxy.body import affinity_rules, body_rules, forget_body
from gptoss_operator.core.render.haproxy.errors import own_errors
from gptoss_operator.core.render.haproxy.lanes import detours, marks
from gptoss_operator.core.render.haproxy.places import Places
from gptoss_runtime.gateway_contract import Header, Section, Socket


HEADROOM_BYTES = 65536
"""Beside the body: headers, and HAProxy's own book-keeping."""


def long_config(
    spec: RoutingSpec, *, title: str, models: Sequence[str], drain_seconds: int, retries: int, places: Places
) -> str:
    """Return the whole file."""
    limit = spec.limits.max_body_bytes
    detour = detours(spec)
    rules = [
        *body_rules(spec, models, "TRUE"),
        *affinity_rules(spec, "TRUE"),
        *marks(spec, "TRUE"),
        f"http-response set-header {Header.MODEL} %[var(txn.model)]",
        f"http-response set-header {Header.STREAM} %[var(txn.stream)] if {{ var(txn.stream) -m found }}",
        *([f"http-request set-var(txn.detour) bool(1) if {detour}"] if detour else []),
        forget_body("TRUE"),
        *([f"use_backend {Section.DETOUR} if {{ var(txn.detour) -m found }}"] if detour else []),
    ]
    return f"""\
# Written by the gpt-oss operator for {title}. Changes here are overwritten.
global
  log stdout format raw local0 notice
  nbthread 1
  tune.bufsize {limit + HEADROOM_BYTES}
  hard-stop-after {drain_seconds}s

defaults
  mode http
  timeout connect 1s
  timeout client {spec.request_timeout_seconds}s
  timeout server {spec.request_timeout_seconds}s
  timeout http-request 30s
  timeout http-keep-alive 60s
  retries {retries}
  option redispatch 1
  option http-no-delay
  option abortonclose
  {_lines([*own_errors(places)])}

frontend long_prompts
  bind {places.socket(Socket.LONG)} mode 600
  option http-buffer-request
  acl is_post method POST
  # In chunks: a length that is too large was refused before.
  http-request reject if {{ req.body_len gt {limit} }}
  {_lines(rules)}
  default_backend inner

backend inner
  retry-on conn-failure empty-response 502 503
  # An idle connection would keep the first HAProxy from ending.
  server inner {places.socket(Socket.INNER)} pool-max-conn 0
{_detour(places) if detour else ""}"""


def _detour(places: Places) -> str:
    server = f"server {Section.ACTIVATOR} {places.socket(Socket.DETOUR)}"
    return f"\nbackend {Section.DETOUR}\n  retry-on conn-failure\n  {server}\n"


def _lines(rules: Sequence[str]) -> str:
    return "\n  ".join(rules)
