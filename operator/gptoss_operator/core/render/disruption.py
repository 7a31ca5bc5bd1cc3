"""PodDisruptionBudgets: how many pods a voluntary disruption, such as a node drain, may take at once."""

from gptoss_operator.api.names import selector
from gptoss_operator.core.observation import Manifest, Owner
from gptoss_operator.core.render.common import metadata


def disruption_budget(owner: Owner, name: str, component: str) -> Manifest:
    """Return a budget that lets one pod of `component` go at a time.

    Never `minAvailable`: with one replica it would block every node drain for ever. Pods that are not ready may always
    be evicted.
    """
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(owner, name, component),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(owner.name, component)},
        },
    }
