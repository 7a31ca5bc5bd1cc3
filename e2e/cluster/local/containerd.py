"""containerd, in a mount namespace of its own in which the node's fixed paths are this cluster's."""

import json
import os
import shlex
from pathlib import Path

from e2e.cluster.commands import run
from e2e.cluster.errors import ClusterError
from e2e.cluster.local.controlplane import Launcher
from e2e.cluster.local.netns import NODE_POD_RANGE
from e2e.cluster.local.pause import import_pause, pause_image
from e2e.cluster.local.places import Places
from e2e.cluster.local.processes import Process, stop, wait_until
from e2e.cluster.local.store import Store, take_store
from e2e.cluster.packages import CNI_PLUGINS, find_program


READY_SECONDS = 60

KERNEL_DEFAULTS = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
"""What a kubelet sets for the whole machine if it finds other values. Ours is shown files that have them already."""


def start_containerd(launcher: Launcher) -> tuple[Process, list[str]]:
    """Start containerd on a store of its own; return it, and its client with the arguments that reach it.

    Containers that a killed cluster left in the store are removed; images stay.
    """
    places = launcher.places
    ctr = ["ctr", f"--address={places.containerd_socket}", "--namespace=k8s.io"]
    store = take_store()
    try:
        image = pause_image(launcher.binaries["pause"], places.data)
        write_config(places, store, image.name)
        process = start_and_wait(launcher, ctr)
        if stale := run([*ctr, "containers", "ls", "--quiet"], timeout_seconds=30).split():
            run([*ctr, "containers", "rm", *stale], timeout_seconds=120)
            # containerd's interface for the kubelet read them when it started, and still remembers them.
            stop([process], grace_seconds=10)
            process = start_and_wait(launcher, ctr)
        import_pause(ctr, image)
    finally:
        os.close(store.lock)
    return process, ctr


def start_and_wait(launcher: Launcher, ctr: list[str]) -> Process:
    """Start containerd and return it when it answers."""
    places = launcher.places
    words = [program("containerd"), f"--config={places.run / 'containerd.toml'}"]
    apart = ["unshare", "--mount", "--propagation=slave", "--"]
    process = launcher.start_other("containerd", [*apart, *private(places, words)])
    wait_until(lambda: answers(ctr), what="containerd", timeout_seconds=READY_SECONDS, alive=[process])
    return process


def private(places: Places, words: list[str]) -> list[str]:
    """Return a command that lays this cluster's directories over the node's fixed ones, then becomes `words`.

    The kubelet's and containerd's paths are the same for every node: /var/lib/kubelet/device-plugins cannot even be
    configured. Mounts below them, such as the pods' volumes, are seen by nobody else and end with the last process.
    """
    pairs = {
        places.kubelet: Path("/var/lib/kubelet"),
        places.data / "log": Path("/var/log"),
        places.run / "containerd": Path("/run/containerd"),
    }
    for ours, fixed in pairs.items():
        ours.mkdir(parents=True, exist_ok=True)
        fixed.mkdir(parents=True, exist_ok=True)
    for key, value in KERNEL_DEFAULTS.items():
        ours = places.run / "kernel" / key.replace("/", ".")
        ours.parent.mkdir(exist_ok=True)
        ours.write_text(value)
        pairs[ours] = Path("/proc/sys", key)
    mounts = [shlex.join(["mount", "--bind", str(ours), str(fixed)]) for ours, fixed in pairs.items() if fixed.exists()]
    return ["sh", "-ec", "\n".join([*mounts, 'exec "$@"']), "sh", *words]


def beside(process: Process) -> list[str]:
    """Return the words before a command that run it in the mount namespace of a process."""
    return ["nsenter", f"--mount=/proc/{process.pid}/ns/mnt", "--"]


def answers(ctr: list[str]) -> bool:
    """Whether containerd answers now."""
    try:
        run([*ctr, "version"], timeout_seconds=10)
    except ClusterError:
        return False
    return True


def program(name: str) -> str:
    """Return the path of a program of the distribution. Raises `ClusterError` when it is not there."""
    found = find_program(name)
    if found is None:
        raise ClusterError(f"{name} is not on this machine; install the package that has it")
    return found


def write_config(places: Places, store: Store, sandbox_image: str) -> None:
    """Write what containerd reads: its own configuration and the pods' network."""
    (places.run / "containerd.toml").write_text(render_config(places, store.root, sandbox_image))
    network = places.run / "cni" / "10-gptoss.conflist"
    network.parent.mkdir(parents=True, exist_ok=True)
    network.write_text(json.dumps(render_network(places), indent=1))


def render_config(places: Places, root: Path, sandbox_image: str) -> str:
    """Return containerd's configuration."""
    return f"""
version = 2
root = "{root}"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "{places.containerd_socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{places.data}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox_image}"
netns_mounts_under_state_dir = true
# Where the right to lower it is missing, sandboxes would die at their start.
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{CNI_PLUGINS}"
conf_dir = "{places.run}/cni"
"""


def render_network(places: Places) -> dict[str, object]:
    """Return the pods' network: one bridge, and the node as the way to Services. Nothing leads further."""
    addresses = {
        "type": "host-local",
        "dataDir": str(places.data / "cni"),
        "ranges": [[{"subnet": NODE_POD_RANGE}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": addresses,
    }
    return {"cniVersion": "0.4.0", "name": "gptoss", "plugins": [bridge]}
