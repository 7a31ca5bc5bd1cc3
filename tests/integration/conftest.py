"""A real API server for the tests below: started once for each run of pytest, and gone at its end."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.children import eventually
from e2e.cluster import lifecycle
from e2e.cluster.commands import run
from e2e.cluster.local.cluster import prepare
from e2e.cluster.local.places import RUN_ROOT
from e2e.cluster.provider import Cluster, Tier
from e2e.kubectl import Kubectl
from e2e.shown import shown
from tests.integration.operator_process import OperatorProcess


PREFIX = "it-"
"""Names of these clusters: the prefix and the number of the pytest process."""
TEST_SECONDS = 120
CRDS = Path(__file__).parents[2] / "crds"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Time the tests here without their fixtures, since the first cluster on a machine is built for minutes."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(TEST_SECONDS, func_only=True))


@pytest.fixture(scope="session")
def api(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A cluster of the API tier; `api.enter()` begins the commands that must reach its simulated pods."""
    name = f"{PREFIX}{os.getpid()}"
    with shown(request):
        end_abandoned_clusters()
        cluster = lifecycle.up(name, Tier.API)
    yield cluster
    with shown(request):
        lifecycle.down(name)


@pytest.fixture(scope="session")
def node_programs(request: pytest.FixtureRequest) -> None:
    """What a cluster with a node needs, installed and built before a test's time begins to run."""
    with shown(request):
        prepare(Tier.NODE)


@pytest.fixture(scope="session")
def installed(api: Cluster) -> Cluster:
    """The same cluster, with the CRD in it."""
    kubectl = Kubectl(api, "default")
    kubectl("apply", "--server-side", "-f", str(CRDS))
    # Not by `kubectl wait`, which fails as long as the object has no conditions at all.
    eventually(lambda: _is_established(kubectl), "the CRD is established")
    return api


def _is_established(kubectl: Kubectl) -> bool:
    crd = kubectl.json("get", "crd", "gptossdeployments.gptoss.dev")
    conditions = crd.get("status", {}).get("conditions") or []
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions)


@pytest.fixture
def user(installed: Cluster, namespace: str) -> Kubectl:
    """A person in a fresh namespace."""
    return Kubectl(installed, namespace)


@pytest.fixture
def running(installed: Cluster, namespace: str, tmp_path: Path) -> Iterator[Path]:
    """The operator, serving the test's namespace only; its log is what is yielded."""
    log = tmp_path / "operator.log"
    with OperatorProcess(installed, namespace, log):
        yield log


@pytest.fixture
def namespace(api: Cluster) -> Iterator[str]:
    """A fresh namespace. Its removal is asked for and not awaited: no test looks there again."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    run([*api.kubectl(), "create", "namespace", name], timeout_seconds=30)
    yield name
    run([*api.kubectl(), "delete", "namespace", name, "--wait=false"], timeout_seconds=30)


def end_abandoned_clusters() -> None:
    """End the clusters of earlier runs that were killed before they could do it themselves."""
    for directory in RUN_ROOT.glob(f"{PREFIX}*/"):
        if not Path("/proc", directory.name.removeprefix(PREFIX)).exists():
            lifecycle.down(directory.name)
