"""Since when a StatefulSet has been without a pod, which no object says.

A pod that is replaced is away for a moment; one that the cluster refuses to create stays away.
"""

from collections.abc import Mapping
from datetime import datetime

from gptoss_operator.core.observation import Observation
from gptoss_operator.shell.store import Key


class Absences:
    """Remembers it for each deployment, as far as this process has seen."""

    def __init__(self) -> None:
        self._since: dict[Key, dict[str, datetime]] = {}

    def look(self, deployment: Key, seen: Observation, now: datetime) -> Mapping[str, datetime]:
        """Return since when each StatefulSet of the deployment that has no pod has had none, by its name."""
        with_pod = {owner.name for pod in seen.replica_pods for owner in pod.metadata.owner_references}
        podless = {key.name for key in seen.children if key.kind == "StatefulSet"} - with_pod
        known = self._since.get(deployment, {})
        self._since[deployment] = {name: known.get(name, now) for name in podless}
        return dict(self._since[deployment])

    def forget(self, deployment: Key) -> None:
        """Drop what is remembered of a deployment, which is gone."""
        self._since.pop(deployment, None)
