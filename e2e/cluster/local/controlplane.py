"""The control plane: etcd, API server, controller manager, scheduler."""

import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.local import netns
from e2e.cluster.local.api import answers
from e2e.cluster.local.audit import audit_flags
from e2e.cluster.local.certs import FRONT_PROXY, Authority, make_certificates
from e2e.cluster.local.places import Places
from e2e.cluster.local.processes import Process, start, wait_until
from e2e.cluster.provider import Tier
from e2e.progress import step


READY_SECONDS = 120
"""Two to three seconds on a quiet machine."""
API_PORT = 6443
"""Inside the cluster's own network, where no other cluster listens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """Starts the processes of one cluster in its network."""

    places: Places
    binaries: Mapping[str, Path]

    def start(
        self, role: str, *words: str, before: Sequence[str] = (), environment: Mapping[str, str] | None = None
    ) -> Process:
        """Start the program that is called as its role is."""
        return self.start_other(role, [*before, str(self.binaries[role]), *words], environment=environment)

    def start_other(self, role: str, argv: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Process:
        """Start any program under a role."""
        return start(
            [*netns.enter(self.places.network), *argv],
            cluster=self.places.name,
            role=role,
            log=self.places.logs / f"{role}.log",
            environment=environment,
        )

    def kubectl(self, *words: str, given: str | None = None) -> str:
        """Run kubectl as the administrator, through the port that a person uses."""
        argv = [
            str(self.binaries["kubectl"]),
            f"--kubeconfig={self.places.kubeconfig}",
            "--request-timeout=10s",
            *words,
        ]
        return run(argv, timeout_seconds=60, given=given)


def start_control_plane(launcher: Launcher, tier: Tier) -> list[Process]:
    """Start the control plane and return its processes when it answers and its controllers work."""
    places = launcher.places
    with step("certificates"):
        authority = make_certificates(places.certs, places.node)
    write_kubeconfigs(authority, places, forward(launcher))
    with step("etcd and API server"):
        processes = [start_etcd(launcher), start_api_server(launcher, tier)]
        wait_until(
            lambda: answers(places, "/readyz"), what="the API server", timeout_seconds=READY_SECONDS, alive=processes
        )
    with step("controllers and scheduler"):
        processes += [start_controllers(launcher), start_scheduler(launcher)]
        wait_until(
            lambda: answers(places, "/api/v1/namespaces/default/serviceaccounts/default"),
            what="the controllers (the default service account)",
            timeout_seconds=READY_SECONDS,
            alive=processes,
        )
    return processes


def forward(launcher: Launcher) -> int:
    """Open a free port of the machine's loopback address that leads to the API server, and return its number."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        listener.set_inheritable(True)
        program = str(Path(__file__).with_name("forward.py"))
        words = [sys.executable, "-I", program, str(listener.fileno()), "127.0.0.1", str(API_PORT)]
        launcher.start_other("forwarder", words)
        return int(listener.getsockname()[1])


def write_kubeconfigs(authority: Authority, places: Places, port: int) -> None:
    """Write the kubeconfigs: for people, for programs in the cluster's network, and for each part of the cluster."""
    inner = f"https://127.0.0.1:{API_PORT}"
    texts = {
        places.kubeconfig: authority.kubeconfig("admin", f"https://127.0.0.1:{port}"),
        places.inner_kubeconfig: authority.kubeconfig("admin", inner),
    }
    for user in ("controller-manager", "scheduler", "kubelet", "kube-proxy", "coredns"):
        texts[places.certs / f"{user}.kubeconfig"] = authority.kubeconfig(user, inner)
    for path, text in texts.items():
        path.touch(mode=0o600)
        path.write_text(text)


def start_etcd(launcher: Launcher) -> Process:
    """Start etcd. It need not survive the machine, so it never waits for the disk."""
    return launcher.start(
        "etcd",
        f"--data-dir={launcher.places.data / 'etcd'}",
        "--unsafe-no-fsync",
        f"--quota-backend-bytes={2 * 2**30}",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--log-level=warn",
    )


def start_api_server(launcher: Launcher, tier: Tier) -> Process:
    """Start the API server; with a node, pods reach it under the node's address."""
    certs = launcher.places.certs
    match tier:
        case Tier.API:
            listen = ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
        case Tier.NODE:
            address = netns.NODE_ADDRESS
            listen = ["--bind-address=0.0.0.0", f"--advertise-address={address}", "--endpoint-reconciler-type=lease"]
            # Not with simulated pods: there are thousands of them.
            listen += audit_flags(launcher.places)
    return launcher.start(
        "kube-apiserver",
        *listen,
        f"--secure-port={API_PORT}",
        "--etcd-servers=http://127.0.0.1:2379",
        f"--service-cluster-ip-range={netns.SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        "--profiling=false",
        f"--client-ca-file={certs}/ca.crt",
        f"--tls-cert-file={certs}/apiserver.crt",
        f"--tls-private-key-file={certs}/apiserver.key",
        f"--service-account-key-file={certs}/sa.pub",
        f"--service-account-signing-key-file={certs}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--requestheader-client-ca-file={certs}/ca.crt",
        f"--requestheader-allowed-names={FRONT_PROXY}",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={certs}/front-proxy.crt",
        f"--proxy-client-key-file={certs}/front-proxy.key",
        f"--kubelet-client-certificate={certs}/kubelet-client.crt",
        f"--kubelet-client-key={certs}/kubelet-client.key",
        f"--kubelet-certificate-authority={certs}/ca.crt",
        # Otherwise logs and exec look the node's name up, which nobody here resolves.
        "--kubelet-preferred-address-types=InternalIP",
    )


def start_controllers(launcher: Launcher) -> Process:
    """Start the controller manager."""
    certs = launcher.places.certs
    return launcher.start(
        "kube-controller-manager",
        "--bind-address=127.0.0.1",
        f"--kubeconfig={certs}/controller-manager.kubeconfig",
        f"--service-account-private-key-file={certs}/sa.key",
        f"--root-ca-file={certs}/ca.crt",
        "--use-service-account-credentials",
        "--leader-elect=false",
        f"--cluster-signing-cert-file={certs}/ca.crt",
        f"--cluster-signing-key-file={certs}/ca.key",
        "--concurrent-statefulset-syncs=10",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )


def start_scheduler(launcher: Launcher) -> Process:
    """Start the scheduler."""
    return launcher.start(
        "kube-scheduler",
        "--bind-address=127.0.0.1",
        f"--kubeconfig={launcher.places.certs}/scheduler.kubeconfig",
        "--leader-elect=false",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
    )
