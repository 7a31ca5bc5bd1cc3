"""Envoy's configuration with the gateway's functions: keys, rate per key, paths, size limit, retries, JSON log."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gptoss_runtime.contract import OPENAI_PORT


Config = dict[str, Any]
TYPE = "type.googleapis.com/envoy.extensions"
PATHS = ("/v1/models", "/v1/chat/completions", "/v1/completions", "/v1/responses")
LARGEST_BODY = 16 * 2**20
RATE = 1_000_000
"""Requests in a second that a key may send: the limit is checked, and never reached."""
LOG = {
    "time": "%START_TIME%",
    "id": "%REQ(X-REQUEST-ID)%",
    "tenant": "%REQ(X-CLIENT-ID)%",
    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(:PATH)%",
    "status": "%RESPONSE_CODE%",
    "ended": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "replica": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "ttft_ms": "%COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG:ms)%",
    "total_ms": "%DURATION%",
}


def envoy_config(*, port: int, replicas: Sequence[str], key: str, log: Path) -> str:
    """Return the configuration file, as JSON, which Envoy takes as YAML."""
    listener = {
        "name": "openai",
        "address": _address("127.0.0.1", port),
        "per_connection_buffer_limit_bytes": 1048576,
        "filter_chains": [{"filters": [_connection_manager(key, log)]}],
    }
    return json.dumps(
        {
            "node": {"id": "bench", "cluster": "bench"},
            "static_resources": {"listeners": [listener], "clusters": [_cluster(replicas)]},
        }
    )


def _connection_manager(key: str, log: Path) -> Config:
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": {
            "@type": f"{TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "openai",
            "generate_request_id": True,
            "use_remote_address": True,
            "request_headers_timeout": "10s",
            "stream_idle_timeout": "600s",
            "delayed_close_timeout": "0.01s",
            "access_log": [
                {
                    "name": "envoy.access_loggers.file",
                    "typed_config": {
                        "@type": f"{TYPE}.access_loggers.file.v3.FileAccessLog",
                        "path": str(log),
                        "log_format": {"json_format": LOG},
                    },
                }
            ],
            "route_config": {"name": "routes", "virtual_hosts": [_virtual_host()]},
            "http_filters": [_keys(key), _rate_limit(), _size_limit(), _router()],
        },
    }


def _virtual_host() -> Config:
    return {
        "name": "all",
        "domains": ["*"],
        "request_body_buffer_limit": LARGEST_BODY,
        "retry_policy": {
            "retry_on": "connect-failure,refused-stream,reset,retriable-status-codes",
            "retriable_status_codes": [503],
            "num_retries": 3,
            "retry_back_off": {"base_interval": "0.002s", "max_interval": "0.05s"},
            "host_selection_retry_max_attempts": 8,
            "retry_host_predicate": [
                {
                    "name": "envoy.retry_host_predicates.previous_hosts",
                    "typed_config": {"@type": f"{TYPE}.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
                }
            ],
        },
        "routes": [{"match": {"path": path}, "route": {"cluster": "replicas", "timeout": "0s"}} for path in PATHS],
    }


def _keys(key: str) -> Config:
    return {
        "name": "envoy.filters.http.api_key_auth",
        "typed_config": {
            "@type": f"{TYPE}.filters.http.api_key_auth.v3.ApiKeyAuth",
            "credentials": [{"key": key, "client": "bench"}],
            "key_sources": [{"header": "Authorization"}],
            "forwarding": {"header": "x-client-id", "hide_credentials": True},
        },
    }


def _rate_limit() -> Config:
    bucket = {"max_tokens": RATE, "tokens_per_fill": RATE, "fill_interval": "1s"}
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": f"{TYPE}.filters.http.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "rate",
            "filter_enabled": {"default_value": {"numerator": 100}},
            "filter_enforced": {"default_value": {"numerator": 100}},
            "always_consume_default_token_bucket": False,
            "token_bucket": bucket,
            "max_dynamic_descriptors": 10000,
            "rate_limits": [
                {"actions": [{"request_headers": {"header_name": "x-client-id", "descriptor_key": "client"}}]}
            ],
            "descriptors": [{"entries": [{"key": "client", "value": "bench"}], "token_bucket": bucket}],
        },
    }


def _size_limit() -> Config:
    return {
        "name": "envoy.filters.http.buffer",
        "typed_config": {"@type": f"{TYPE}.filters.http.buffer.v3.Buffer", "max_request_bytes": LARGEST_BODY},
    }


def _router() -> Config:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": f"{TYPE}.filters.http.router.v3.Router", "suppress_envoy_headers": True},
    }


def _cluster(replicas: Sequence[str]) -> Config:
    protocol = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    endpoints = [{"endpoint": {"address": _address(replica, OPENAI_PORT)}} for replica in replicas]
    return {
        "name": "replicas",
        "type": "STATIC",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        "load_assignment": {"cluster_name": "replicas", "endpoints": [{"lb_endpoints": endpoints}]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "track_cluster_stats": {"per_endpoint_stats": True},
        "circuit_breakers": {
            "thresholds": [
                {"max_connections": 20000, "max_pending_requests": 2000, "max_requests": 20000, "max_retries": 200}
            ]
        },
        "typed_extension_protocol_options": {
            protocol: {
                "@type": f"type.googleapis.com/{protocol}",
                "common_http_protocol_options": {"idle_timeout": "4s"},
                "explicit_http_config": {"http_protocol_options": {}},
            }
        },
        "health_checks": [
            {
                "timeout": "0.5s",
                "interval": "0.25s",
                "no_traffic_interval": "0.25s",
                "unhealthy_interval": "0.25s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {"path": "/health"},
            }
        ],
        "outlier_detection": {
            "consecutive_gateway_failure": 1,
            "enforcing_consecutive_gateway_failure": 100,
            "consecutive_local_origin_failure": 1,
            "enforcing_consecutive_local_origin_failure": 100,
            "split_external_local_origin_errors": True,
            "enforcing_success_rate": 0,
            "interval": "0.25s",
            "base_ejection_time": "0.5s",
            "max_ejection_time": "2s",
            "max_ejection_percent": 75,
        },
    }


def _address(address: str, port: int) -> Config:
    return {"socket_address": {"address": address, "port_value": port}}
