"""The line that HAProxy sends to the activator for each request: one JSON object."""

from gptoss_runtime.gateway_log import LogField


TRACE_LENGTH = 64

EXPRESSIONS = {
    LogField.TIME: '"%Ts.%ms"',
    LogField.ID: '"%ID"',
    LogField.TENANT: '"%[var(txn.tenant)]"',
    LogField.CLIENT: '"%ci"',
    LogField.METHOD: '"%{+E}HM"',
    LogField.PATH: '"%{+E}HP"',
    LogField.MODEL: '"%[var(txn.model),json(utf8s)]"',
    LogField.STREAM: '"%[var(txn.stream)]"',
    LogField.STATUS: "%ST",
    LogField.CODE: '"%[var(txn.code)]"',
    LogField.BACKEND: '"%b"',
    LogField.REPLICA: '"%si"',
    LogField.INNER_REPLICA: '"%[var(txn.inner_replica)]"',
    LogField.RETRIES: '"%rc"',
    LogField.QUEUE_MS: "%Tw",
    LogField.INNER_QUEUE_MS: '"%[var(txn.inner_queue_ms)]"',
    LogField.CONNECT_MS: "%Tc",
    LogField.RESPONSE_MS: "%Tr",
    LogField.TOTAL_MS: "%Ta",
    LogField.BYTES_IN: "%U",
    LogField.BYTES_OUT: "%B",
    LogField.ENDED: '"%ts"',
    LogField.TRACE: '"%[capture.req.hdr(0),json(utf8s)]"',
    LogField.CACHE: '"%[var(txn.cache)]"',
}
"""Each field as HAProxy's log format has it. Times are -1 where a request did not come so far."""


def log_format() -> str:
    """Return the argument of `log-format`."""
    return "{" + ",".join(f'"{name}":{expression}' for name, expression in EXPRESSIONS.items()) + "}"
