"""The Helm chart: the same each time, right for a real API server, and no more rights than the operator uses."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from gptoss_operator.shell.settings import parse


CHART = Path(__file__).parents[2] / "helm/gptoss-operator"

ALLOWED = {
    ("", "nodes"): {"list", "watch"},
    ("", "pods"): {"list", "watch", "delete", "patch"},
    ("", "secrets"): {"list", "watch"},
    ("", "services"): {"get", "list", "watch", "create", "patch", "delete"},
    ("", "configmaps"): {"get", "list", "watch", "create", "patch", "delete"},
    ("apps", "statefulsets"): {"get", "list", "watch", "create", "patch", "delete"},
    ("apps", "deployments"): {"get", "list", "watch", "create", "patch", "delete"},
    ("", "persistentvolumeclaims"): {"get", "list", "watch", "create", "patch", "delete"},
    ("batch", "jobs"): {"get", "list", "watch", "create", "patch", "delete"},
    ("policy", "poddisruptionbudgets"): {"get", "list", "watch", "create", "patch", "delete"},
    ("inference.networking.k8s.io", "inferencepools"): {"get", "list", "watch", "create", "patch", "delete"},
    ("gptoss.dev", "gptossdeployments"): {"list", "watch"},
    ("gptoss.dev", "gptossdeployments/status"): {"patch"},
    ("gptoss.dev", "gptossdeployments/finalizers"): {"update"},
    ("events.k8s.io", "events"): {"create"},
}
"""Every right that the operator has. A new one is a decision, not an accident."""


def helm(cluster: Cluster, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["helm", *words], env=cluster.environment(), capture_output=True, text=True, check=False, timeout=60
    )


def rendered(cluster: Cluster, *settings: str) -> list[dict[str, Any]]:
    done = helm(cluster, "template", "gptoss-operator", str(CHART), "--namespace=gptoss-system", *settings)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def rights(documents: list[dict[str, Any]], kind: str) -> dict[tuple[str, str], set[str]]:
    """Return the verbs for each resource that the operator's roles of one kind grant."""
    return {
        (group, resource): set(rule["verbs"])
        for document in documents
        if document["kind"] == kind and not document["metadata"]["name"].endswith(("-view", "-edit"))
        for rule in document["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_it_is_rendered_the_same_each_time(api: Cluster) -> None:
    assert rendered(api) == rendered(api)


def test_the_operator_understands_the_arguments_it_is_given(api: Cluster) -> None:
    (operator,) = (d for d in rendered(api, "--set=watchNamespaces={a,b}") if d["kind"] == "Deployment")
    settings = parse(operator["spec"]["template"]["spec"]["containers"][0]["args"], {})
    assert (settings.server_image, settings.gateway_image) == ("gptoss-server:0.1.0", "haproxy:3.0")
    assert settings.activator_image == "gptoss-activator:0.1.0"
    assert settings.namespaces == ("a", "b")


def test_it_grants_what_the_operator_uses_and_no_more(api: Cluster) -> None:
    assert rights(rendered(api), "ClusterRole") == ALLOWED


def test_secrets_are_out_of_sight_if_so_wished(api: Cluster) -> None:
    documents = rendered(api, "--set=rbac.watchSecrets=false")
    assert rights(documents, "ClusterRole") == {key: verbs for key, verbs in ALLOWED.items() if key != ("", "secrets")}


def test_in_chosen_namespaces_it_grants_nothing_else_in_the_cluster(api: Cluster) -> None:
    documents = rendered(api, "--set=watchNamespaces={a}")
    assert rights(documents, "ClusterRole") == {("", "nodes"): {"list", "watch"}}
    assert rights(documents, "Role") == {key: verbs for key, verbs in ALLOWED.items() if key != ("", "nodes")}


@pytest.mark.parametrize(
    "wrong",
    ["imagee.tag=1", "logging.level=loud", "rbac.watchSecrets=perhaps", "defaults.serverImage=", "crds.keep=perhaps"],
)
def test_wrong_values_are_refused(api: Cluster, wrong: str) -> None:
    done = helm(api, "template", "x", str(CHART), f"--set={wrong}")
    assert done.returncode != 0
    assert wrong.split("=", maxsplit=1)[0].split(".", maxsplit=1)[0] in done.stderr


def test_it_installs_and_leaves_only_the_crd_behind(api: Cluster, namespace: str) -> None:
    user = Kubectl(api, namespace)
    user("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    # The CRD is there from other tests, or it is made here; both are the chart's to take over.
    user("annotate", "crd", "--all", "--overwrite", f"meta.helm.sh/release-namespace={namespace}")
    user("annotate", "crd", "--all", "--overwrite", "meta.helm.sh/release-name=gptoss-operator")
    user("label", "crd", "--all", "--overwrite", "app.kubernetes.io/managed-by=Helm")
    installed = helm(
        api, "install", "gptoss-operator", str(CHART), f"--namespace={namespace}", "--wait", "--timeout=60s"
    )
    assert installed.returncode == 0, installed.stderr
    (pod,) = user.items("pods")
    assert pod["status"]["phase"] == "Running"

    removed = helm(api, "uninstall", "gptoss-operator", f"--namespace={namespace}", "--wait")

    assert removed.returncode == 0, removed.stderr
    assert "CustomResourceDefinition" in removed.stdout
    assert user.items("deployments,services,roles,rolebindings") == []
    assert not [r for r in user.items("clusterroles,clusterrolebindings") if "gptoss" in r["metadata"]["name"]]
    assert user("get", "crd", "gptossdeployments.gptoss.dev")
