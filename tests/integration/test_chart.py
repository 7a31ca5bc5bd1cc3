"""The Helm chart: the same each time, right for a real API server, and no more rights than the operator uses."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.cluster.provider import Cluster
from e2e.kubectl import Kubectl
from gptoss_operator.api.placement import PriceSpec
from gptoss_operator.shell.prices import read_prices
from gptoss_operator.shell.settings import parse


CHART = Path(__file__).parents[2] / "helm/gptoss-operator"

ALLOWED = {
    ("", "nodes"): {"list", "watch"},
    ("", "pods"): {"list", "watch", "delete", "patch"},
    ("", "secrets"): {"list", "watch"},
    ("", "services"): {"get", "list", "watch", "create", "patch", "delete"},
    ("", "configmaps"): {"get", "list", "watch", "create", "patch", "delete"},
    ("apps", "controllerrevisions"): {"get", "list", "watch", "create", "patch", "delete"},
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
"""Every right that the operator has where it serves. A new one is a decision, not an accident."""
LEASE = {("coordination.k8s.io", "leases"): {"get", "create", "update"}}
"""What it has in its own namespace alone."""


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
    granted: dict[tuple[str, str], set[str]] = {}
    for document in documents:
        if document["kind"] != kind or document["metadata"]["name"].endswith(("-view", "-edit")):
            continue
        for rule in document["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    granted.setdefault((group, resource), set()).update(rule["verbs"])
    return granted


def test_it_is_rendered_the_same_each_time(api: Cluster) -> None:
    assert rendered(api) == rendered(api)


def test_the_operator_understands_the_arguments_it_is_given(api: Cluster) -> None:
    (operator,) = (d for d in rendered(api, "--set=watchNamespaces={a,b}") if d["kind"] == "Deployment")
    settings = parse(operator["spec"]["template"]["spec"]["containers"][0]["args"], {})
    assert (settings.server_image, settings.gateway_image) == ("gptoss-server:0.1.0", "haproxy:3.0")
    assert settings.activator_image == "gptoss-activator:0.1.0"
    assert settings.namespaces == ("a", "b")
    assert (settings.lease_namespace, settings.lease_name) == ("gptoss-system", "gptoss-operator")


def test_it_grants_what_the_operator_uses_and_no_more(api: Cluster) -> None:
    assert rights(rendered(api), "ClusterRole") == ALLOWED
    assert rights(rendered(api), "Role") == LEASE


def test_secrets_are_out_of_sight_if_so_wished(api: Cluster) -> None:
    documents = rendered(api, "--set=rbac.watchSecrets=false")
    assert rights(documents, "ClusterRole") == {key: verbs for key, verbs in ALLOWED.items() if key != ("", "secrets")}


def test_in_chosen_namespaces_it_grants_nothing_else_in_the_cluster(api: Cluster) -> None:
    documents = rendered(api, "--set=watchNamespaces={a}")
    assert rights(documents, "ClusterRole") == {("", "nodes"): {"list", "watch"}}
    assert rights(documents, "Role") == {key: verbs for key, verbs in ALLOWED.items() if key != ("", "nodes")} | LEASE


def test_only_one_lease_may_be_read_and_written(api: Cluster) -> None:
    (role,) = (d for d in rendered(api) if d["kind"] == "Role")
    assert role["metadata"]["namespace"] == "gptoss-system"
    assert [(rule.get("resourceNames"), rule["verbs"]) for rule in role["rules"]] == [
        (None, ["create"]),
        (["gptoss-operator"], ["get", "update"]),
    ]


def test_two_pods_that_are_replaced_one_by_one_and_kept_apart(api: Cluster) -> None:
    documents = rendered(api)
    (operator,) = (d for d in documents if d["kind"] == "Deployment")
    (budget,) = (d for d in documents if d["kind"] == "PodDisruptionBudget")
    spec = operator["spec"]
    assert spec["replicas"] == 2
    assert spec["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    (apart,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    labels = spec["selector"]["matchLabels"]
    assert apart["podAffinityTerm"]["labelSelector"]["matchLabels"] == labels
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}


def test_an_affinity_of_the_users_takes_the_place_of_ours(api: Cluster) -> None:
    theirs = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    (operator,) = (
        d
        for d in rendered(api, "--set=replicas=1", f"--set={theirs}[0].matchFields[0].key=x")
        if d["kind"] == "Deployment"
    )
    assert operator["spec"]["replicas"] == 1
    assert list(operator["spec"]["template"]["spec"]["affinity"]) == ["nodeAffinity"]


def test_prices_reach_the_operator_as_they_are_written(api: Cluster, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text('prices: [{capacityType: Spot, zone: b, gpuHour: "1.10"}]')
    documents = rendered(api, f"--values={values}")
    (table,) = (d for d in documents if d["kind"] == "ConfigMap")
    (operator,) = (d for d in documents if d["kind"] == "Deployment")
    (tmp_path / "prices.yaml").write_text(table["data"]["prices.yaml"])
    assert read_prices(str(tmp_path / "prices.yaml")) == (PriceSpec(capacity_type="Spot", zone="b", gpu_hour="1.10"),)
    pod = operator["spec"]["template"]["spec"]
    (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["name"] == "prices")
    assert f"--prices={mount['mountPath']}/prices.yaml" in pod["containers"][0]["args"]
    assert {"name": "prices", "configMap": {"name": table["metadata"]["name"]}} in pod["volumes"]


@pytest.mark.parametrize(
    "wrong",
    [
        "imagee.tag=1",
        "prices[0].gpuHour=cheap",
        "replicas=two",
        "logging.level=loud",
        "rbac.watchSecrets=perhaps",
        "defaults.serverImage=",
        "crds.keep=perhaps",
    ],
)
def test_wrong_values_are_refused(api: Cluster, wrong: str) -> None:
    done = helm(api, "template", "x", str(CHART), f"--set={wrong}")
    assert done.returncode != 0
    assert wrong.split("=", maxsplit=1)[0].split(".", maxsplit=1)[0].split("[", maxsplit=1)[0] in done.stderr


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
    assert [pod["status"]["phase"] for pod in user.items("pods")] == ["Running"] * 2

    removed = helm(api, "uninstall", "gptoss-operator", f"--namespace={namespace}", "--wait")

    assert removed.returncode == 0, removed.stderr
    assert "CustomResourceDefinition" in removed.stdout
    assert user.items("deployments,services,roles,rolebindings,poddisruptionbudgets") == []
    assert not [r for r in user.items("clusterroles,clusterrolebindings") if "gptoss" in r["metadata"]["name"]]
    assert user("get", "crd", "gptossdeployments.gptoss.dev")
