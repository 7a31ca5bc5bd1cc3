"""A market for simulated GPU machines: Karpenter buys them where pods wait, and KWOK plays them.

Karpenter is the real program with the cloud of its own tests. Each zone has spot and on-demand machines with one GPU,
from a NodePool of its own, so that one can be closed: Karpenter then finds nothing to buy there, as in a shortage.
(That cloud reads its instance types once, and takes every offer in them as available.)
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

from e2e.cluster.local.api import answers, get_object
from e2e.cluster.local.binaries import ensure_binaries, ensure_crds
from e2e.cluster.local.controlplane import Launcher
from e2e.cluster.local.modules import FOR_MARKET, KARPENTER
from e2e.cluster.local.places import Places
from e2e.cluster.local.processes import Process, stop, wait_until
from e2e.cluster.provider import GPU_RESOURCE, Cluster
from e2e.progress import step


ZONES = ("zone-a", "zone-b", "zone-c")
SPOT, ON_DEMAND = "spot", "on-demand"
ON_DEMAND_PRICE = 2.50
SPOT_PRICES = {"zone-a": 1.00, "zone-b": 1.05, "zone-c": 1.10}
"""Dollars per hour of a machine; spot ones by zone."""
MARKET_LABEL = "simulated-market"
"""Label of the machines, and key of their taint: nobody runs there, or has machines bought, who does not ask for it."""
MARKET_VALUE = "karpenter"
DEFINITIONS = ("nodepools.karpenter.sh", "nodeclaims.karpenter.sh", "kwoknodeclasses.karpenter.kwok.sh")
NODE_CLASS = "simulated"
INSTANCE_TYPE = "gpu-1"
CAPACITY_LABEL = "karpenter.sh/capacity-type"
ZONE_LABEL = "topology.kubernetes.io/zone"
METRICS_PORT, PROBE_PORT = 10261, 10262
"""In the cluster's own network."""
READY_SECONDS = 60


def instance_types() -> list[dict[str, Any]]:
    """Return what the simulated cloud offers, in the form that Karpenter's own tests read."""
    offerings = [
        {"Price": price, "Available": True, "Requirements": [_is_in(CAPACITY_LABEL, kind), _is_in(ZONE_LABEL, zone)]}
        for zone, spot_price in SPOT_PRICES.items()
        for kind, price in ((SPOT, spot_price), (ON_DEMAND, ON_DEMAND_PRICE))
    ]
    resources = {"cpu": "32", "memory": "256Gi", "ephemeral-storage": "2Ti", "pods": "20", GPU_RESOURCE: "1"}
    return [
        {
            "name": INSTANCE_TYPE,
            "architecture": "amd64",
            "operatingSystems": ["linux"],
            "resources": resources,
            "offerings": offerings,
        }
    ]


def node_pool(kind: str, zone: str) -> dict[str, Any]:
    """Return the NodePool of one capacity type and zone. A machine that is empty for two seconds is given back."""
    requirements = [_is_in(CAPACITY_LABEL, kind), _is_in(ZONE_LABEL, zone)]
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": pool_name(kind, zone)},
        "spec": {
            "disruption": {
                "consolidationPolicy": "WhenEmpty",
                "consolidateAfter": "2s",
                "budgets": [{"nodes": "100%"}],
            },
            "template": {
                "metadata": {"labels": {MARKET_LABEL: MARKET_VALUE}},
                "spec": {
                    "nodeClassRef": {"group": "karpenter.kwok.sh", "kind": "KWOKNodeClass", "name": NODE_CLASS},
                    "taints": [{"key": MARKET_LABEL, "value": MARKET_VALUE, "effect": "NoSchedule"}],
                    "requirements": requirements,
                    "expireAfter": "Never",
                },
            },
        },
    }


def pool_name(kind: str, zone: str) -> str:
    """Return the name of the NodePool that buys such machines."""
    return f"{kind}-{zone}"


def prepare_market() -> None:
    """Build what the cache lacks: about two minutes the first time."""
    ensure_binaries(FOR_MARKET)
    ensure_crds(KARPENTER)


@contextmanager
def running_market(cluster: Cluster) -> Iterator[None]:
    """Run Karpenter on a cluster of the API tier, and take away everything that it bought afterwards."""
    programs = ensure_binaries((*FOR_MARKET, "kubectl"))
    launcher = Launcher(places=Places(name=cluster.name), binaries=programs)
    with step("Karpenter"):
        install(launcher)
        process = start(launcher)
    try:
        yield
    finally:
        stop([process], grace_seconds=0)
        clear(launcher)


def install(launcher: Launcher) -> None:
    """Apply Karpenter's CustomResourceDefinitions and the offers."""
    for path in ensure_crds(KARPENTER):
        launcher.kubectl("apply", "--server-side", f"--filename={path}")
    definitions = [f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}" for name in DEFINITIONS]
    wait_until(
        lambda: all(_holds(launcher.places, definition, "Established") for definition in definitions),
        what="Karpenter's definitions",
        timeout_seconds=READY_SECONDS,
    )
    node_class = {"apiVersion": "karpenter.kwok.sh/v1alpha1", "kind": "KWOKNodeClass", "metadata": {"name": NODE_CLASS}}
    pools = [node_pool(kind, zone) for kind, zone in product((SPOT, ON_DEMAND), ZONES)]
    manifests = "\n---\n".join(json.dumps(manifest) for manifest in (node_class, *pools))
    launcher.kubectl("apply", "--server-side", "--filename=-", given=manifests)


def start(launcher: Launcher) -> Process:
    """Start Karpenter, and return it when it has accepted the offers."""
    places = launcher.places
    offers = places.run / "instance-types.json"
    offers.write_text(json.dumps(instance_types()))
    process = launcher.start(
        "karpenter",
        "--disable-leader-election=true",
        f"--instance-types-file-path={offers}",
        # Pods that come together are bought for together. The defaults, 1 s and 10 s, only make tests slower.
        "--batch-idle-duration=200ms",
        "--batch-max-duration=1s",
        f"--metrics-port={METRICS_PORT}",
        f"--health-probe-port={PROBE_PORT}",
        environment={"KUBECONFIG": str(places.inner_kubeconfig), "SYSTEM_NAMESPACE": "kube-system"},
    )
    wait_until(
        lambda: all(
            _holds(places, f"/apis/karpenter.sh/v1/nodepools/{pool_name(kind, zone)}", "Ready")
            for kind, zone in product((SPOT, ON_DEMAND), ZONES)
        ),
        what="Karpenter to accept its NodePools",
        timeout_seconds=READY_SECONDS,
        alive=[process],
    )
    return process


def clear(launcher: Launcher) -> None:
    """Remove what Karpenter bought, with nobody there any more who would take it out of service in order."""
    if not answers(launcher.places, "/readyz"):
        return  # the cluster ends as well
    launcher.kubectl("delete", "nodepools.karpenter.sh", "--all", "--wait=false")
    for kind in ("nodeclaims.karpenter.sh", "nodes"):
        names = launcher.kubectl("get", kind, f"--selector={MARKET_LABEL}={MARKET_VALUE}", "--output=name").split()
        for name in names:
            launcher.kubectl("patch", name, "--type=merge", '--patch={"metadata":{"finalizers":null}}')
        if names:
            launcher.kubectl("delete", *names, "--ignore-not-found", "--wait=false")


def _holds(places: Places, path: str, condition: str) -> bool:
    found = get_object(places, path) or {}
    conditions = found.get("status", {}).get("conditions") or []
    return any(each["type"] == condition and each["status"] == "True" for each in conditions)


def _is_in(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": [value]}
