"""What the environment and the orders' file say to `gptoss-activator`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gptoss_runtime.contract import HEALTH_PORT, ContractError
from gptoss_runtime.gateway_contract import (
    ACTIVATOR_PORT,
    CONFIG_DIRECTORY,
    FILTER_DIRECTORY,
    KEYS_DIRECTORY,
    RUN_DIRECTORY,
    TLS_DIRECTORY,
    USAGE_PORT,
    GatewayOrders,
)


ORDERS_FILE = Path(CONFIG_DIRECTORY) / "gateway.json"
"""Where the operator puts the orders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where things are. The defaults are those of the contract; tests set others."""

    run_directory: Path = Path(RUN_DIRECTORY)
    keys_directory: Path = Path(KEYS_DIRECTORY)
    tls_directory: Path = Path(TLS_DIRECTORY)
    filter_directory: Path = Path(FILTER_DIRECTORY)
    address: str | None = None
    """Address to listen on. None: all."""
    activator_port: int = ACTIVATOR_PORT
    usage_port: int = USAGE_PORT
    replica_health_port: int = HEALTH_PORT
    """Port of the replicas' `/state`."""


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings in `environment`. Raises ContractError where a number is none."""
    return Settings(
        run_directory=Path(environment.get("GPTOSS_RUN_DIRECTORY", RUN_DIRECTORY)),
        keys_directory=Path(environment.get("GPTOSS_KEYS_DIRECTORY", KEYS_DIRECTORY)),
        tls_directory=Path(environment.get("GPTOSS_TLS_DIRECTORY", TLS_DIRECTORY)),
        filter_directory=Path(environment.get("GPTOSS_FILTER_DIRECTORY", FILTER_DIRECTORY)),
        address=environment.get("GPTOSS_ACTIVATOR_ADDRESS") or None,
        activator_port=_port(environment, "GPTOSS_ACTIVATOR_PORT", ACTIVATOR_PORT),
        usage_port=_port(environment, "GPTOSS_USAGE_PORT", USAGE_PORT),
        replica_health_port=_port(environment, "GPTOSS_REPLICA_HEALTH_PORT", HEALTH_PORT),
    )


def read_orders(path: Path) -> GatewayOrders:
    """Return the orders in the file `path`. Raises ContractError, also where the file cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError(f"gateway orders: cannot read {path}: {error}; the operator writes it") from error
    orders = GatewayOrders.decode(text)
    at_least = {
        "hold_max_requests": 0,
        "hold_max_wait_seconds": 0,
        "heartbeat_seconds": 0.01,
        "max_body_bytes": 1,
        "leave_seconds": 0,
        "cache_bytes": 0,
        "gateways": 1,
    }
    for name, least in at_least.items():
        value = getattr(orders, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= least:
            raise ContractError(f"gateway orders: {name} must be a number from {least}, not {value!r}")
    return orders


def _port(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise ContractError(f"{name} is {text!r}: a whole number from 1 to 65535 is needed")
    return int(text)
