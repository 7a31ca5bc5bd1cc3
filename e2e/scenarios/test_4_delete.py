"""Deletion leaves nothing, with the operator or without it."""

from functools import partial

from e2e.children import children, eventually
from e2e.kubectl import Kubectl
from e2e.scenarios.conftest import deployment
from e2e.stack import OPERATOR_NAMESPACE, RELEASE, Stack


GONE_SECONDS = 120


def gone(kubectl: Kubectl, name: str) -> bool:
    return not children(kubectl, name) and not kubectl.items("pods", "-l", f"gptoss.dev/deployment={name}")


def wait_until_gone(kubectl: Kubectl, name: str) -> None:
    try:
        eventually(lambda: gone(kubectl, name), f"everything of {name} is gone", seconds=GONE_SECONDS)
    except AssertionError as error:
        error.add_note(kubectl("get", "pods", "-l", f"gptoss.dev/deployment={name}", "-o", "yaml"))
        raise


def test_deletion_leaves_nothing(chat: Kubectl) -> None:
    chat("delete", "gptoss", "chat", "--timeout=60s")
    wait_until_gone(chat, "chat")


def test_a_deployment_that_is_deleted_while_it_starts_leaves_nothing(user: Kubectl) -> None:
    """Its programs must not lose a signal that comes before they have a handler for it."""
    # The activator and both HAProxy of two pods.
    for count in (1, 3, 5):
        user.apply(deployment("brief", replicas=1, image="localhost/nothing:1"))
        eventually(partial(have_started, user, "brief", count), f"{count} containers start", seconds=60)
        user("delete", "gptoss", "brief", "--timeout=60s")
        wait_until_gone(user, "brief")


def have_started(kubectl: Kubectl, name: str, count: int) -> bool:
    """Return whether at least `count` containers of the gateway pods have started."""
    pods = kubectl.items("pods", "-l", f"gptoss.dev/deployment={name},app.kubernetes.io/component=gateway")
    statuses = [
        status
        for pod in pods
        for key in ("initContainerStatuses", "containerStatuses")
        for status in pod.get("status", {}).get(key, [])
    ]
    return sum("running" in status["state"] for status in statuses) >= count


def test_deletion_does_not_need_the_operator(stack: Stack, user: Kubectl) -> None:
    user.apply(deployment("short", replicas=1, image="localhost/nothing:1"))
    eventually(lambda: len(children(user, "short")) == 8, "everything of it is there", seconds=60)
    system = stack.kubectl(OPERATOR_NAMESPACE)
    system("scale", f"deployment/{RELEASE}", "--replicas=0")
    user("delete", "gptoss", "short", "--timeout=60s")
    wait_until_gone(user, "short")
