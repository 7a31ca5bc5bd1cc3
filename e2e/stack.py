"""Everything below a GptOssDeployment: a cluster, images, the tiny model's weights, the operator from the chart."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.cluster.lifecycle import up
from e2e.cluster.provider import Cluster, Tier
from e2e.images import ImageNames, image_names
from e2e.images.build import build_and_import
from e2e.kubectl import Kubectl
from e2e.model import ensure_model
from e2e.progress import step
from e2e.volumes import directory_claim


ROOT = Path(__file__).parents[1]
CHART = ROOT / "helm/gptoss-operator"
OPERATOR_NAMESPACE = "gptoss-system"
RELEASE = "gptoss-operator"
CLAIM = "tiny-gpt-oss"
HELM_SECONDS = 180
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@dataclass(frozen=True, slots=True)
class Stack:
    """A cluster with the operator in it."""

    cluster: Cluster
    images: ImageNames
    model: Path
    """Directory of the tiny model's weights on the node."""

    def kubectl(self, namespace: str) -> Kubectl:
        """Return kubectl for a namespace."""
        return Kubectl(self.cluster, namespace)

    def namespace(self, name: str) -> Kubectl:
        """Return kubectl for a new namespace that enforces Pod Security `restricted` and has the weights in a claim."""
        kubectl = self.kubectl(name)
        kubectl.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": RESTRICTED}},
            *directory_claim(name, CLAIM, self.model),
        )
        return kubectl

    def install_operator(self) -> None:
        """Install or upgrade the operator from the chart, as a user does, and wait until it is ready."""
        self.kubectl(OPERATOR_NAMESPACE).apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": OPERATOR_NAMESPACE, "labels": RESTRICTED}}
        )
        repository, tag = self.images.operator.rsplit(":", 1)
        values = {
            "image.repository": repository,
            "image.tag": tag,
            "image.pullPolicy": "Never",
            "defaults.serverImage": self.images.server,
            "defaults.gatewayImage": self.images.gateway,
            "defaults.activatorImage": self.images.activator,
            "defaults.imagePullPolicy": "Never",
        }
        settings = [word for name, value in values.items() for word in ("--set-string", f"{name}={value}")]
        command = ["helm", "upgrade", "--install", RELEASE, str(CHART), "--namespace", OPERATOR_NAMESPACE, *settings]
        subprocess.run(
            [*command, "--wait", f"--timeout={HELM_SECONDS}s"],
            env=self.cluster.environment(),
            check=True,
            timeout=HELM_SECONDS + 30,
            stdout=subprocess.DEVNULL,
        )


def start(name: str) -> Stack:
    """Return a cluster called `name` that is up and has the images, the weights and the operator.

    What exists is used again. Raises ClusterError or ImageError, which say what to do.
    """
    cluster = up(name, Tier.NODE)
    with step("images"):
        if cluster.ctr:
            build_and_import(cluster.ctr_command())
    with step("tiny gpt-oss model"):
        model = ensure_model()
    stack = Stack(cluster=cluster, images=image_names(), model=model)
    with step("operator, installed by Helm"):
        stack.install_operator()
    return stack


def example(name: str) -> dict[str, Any]:
    """Return a GptOssDeployment of the directory `examples`."""
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "examples" / name).read_text())
    return loaded
