"""Lines of HAProxy's log, made by hand."""

import json

import msgspec

from gptoss_runtime.activator.records.line import Line
from gptoss_runtime.gateway_log import LogField


ANSWERED = {
    LogField.TIME: "1795402283.007",
    LogField.ID: "39388ef6",
    LogField.TENANT: "team-a",
    LogField.CLIENT: "10.1.2.3",
    LogField.METHOD: "POST",
    LogField.PATH: "/v1/chat/completions",
    LogField.MODEL: "openai/gpt-oss-20b",
    LogField.STREAM: "1",
    LogField.STATUS: 200,
    LogField.CODE: "-",
    LogField.BACKEND: "replicas",
    LogField.REPLICA: "10.0.0.7",
    LogField.INNER_REPLICA: "-",
    LogField.RETRIES: "+2",
    LogField.QUEUE_MS: 40,
    LogField.INNER_QUEUE_MS: "-",
    LogField.CONNECT_MS: 1,
    LogField.RESPONSE_MS: 59,
    LogField.TOTAL_MS: 1100,
    LogField.BYTES_IN: 300,
    LogField.BYTES_OUT: 9000,
    LogField.ENDED: "--",
    LogField.TRACE: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    LogField.CACHE: "-",
}
"""A stream that a replica answered to the end."""
NOWHERE = {
    LogField.BACKEND: "openai",
    LogField.REPLICA: "-",
    LogField.RETRIES: "0",
    LogField.QUEUE_MS: -1,
    LogField.CONNECT_MS: -1,
    LogField.RESPONSE_MS: -1,
}
"""What is different in a request that the front door answered."""


def text(**changes: object) -> bytes:
    """Return the line as HAProxy sends it, without its newline."""
    return json.dumps({**ANSWERED, **changes}).encode()


def a_line(**changes: object) -> Line:
    return msgspec.json.decode(text(**changes), type=Line)


def a_refusal(**changes: object) -> Line:
    return a_line(**{**NOWHERE, "status": 401, "code": "invalid_api_key", "tenant": "-", "ended": "LR", **changes})
