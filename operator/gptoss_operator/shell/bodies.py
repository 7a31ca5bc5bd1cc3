"""The users' objects as kopf delivers them, and whether it still does.

kopf watches them. A second, small watch of ours sees which versions there are; when kopf does not deliver one of them
in time, its watch has gone silent, and the process has to be started again.
"""

import time
from collections.abc import Iterable
from typing import Final

from gptoss_operator.core.objects import Child
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.parse import secret_names
from gptoss_operator.shell.store import Key, is_newer, key_of


LATE_SECONDS: Final = 60.0
"""How long kopf may take to deliver what the other watch has seen."""


class Bodies:
    """The latest version of each user's object."""

    def __init__(self) -> None:
        self._bodies: dict[Key, Manifest] = {}
        self._delivered: dict[Key, str] = {}
        self._expected: dict[Key, tuple[str, float]] = {}

    def get(self, key: Key) -> Manifest | None:
        """Return the object as the API server keeps it, or None."""
        return self._bodies.get(key)

    def keys(self) -> Iterable[Key]:
        """Return the names of all objects."""
        return list(self._bodies)

    def users_of_secret(self, secret: Key) -> Iterable[Key]:
        """Return the names of the objects whose gateway uses a Secret."""
        return [
            key
            for key, body in self._bodies.items()
            if key.namespace == secret.namespace and secret.name in secret_names(body)
        ]

    def deliver(self, body: Manifest) -> Key:
        """Take in what kopf delivered; return whose it is."""
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        version = body["metadata"]["resourceVersion"]
        self._delivered[key] = version
        if key in self._expected and not is_newer(self._expected[key][0], version):
            del self._expected[key]
        self._put(key, body)
        return key

    def remember(self, body: Manifest) -> None:
        """Take in what the API server answered to a status write of ours, ahead of the watch."""
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        if key in self._bodies:
            self._put(key, body)

    def forget(self, key: Key, uid: str) -> bool:
        """Drop the object with `uid`, which is gone. Return whether it was there."""
        known = self._bodies.get(key)
        self._expected.pop(key, None)
        if known is None or known["metadata"]["uid"] != uid:
            return False
        del self._bodies[key]
        self._delivered.pop(key, None)
        return True

    def expect(self, seen: Child) -> None:
        """Take in that the other watch has seen a version, which kopf has to deliver soon."""
        key, version = key_of(seen), seen.metadata.resource_version
        if is_newer(version, self._delivered.get(key, "0")):
            since = self._expected[key][1] if key in self._expected else time.monotonic()
            self._expected[key] = (version, since)

    def late(self) -> str | None:
        """Return what kopf has not delivered in time, or None."""
        for key, (version, since) in self._expected.items():
            age = time.monotonic() - since
            if age > LATE_SECONDS:
                return f"version {version} of {key.namespace}/{key.name} was not delivered for {age:.0f} s"
        return None

    def _put(self, key: Key, body: Manifest) -> None:
        known = self._bodies.get(key)
        if known is None or is_newer(body["metadata"]["resourceVersion"], known["metadata"]["resourceVersion"]):
            self._bodies[key] = body
