"""Which deployments get a pass in each interval, as their load or their machines may change without a word."""

from collections.abc import Callable

from gptoss_operator.api.spec import follows_load
from gptoss_operator.core.observation import Manifest
from gptoss_operator.core.parse import parse_spec
from gptoss_operator.errors import InvalidSpec
from gptoss_operator.shell.store import Key


class Pace:
    """Looks at each spec once."""

    def __init__(self, body_of: Callable[[Key], Manifest | None]) -> None:
        """`body_of` returns the user's object, or None."""
        self._body_of = body_of
        self._known: dict[Key, tuple[str, int, bool]] = {}

    def __call__(self, key: Key) -> bool:
        """Return whether the deployment follows the load or has spot machines."""
        body = self._body_of(key)
        if body is None:
            self._known.pop(key, None)
            return False
        uid, generation = body["metadata"]["uid"], body["metadata"].get("generation", 0)
        known = self._known.get(key)
        if known is None or known[:2] != (uid, generation):
            known = self._known[key] = (uid, generation, _is_paced(body))
        return known[2]

    def forget(self, key: Key) -> None:
        """Drop what is remembered of an object that is gone."""
        self._known.pop(key, None)


def _is_paced(body: Manifest) -> bool:
    try:
        spec = parse_spec(body)
    except InvalidSpec:
        return False
    return follows_load(spec) or spec.spot.enabled
