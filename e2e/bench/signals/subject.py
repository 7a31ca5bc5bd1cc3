"""The operator's part that hears replicas and gateways, alone in a process, so that its CPU time can be told.

python -m e2e.bench.signals.subject REPLICA_PORT GATEWAY_PORT REPLICAS DEPLOYMENTS INTERVAL_SECONDS

It prints a line when all have answered once, and for each line that it then reads what it has done since the last.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence

import msgspec

from gptoss_operator.api import names
from gptoss_operator.core.objects import Pod
from gptoss_operator.shell.scrape import Scraper
from gptoss_operator.shell.store import Key
from gptoss_operator.shell.telemetry import Telemetry


NAMESPACE = "bench"
GATEWAYS = 2
"""Of each deployment."""


def a_pod(name: str, deployment: str, component: str, address: str, slot: int | None = None) -> Pod:
    """Return a pod that runs and is ready."""
    labels = {names.LABEL_DEPLOYMENT: deployment, names.LABEL_COMPONENT: component}
    if slot is not None:
        labels[names.LABEL_SLOT] = str(slot)
    raw = {
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": name, "resourceVersion": "1", "labels": labels},
        "status": {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]},
    }
    return msgspec.convert(raw, Pod)


class Fleet:
    """The pods of all deployments, each at a loopback address of its own."""

    def __init__(self, replicas: int, deployments: int) -> None:
        self.replicas: dict[Key, list[Pod]] = {}
        self.gateways: dict[Key, list[Pod]] = {}
        for number in range(replicas):
            deployment, slot = f"d{number % deployments}", number // deployments
            pod = a_pod(f"{deployment}-r{slot}-0", deployment, names.COMPONENT_REPLICA, _address(1, number), slot)
            self.replicas.setdefault(Key(NAMESPACE, deployment), []).append(pod)
        for number in range(deployments * GATEWAYS):
            deployment = f"d{number % deployments}"
            pod = a_pod(f"{deployment}-gateway-{number}", deployment, names.COMPONENT_GATEWAY, _address(2, number))
            self.gateways.setdefault(Key(NAMESPACE, deployment), []).append(pod)


def _address(second: int, number: int) -> str:
    return f"127.{second}.{number // 250}.{number % 250 + 1}"


async def main(arguments: Sequence[str]) -> None:
    """Hear them until the standard input ends."""
    replica_port, gateway_port, replicas, deployments = (int(argument) for argument in arguments[:4])
    fleet = Fleet(replicas, deployments)
    done: Counter[str] = Counter()

    def wake(key: Key) -> None:
        # As each pass does.
        load = scraper.load(fleet.gateways[key], fleet.replicas[key], key)
        done["passes"] += 1
        done["known"] += load.queued is not None and len(load.replicas) == len(fleet.replicas[key])

    telemetry = Telemetry()
    scraper = Scraper(
        pods=lambda: (pod for pods in fleet.replicas.values() for pod in pods),
        gateways=lambda: (pod for pods in fleet.gateways.values() for pod in pods),
        wake=wake,
        telemetry=telemetry,
        interval_seconds=float(arguments[4]),
        port=replica_port,
        gateway_port=gateway_port,
        paced=lambda _: True,
    )
    hearing = asyncio.create_task(scraper.run())
    await scraper.asked_all.wait()
    print("all asked", flush=True)
    loop = asyncio.get_running_loop()
    cpu = time.process_time()
    while await loop.run_in_executor(None, sys.stdin.readline):
        used = time.process_time() - cpu
        value = telemetry.registry.get_sample_value
        late = sum(
            value("gptoss_operator_scrapes_total", {"result": result}) or 0.0
            for result in ("late", "unreachable", "unreadable", "refused", "old")
        )
        print(json.dumps({"cpu_seconds": used, "not_heard": late, **done}), flush=True)
        done.clear()
        cpu = time.process_time()
    hearing.cancel()
    await asyncio.wait([hearing])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
