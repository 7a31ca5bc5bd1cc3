"""Deletion leaves nothing, with the operator or without it."""

from e2e.children import children, eventually
from e2e.kubectl import Kubectl
from e2e.scenarios.conftest import deployment
from e2e.stack import OPERATOR_NAMESPACE, RELEASE, Stack


def gone(kubectl: Kubectl, name: str) -> bool:
    return not children(kubectl, name) and not kubectl.items("pods", "-l", f"gptoss.dev/deployment={name}")


def test_deletion_leaves_nothing(chat: Kubectl) -> None:
    chat("delete", "gptoss", "chat", "--timeout=60s")
    eventually(lambda: gone(chat, "chat"), "everything of chat is gone", seconds=120)


def test_deletion_does_not_need_the_operator(stack: Stack, user: Kubectl) -> None:
    user.apply(deployment("short", replicas=1, image="localhost/nothing:1"))
    eventually(lambda: len(children(user, "short")) == 8, "everything of it is there", seconds=60)
    system = stack.kubectl(OPERATOR_NAMESPACE)
    system("scale", f"deployment/{RELEASE}", "--replicas=0")
    user("delete", "gptoss", "short", "--timeout=60s")
    eventually(lambda: gone(user, "short"), "everything of short is gone", seconds=120)
