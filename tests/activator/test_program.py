"""The program's orders and settings."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gptoss_runtime.activator.__main__ import serve
from gptoss_runtime.activator.settings import Settings, read_orders, read_settings
from gptoss_runtime.contract import ContractError, ExitCode
from tests.activator.hold_harness import orders
from tests.runtime.harness import PATIENCE_SECONDS


def test_the_defaults_are_the_contracts() -> None:
    assert read_settings({}) == Settings()


def test_everything_can_be_set() -> None:
    settings = read_settings(
        {
            "GPTOSS_RUN_DIRECTORY": "/r",
            "GPTOSS_KEYS_DIRECTORY": "/k",
            "GPTOSS_TLS_DIRECTORY": "/t",
            "GPTOSS_FILTER_DIRECTORY": "/f",
            "GPTOSS_ACTIVATOR_ADDRESS": "127.0.0.1",
            "GPTOSS_ACTIVATOR_PORT": "1",
            "GPTOSS_USAGE_PORT": "2",
            "GPTOSS_REPLICA_HEALTH_PORT": "3",
        }
    )
    assert settings == Settings(
        run_directory=Path("/r"),
        keys_directory=Path("/k"),
        tls_directory=Path("/t"),
        filter_directory=Path("/f"),
        address="127.0.0.1",
        activator_port=1,
        usage_port=2,
        replica_health_port=3,
    )


@pytest.mark.parametrize("port", ["0", "65536", "http", ""])
def test_a_port_must_be_one(port: str) -> None:
    with pytest.raises(ContractError, match=r"GPTOSS_USAGE_PORT is .*: a whole number from 1 to 65535 is needed"):
        read_settings({"GPTOSS_USAGE_PORT": port})


def test_orders_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(orders(heartbeat_seconds=0.2).encode())
    assert read_orders(path) == orders(heartbeat_seconds=0.2)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hold_max_requests": -1}, "hold_max_requests must be a number from 0, not -1"),
        ({"heartbeat_seconds": 0}, "heartbeat_seconds must be a number from 0.01, not 0"),
        ({"leave_seconds": "5"}, "leave_seconds must be a number from 0, not '5'"),
        ({"max_body_bytes": True}, "max_body_bytes must be a number from 1, not True"),
    ],
)
def test_bad_orders_end_the_program_with_the_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, object], problem: str
) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(orders(**changes).encode())
    assert serve([str(path)]) == ExitCode.BAD_ORDERS
    assert caplog.messages == [f"gateway orders: {problem}"]


def test_orders_that_are_not_there_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert serve([str(tmp_path / "gateway.json")]) == ExitCode.BAD_ORDERS
    assert caplog.messages[0].startswith(f"gateway orders: cannot read {tmp_path}/gateway.json: ")


def test_a_signal_that_comes_while_it_starts_is_not_lost(tmp_path: Path) -> None:
    """PID 1 of a container has no default action for it."""
    file = tmp_path / "gateway.json"
    file.write_text(orders().encode())
    environment = {**os.environ, "GPTOSS_RUN_DIRECTORY": str(tmp_path), "GPTOSS_ACTIVATOR_ADDRESS": "127.0.0.1"}
    environment |= {"GPTOSS_ACTIVATOR_PORT": "18405", "GPTOSS_USAGE_PORT": "18406"}
    command = [sys.executable, "-m", "gptoss_runtime.activator", str(file)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not blocks_sigterm(process.pid):
            assert time.monotonic() < deadline, "it never blocked the signal"
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0


def blocks_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)
