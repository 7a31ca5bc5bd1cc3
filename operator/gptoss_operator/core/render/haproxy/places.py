"""Where a gateway's parts find each other."""

from dataclasses import dataclass

from gptoss_runtime.gateway_contract import (
    CONFIG_DIRECTORY,
    GATEWAY_PORT,
    HAPROXY_HEALTH_PORT,
    RUN_DIRECTORY,
    TLS_DIRECTORY,
    Map,
    Socket,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Addresses and directories; by default those in a pod."""

    bind: str = f":{GATEWAY_PORT}"
    """Where clients are served."""
    health_bind: str = f":{HAPROXY_HEALTH_PORT}"
    run: str = RUN_DIRECTORY
    config: str = CONFIG_DIRECTORY
    tls: str = TLS_DIRECTORY
    replicas: tuple[str, ...] = ()
    """Fixed addresses of replicas, for a gateway outside a cluster. Empty: they are looked up by DNS."""

    def socket(self, socket: Socket) -> str:
        """Return a Unix socket as HAProxy writes it."""
        return f"unix@{self.run}/{socket}"

    def map(self, name: Map) -> str:
        """Return the path of a map."""
        return f"{self.run}/{name}"


IN_POD = Places()
"""The places in a gateway pod."""
