"""What tests of the shell arrange with: objects as the API server sends them, and a way to run coroutines."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import looptime
import msgspec

from gptoss_operator.api import names
from gptoss_operator.core.objects import Child, Node, Pod
from gptoss_operator.core.observation import Manifest, Owner


OWNER = Owner(name="chat", namespace="demo", uid="owner-uid", generation=1)

T = TypeVar("T")


def in_virtual_time(test: Coroutine[Any, Any, T]) -> T:
    """Run a test in which sleeping takes no time."""
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        return runner.run(test)


def an_object(
    kind: str,
    name: str,
    *,
    version: int = 1,
    generation: int = 1,
    uid: str | None = None,
    owner_uid: str | None = OWNER.uid,
    namespace: str = OWNER.namespace,
    deployment: str = OWNER.name,
    **fields: Any,  # noqa: ANN401  (the rest of a raw object)
) -> Manifest:
    references = [
        {"apiVersion": names.API_VERSION, "kind": names.KIND, "name": deployment, "uid": owner_uid, "controller": True}
    ]
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": uid or f"{name}-uid",
            "resourceVersion": str(version),
            "generation": generation,
            "labels": names.identity(deployment),
            "ownerReferences": references if owner_uid else [],
        },
        **fields,
    }


def a_child(name: str, *, version: int = 1, generation: int = 1, **fields: Any) -> Child:  # noqa: ANN401  (as above)
    return msgspec.convert(an_object("Service", name, version=version, generation=generation, **fields), Child)


def a_pod(name: str, component: str, *, controller: str = "StatefulSet", node: str = "", version: int = 1) -> Pod:
    raw = an_object("Pod", name, version=version, spec={"nodeName": node})
    raw["metadata"]["labels"][names.LABEL_COMPONENT] = component
    controller_name = name.rsplit("-", 1)[0]
    raw["metadata"]["ownerReferences"] = [
        {"kind": controller, "name": controller_name, "uid": f"{controller_name}-uid", "controller": True}
    ]
    return msgspec.convert(raw, Pod)


def a_node(name: str, *, version: int = 1, unschedulable: bool = False, labels: dict[str, str] | None = None) -> Node:
    return msgspec.convert(
        {
            "metadata": {"name": name, "uid": f"{name}-uid", "resourceVersion": str(version), "labels": labels or {}},
            "spec": {"unschedulable": unschedulable},
        },
        Node,
    )


def a_body(*, version: int = 1, uid: str = OWNER.uid, **fields: Any) -> Manifest:  # noqa: ANN401  (as above)
    body = an_object(names.KIND, OWNER.name, version=version, uid=uid, owner_uid=None, spec={}, **fields)
    return body | {"apiVersion": names.API_VERSION}
