"""kopf, for what it is good at: it logs in, watches the users' objects, and tells us of them.

Only `on.event` handlers: anything more would write a finalizer or annotations onto the user's object.
"""

import dataclasses
import os
import random
from collections.abc import Callable, Iterator
from typing import Final

import kopf

from gptoss_operator.api import names
from gptoss_operator.shell.bodies import Bodies
from gptoss_operator.shell.kube import in_cluster
from gptoss_operator.shell.store import Key


WORKERS: Final = 16
"""Handlers at once. Each only takes note of its object."""


class EndlessBackoffs:
    """Pauses between attempts, in seconds, capped and without an end: kopf's own run out, and then it gives up."""

    def __iter__(self) -> Iterator[float]:
        """Yield pauses for one series of attempts."""
        pause = 1.0
        while True:
            yield pause * random.uniform(0.5, 1.0)  # noqa: S311  (jitter)
            pause = min(pause * 2, 30.0)


def kopf_settings() -> kopf.OperatorSettings:
    """Return kopf's settings. Its own defaults wait for ever where a network may go silent, and give up elsewhere."""
    settings = kopf.OperatorSettings()
    settings.peering.standalone = True
    settings.posting.enabled = False
    # No watch of CRDs and namespaces, so that the operator needs no right to list them.
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 10
    settings.watching.inactivity_timeout = 70
    settings.watching.chunk_size = 500
    settings.networking.connect_timeout = 10
    settings.networking.request_timeout = 30
    settings.networking.enforce_retry_after = True
    settings.networking.error_backoffs = EndlessBackoffs()
    settings.queueing.worker_limit = WORKERS
    settings.queueing.error_delays = EndlessBackoffs()
    return settings


def registry_of(
    bodies: Bodies, changed: Callable[[Key], None], gone: Callable[[Key, str], None]
) -> kopf.OperatorRegistry:
    """Return kopf's registry with our handlers.

    `changed` is told which object to look at; `gone` which one, and its uid, is not there any more.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(settings: kopf.OperatorSettings, **_: object) -> kopf.ConnectionInfo | None:
        if not in_cluster():
            return kopf.login_with_kubeconfig(settings=settings)
        found = kopf.login_with_service_account(settings=settings)
        # The address that every pod is given, so that the operator does not depend on the cluster's DNS.
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        if found is None or not host:
            return found
        address = f"[{host}]" if ":" in host else host
        return dataclasses.replace(found, server=f"https://{address}:{port}")

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=registry)
    async def event(event: kopf.RawEvent, **_: object) -> None:
        body = event["object"]
        metadata = body["metadata"]
        if event["type"] == "DELETED":
            gone(Key(metadata["namespace"], metadata["name"]), metadata["uid"])
        else:
            changed(bodies.deliver(dict(body)))

    return registry
