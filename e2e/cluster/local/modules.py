"""What is built: which programs, from which published Go modules, with which flags."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from e2e.cluster.errors import ClusterError


GO_MODULES = Path(__file__).parents[1] / "go"
"""One directory for each module, with go.mod and go.sum: in one module their dependencies would mix."""

BUILD_FLAGS = ("-p", "2", "-trimpath", "-buildvcs=false", "-tags", "selinux,notest,grpcnotrace")
BUILD_ENVIRONMENT = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
STRIP = "-s -w"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A directory below `go/` and the programs that it builds."""

    directory: Path
    packages: dict[str, str]
    """Main package of each program."""
    stamped: str = ""
    """Module whose version is written into the programs; empty when they need none."""
    source: str = ""
    """Module that `crds` are in; empty without them."""
    crds: tuple[str, ...] = ()
    """Directories of `source` with the CustomResourceDefinitions that the programs need."""

    @property
    def go_mod(self) -> str:
        """The text of go.mod."""
        return (self.directory / "go.mod").read_text()


K8S = Module(
    directory=GO_MODULES / "k8s",
    packages={
        name: f"k8s.io/kubernetes/cmd/{name}"
        for name in (
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubectl",
            "kubelet",
            "kube-proxy",
        )
    },
    stamped="k8s.io/kubernetes",
)
ETCD = Module(directory=GO_MODULES / "etcd", packages={"etcd": "go.etcd.io/etcd/server/v3"})
KWOK = Module(directory=GO_MODULES / "kwok", packages={"kwok": "sigs.k8s.io/kwok/cmd/kwok"}, stamped="sigs.k8s.io/kwok")
COREDNS = Module(directory=GO_MODULES / "coredns", packages={"coredns": "github.com/coredns/coredns"})
HELM = Module(directory=GO_MODULES / "helm", packages={"helm": "helm.sh/helm/v4/cmd/helm"})
PAUSE = Module(directory=GO_MODULES / "pause", packages={"pause": "."})
KIND = Module(directory=GO_MODULES / "kind", packages={"kind": "sigs.k8s.io/kind"})
KARPENTER = Module(
    directory=GO_MODULES / "karpenter",
    packages={"karpenter": "sigs.k8s.io/karpenter/kwok"},
    source="sigs.k8s.io/karpenter",
    crds=("kwok/apis/crds", "pkg/apis/crds"),
)

MODULES = (ETCD, K8S, KWOK, COREDNS, HELM, PAUSE, KIND, KARPENTER)

FOR_API = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kwok", "helm")
FOR_MARKET = ("karpenter",)
"""What a test starts beside the API tier, to buy nodes."""
FOR_NODE = (*(name for name in FOR_API if name != "kwok"), "kubelet", "kube-proxy", "coredns", "pause")
FOR_KIND = ("kind", "kubectl", "helm")


def required_version(go_mod: str, module: str) -> str:
    """Return the version of `module` that a go.mod asks for. Raises `ClusterError` when it asks for none."""
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(module)}\s+(v\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise ClusterError(f"go.mod does not require {module}, so its programs' version is unknown")
    return match.group(1)


def link_flags(module: Module) -> str:
    """Return the value of -ldflags. Kubernetes' programs without a version are refused by each other's skew checks."""
    if not module.stamped:
        return STRIP
    version = required_version(module.go_mod, module.stamped)
    if module is KWOK:
        return f"{STRIP} -X sigs.k8s.io/kwok/pkg/consts.Version={version}"
    major, minor, *_ = version.removeprefix("v").split(".")
    values = {
        "gitVersion": version,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "unknown",
        "buildDate": "2026-01-01T00:00:00Z",
    }
    places = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    settings = [f"-X {place}.{key}={value}" for place in places for key, value in values.items()]
    return " ".join([STRIP, *settings])


def content_key(module: Module, go_version: str) -> str:
    """Return the name under which the module's programs are cached: another one when any input to the build differs."""
    digest = hashlib.sha256()
    for part in (go_version, *BUILD_FLAGS, link_flags(module), repr(sorted(module.packages.items())), *module.crds):
        digest.update(part.encode() + b"\0")
    for source in sorted(p for p in module.directory.iterdir() if p.name in {"go.mod", "go.sum"} or p.suffix == ".go"):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return f"{module.directory.name}-{digest.hexdigest()[:16]}"
