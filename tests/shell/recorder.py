"""What a test sends to the API server, written down."""

from typing import TYPE_CHECKING, Any

from gptoss_operator.api.status import GptOssStatus, Reason
from gptoss_operator.core.actions import Apply, Delete, Note, Plan, digest_of
from gptoss_operator.core.observation import ChildKey, Manifest
from gptoss_operator.errors import KubernetesError, NotFound
from gptoss_operator.shell.bodies import Bodies
from gptoss_operator.shell.carry_out import Hands, Outcome, carry_out
from gptoss_operator.shell.cluster import Cluster
from gptoss_operator.shell.ledger import Ledger
from gptoss_operator.shell.store import Key
from tests.shell.builders import OWNER, a_body, an_object, in_virtual_time


if TYPE_CHECKING:
    from collections.abc import Callable


CHAT = Key("demo", "chat")
STATUS = GptOssStatus(replicas=1, ready="0/1")


class Recorder:
    """Records the calls in order, and answers with what it is given, or as an API server that agrees to everything."""

    def __init__(self, existing: dict[ChildKey, Manifest] | None = None) -> None:
        self.calls: list[str] = []
        self.sent: list[Manifest] = []
        self.answers: dict[str, Manifest | KubernetesError] = {}
        self.existing = existing or {}
        self.meanwhile: dict[str, Callable[[], None]] = {}
        """What happens while a call is on its way."""
        self.passing: set[str] = set()
        """Calls that get their answer once."""

    def _answer(self, call: str, otherwise: Manifest) -> Manifest:
        self.calls.append(call)
        self.meanwhile.get(call, lambda: None)()
        answer = self.answers.get(call, otherwise)
        if call in self.passing:
            self.answers.pop(call, None)
        if isinstance(answer, KubernetesError):
            raise answer
        return answer

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        assert namespace == OWNER.namespace
        found = self.existing.get(ChildKey(kind, name))
        if found is None:
            self.answers[f"get {name}"] = NotFound(f"{name} not found")
        return self._answer(f"get {name}", found or {})

    async def apply(self, manifest: Manifest) -> Manifest:
        name = manifest["metadata"]["name"]
        self.sent.append(manifest)
        return self._answer(f"apply {name}", an_object(manifest["kind"], name, version=5))

    async def overwrite(self, manifest: Manifest) -> Manifest:
        return self._answer(f"overwrite {manifest['metadata']['name']}", manifest)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        self.sent.append(manifest)
        return self._answer("status", a_body(version=9, status=manifest["status"]))

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, resource_version: str) -> Manifest:
        assert kind in ("StatefulSet", "ControllerRevision")
        assert namespace == OWNER.namespace
        return self._answer(f"delete {name} {uid} {resource_version}", {"kind": "Status", "status": "Success"})

    async def annotate(
        self, kind: str, namespace: str, name: str, *, uid: str, annotations: dict[str, str]
    ) -> Manifest:
        assert (kind, namespace) == ("Pod", OWNER.namespace)
        pod = an_object("Pod", name, version=6, uid=uid)
        pod["metadata"]["annotations"] = annotations
        return self._answer(f"annotate {name} {uid} {annotations}", pod)

    async def create_event(self, event: Manifest) -> None:
        self.sent.append(event)
        self._answer(f"event {event['reason']}", {})


def hands_of(recorder: Recorder, **fields: Any) -> Hands:  # noqa: ANN401  (fields of Hands)
    return Hands(writer=recorder, cluster=Cluster((), lambda _key: None), bodies=Bodies(), ledger=Ledger(), **fields)


def an_apply(name: str, *, exists: bool = True) -> Apply:
    manifest = an_object("Service", name)
    return Apply(manifest=manifest, digest=digest_of(manifest), exists=exists, reason="it is missing")


def a_delete(name: str) -> Delete:
    return Delete(key=ChildKey("StatefulSet", name), uid="u", resource_version="3", reason="too many")


A_NOTE = Note(type="Normal", reason=Reason.REPLICA_CREATED, action="Create", message="created")


def do(plan: Plan, hands: Hands) -> Outcome:
    return in_virtual_time(carry_out(plan, OWNER, hands))
