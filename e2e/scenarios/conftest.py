"""One cluster with the operator and a settled deployment `chat` for all scenarios, and a client in the cluster."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI

from e2e import stack as stacks
from e2e.cluster import lifecycle
from e2e.kubectl import Kubectl
from e2e.pods import waiting_pod
from e2e.shown import shown
from e2e.stack import Stack
from e2e.watch import settled, until


CLUSTER = "gptoss-e2e"
NAMESPACE = "e2e"
MODEL = "openai/gpt-oss-20b"
SERVICE = f"chat.{NAMESPACE}.svc.cluster.local"
URL = f"http://{SERVICE}:8000/v1"
START_SECONDS = 600
LOAD_SECONDS = 1100
"""Longer than any load lasts that a scenario asks for."""
ONE_CPU_EACH = [
    # vLLM binds its worker to the first CPU of the machine; those of all replicas would share that one.
    {"name": "VLLM_CPU_OMP_THREADS_BIND", "value": "nobind"},
    {"name": "OMP_NUM_THREADS", "value": "1"},
]
ENGINE = {
    "maxModelLen": 4096,
    "maxNumSeqs": 16,
    # As much as sixteen requests take with the tiny model. vLLM would fill a whole GiB of memory with zeros.
    "kvCacheMemory": "128Mi",
}
LOAD = (Path(__file__).parent / "client_load.py").read_text()

Load = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A cluster of its own with the operator in it. It ends with the tests."""
    with shown(request):
        lifecycle.down(CLUSTER)
        started = stacks.start(CLUSTER)
    yield started
    with shown(request):
        lifecycle.down(CLUSTER)


@pytest.fixture(scope="session")
def user(stack: Stack) -> Kubectl:
    """Kubectl in a namespace that enforces Pod Security `restricted`."""
    return stack.namespace(NAMESPACE)


@pytest.fixture(scope="session")
def chat(request: pytest.FixtureRequest, user: Kubectl) -> Kubectl:
    """The deployment `chat` with two ready replicas."""
    with shown(request):
        user.apply(deployment("chat", replicas=2))
        until(user, "chat", settled, timeout_seconds=START_SECONDS)
    return user


@pytest.fixture(scope="session")
def load(stack: Stack, user: Kubectl) -> Load:
    """Run `client_load.py` in a pod of the cluster and return what it found."""
    user.apply(waiting_pod("client", stack.images.operator))
    user("wait", "pod/client", "--for=condition=Ready", "--timeout=60s")

    def run(*arguments: object) -> dict[str, Any]:
        words = [str(argument) for argument in arguments]
        said = user("exec", "-i", "client", "--", "python3", "-", *words, stdin=LOAD, timeout_seconds=LOAD_SECONDS)
        result: dict[str, Any] = json.loads(said)
        return result

    return run


@pytest.fixture
def openai(chat: Kubectl) -> Iterator[OpenAI]:
    """OpenAI's own client, through a port that kubectl forwards to a gateway pod."""
    with chat.forwarded("service/chat", 8000) as port:
        client = OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=60, max_retries=0)
        with client:
            yield client


def deployment(name: str, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 - a raw object
    """Return a deployment of the tiny model, one GPU for each replica."""
    source = {"persistentVolumeClaim": {"claimName": stacks.CLAIM}}
    return {
        "apiVersion": "gptoss.dev/v1alpha1",
        "kind": "GptOssDeployment",
        "metadata": {"name": name},
        "spec": {
            "model": {"name": "gpt-oss-20b", "source": source},
            "engine": ENGINE,
            # Streams of the scenarios last up to two minutes where the starts of other replicas take the CPUs.
            "drainSeconds": 180,
            "pod": {"env": ONE_CPU_EACH},
            "routing": {"queue": {"maxWaitSeconds": 300}, "hold": {"heartbeatSeconds": 2}},
            # How fast a new replica is tells nothing where all share two CPUs.
            "rollout": {"gates": {"canary": {"holdSeconds": 0}}},
            **spec,
        },
    }
