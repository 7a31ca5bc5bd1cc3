"""The network namespace of a cluster: its own loopback, its own addresses, no way out."""

from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.provider import Tier


NODE_ADDRESS = "192.0.2.1"
"""The real node's address, from a range that is kept for documentation (RFC 5737) and so collides with nobody's."""
NODE_BRIDGE = "node0"
SERVICE_RANGE = "10.96.0.0/16"
POD_RANGE = "10.244.0.0/16"
NODE_POD_RANGE = "10.244.0.0/24"
SIMULATED_POD_RANGE = "10.0.0.0/8"
"""Where KWOK takes pods' addresses from."""


def enter(network: Path) -> list[str]:
    """Return the words before a command that run it in the namespace.

    Not `ip netns exec`, which mounts /sys anew and so loses the cgroup hierarchies that the kubelet needs.
    """
    return ["nsenter", f"--net={network}", "--"]


def make_network(network: Path, tier: Tier) -> None:
    """Make the namespace, held by a mount on the file `network`, without a route to anywhere else."""
    network.touch()
    run(["unshare", f"--net={network}", "true"], timeout_seconds=10)
    ip(network, "link", "set", "lo", "up")
    match tier:
        case Tier.API:
            # The simulated pods' addresses are invented. Here every one of them is this namespace's own, so one
            # simulator can answer for all pods, and a probe of a pod can never reach a stranger.
            ip(network, "route", "add", "local", SIMULATED_POD_RANGE, "dev", "lo")
        case Tier.NODE:
            ip(network, "link", "add", NODE_BRIDGE, "type", "bridge")
            ip(network, "address", "add", f"{NODE_ADDRESS}/24", "dev", NODE_BRIDGE)
            ip(network, "link", "set", NODE_BRIDGE, "up")
            # Without a route a Service's address is refused as unreachable before it can be translated to a pod's.
            ip(network, "route", "add", SERVICE_RANGE, "dev", NODE_BRIDGE)
            sysctl(network, "net/ipv4/ip_forward", "1")
            # Pods on one bridge answer each other directly; only so does the answer pass the Service's translation.
            sysctl(network, "net/bridge/bridge-nf-call-iptables", "1")


def ip(network: Path, *words: str) -> None:
    """Run `ip` in the namespace."""
    run([*enter(network), "ip", *words], timeout_seconds=10)


def sysctl(network: Path, key: str, value: str) -> None:
    """Set a network parameter of the namespace. Raises `ClusterError` when the kernel does not have it."""
    path = f"/proc/sys/{key}"
    if key.startswith("net/bridge/") and not Path(path).exists():
        run(["modprobe", "br_netfilter"], timeout_seconds=30)
    try:
        run([*enter(network), "tee", path], given=value, timeout_seconds=10)
    except ClusterError as error:
        raise ClusterError(f"the kernel refuses {path}, which pods need to reach Services: {error}") from error


def remove_network(network: Path) -> None:
    """Let go of the namespace; the kernel removes it with its last process."""
    if network.exists():
        if is_mounted(network):
            run(["umount", "--lazy", str(network)], timeout_seconds=10)
        # Removing the file also detaches it in mount namespaces of other clusters, which have copied the mount.
        network.unlink()


def is_mounted(path: Path) -> bool:
    """Whether something is mounted on `path`; `os.path.ismount` cannot tell for files."""
    return str(path) in mounts_below(path)


def mounts_below(path: Path) -> list[str]:
    """Return what is mounted on or below `path`, deepest first."""
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((p for p in points if p == str(path) or p.startswith(f"{path}/")), key=len, reverse=True)
