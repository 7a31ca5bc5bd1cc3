"""An account with the rights that the chart grants, and no other."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl


CHART = Path(__file__).parents[2] / "helm/gptoss-operator"
RIGHTS = {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
HELM_SECONDS = 60


@contextmanager
def granted(cluster: Cluster, namespace: str, directory: Path, *settings: str) -> Iterator[Path]:
    """Yield a kubeconfig of the chart's service account, for the operator of one namespace."""
    release = f"rights-{namespace}"
    words = [
        "helm",
        "template",
        release,
        str(CHART),
        f"--namespace={namespace}",
        f"--set=watchNamespaces={{{namespace}}}",
    ]
    words += [f"--set={setting}" for setting in settings]
    done = subprocess.run(
        words, env=cluster.environment(), capture_output=True, text=True, check=True, timeout=HELM_SECONDS
    )
    documents = [d for d in yaml.safe_load_all(done.stdout) if d and d["kind"] in RIGHTS]
    kubectl = Kubectl(cluster, namespace)
    kubectl.apply(*(d for d in documents if not d["metadata"]["name"].endswith(("-view", "-edit"))))
    (account,) = (d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount")
    kubeconfig = directory / "granted.kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(_with_token(cluster, kubectl("create", "token", account).strip())))
    try:
        yield kubeconfig
    finally:
        kubectl("delete", "clusterrole,clusterrolebinding", account)


def _with_token(cluster: Cluster, token: str) -> dict[str, object]:
    """Return the cluster's kubeconfig with another user."""
    config: dict[str, object] = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    users: list[dict[str, object]] = config["users"]  # type: ignore[assignment]  # the file's format
    users[0]["user"] = {"token": token}
    return config
