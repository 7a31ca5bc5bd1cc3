"""Says once that pods which should answer the operator do not, until they do."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gptoss_operator.core.objects import Pod
from gptoss_operator.shell.asker import is_unheard
from gptoss_operator.shell.samples import ScrapeFailed
from gptoss_operator.shell.store import key_of


@dataclass(slots=True, kw_only=True)
class Complaint:
    """What is said of pods of one kind."""

    logger: logging.Logger
    who: str
    """Such as `replicas`."""
    untold: str
    """What they do not say, such as `how they are`."""
    meanwhile: str
    """What follows until they do."""
    port: int
    remedy: str
    """What helps where they answer something else than they should."""
    _said: bool = False

    def look(self, pods: Iterable[Pod], silent: Callable[[str], ScrapeFailed | None]) -> None:
        """Look at the pods that Kubernetes finds ready. `silent` says why nothing is known of one, by its uid."""
        ready = list(pods)
        answers = [(pod, silent(pod.metadata.uid)) for pod in ready]
        failures = [(pod, failure) for pod, failure in answers if failure]
        if failures and not self._said:
            pod, failure = failures[0]
            remedy = (
                f"Let the operator reach port {self.port} of the {self.who}' pods (NetworkPolicy)"
                if is_unheard(failure)
                else self.remedy
            )
            self.logger.warning(
                "%d of %d ready %s do not say %s, such as %s at %s: %s. %s; until then %s",
                len(failures),
                len(ready),
                self.who,
                self.untold,
                "/".join(key_of(pod)),
                pod.status.pod_ip,
                failure.reason,
                remedy,
                self.meanwhile,
            )
        self._said = bool(failures)
