"""What a reflector has seen of one kind: the latest of each object, found by name or by deployment."""

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, NamedTuple, Protocol, TypeVar

from gptoss_operator.api import names
from gptoss_operator.core.objects import ObjectMeta


class Key(NamedTuple):
    """Name of one object. `namespace` is empty for objects that have none."""

    namespace: str
    name: str


class HasMetadata(Protocol):
    """An object of the API server."""

    @property
    def metadata(self) -> ObjectMeta:
        """Its metadata."""
        ...


T = TypeVar("T", bound=HasMetadata)


def key_of(obj: HasMetadata) -> Key:
    """Return the name of an object."""
    return Key(obj.metadata.namespace, obj.metadata.name)


def deployment_of(obj: HasMetadata) -> Key | None:
    """Return the GptOssDeployment that the labels of `obj` name, or None."""
    deployment = obj.metadata.labels.get(names.LABEL_DEPLOYMENT)
    return Key(obj.metadata.namespace, deployment) if deployment else None


def is_newer(resource_version: str, than: str) -> bool:
    """Return whether the first version is the later one.

    Versions are comparable numbers since Kubernetes 1.35, and were on every server before. If one is not a number,
    the first is taken for the later one: it came later.
    """
    if resource_version.isdigit() and than.isdigit():
        return int(resource_version) > int(than)
    return resource_version != than


class Store(Generic[T]):
    """The latest of each object of one kind.

    Objects come from watches, and from our own writes (`remember`), which are ahead of the watch for a moment. An older
    version never replaces a newer one.
    """

    def __init__(self, on_change: Callable[[T | None, T | None], None]) -> None:
        """`on_change` is told the object before and after each change. None: it was not, or is not there."""
        self._objects: dict[Key, T] = {}
        self._by_deployment: dict[Key, set[Key]] = {}
        self._watched_up_to: dict[str | None, str] = {}
        self._on_change = on_change

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[T]:
        return iter(self._objects.values())

    def get(self, key: Key) -> T | None:
        """Return one object, or None."""
        return self._objects.get(key)

    def part_of(self, deployment: Key) -> list[T]:
        """Return the objects labelled as parts of one GptOssDeployment, by name."""
        return [self._objects[key] for key in sorted(self._by_deployment.get(deployment, ()))]

    def seen(self, scope: str | None, obj: T) -> None:
        """Take in an object that the watch of `scope` (a namespace, or None for all) has shown."""
        self._watched_up_to[scope] = obj.metadata.resource_version
        self._put(obj)

    def seen_gone(self, scope: str | None, obj: T) -> None:
        """Take in that the watch of `scope` has shown the end of an object. Its version is that of its deletion."""
        self._watched_up_to[scope] = obj.metadata.resource_version
        known = self._objects.get(key_of(obj))
        if known is not None and not is_newer(known.metadata.resource_version, obj.metadata.resource_version):
            self._drop(known)

    def seen_version(self, scope: str | None, resource_version: str) -> None:
        """Take in that the watch of `scope` has shown everything up to a version."""
        self._watched_up_to[scope] = resource_version

    def watches(self, scope: str | None) -> bool:
        """Return whether what is in `scope` is known. Not so where it may not be read."""
        return scope in self._watched_up_to

    def not_watched(self, scope: str | None) -> None:
        """Take in that the objects of `scope` may not be read any more. What is known of them stays."""
        self._watched_up_to.pop(scope, None)

    def replace(self, scope: str | None, objects: Iterable[T], resource_version: str) -> None:
        """Take in a whole list of `scope`, made at `resource_version`: what is not in it is gone."""
        self._watched_up_to[scope] = resource_version
        listed = set()
        for obj in objects:
            listed.add(key_of(obj))
            self._put(obj)
        for obj in list(self._objects.values()):
            in_scope = scope is None or obj.metadata.namespace == scope
            if in_scope and key_of(obj) not in listed and not is_newer(obj.metadata.resource_version, resource_version):
                self._drop(obj)

    def remember(self, scope: str | None, obj: T) -> None:
        """Take in what the API server answered to a write of ours, unless the watch of `scope` is past it already."""
        if is_newer(obj.metadata.resource_version, self._watched_up_to.get(scope, "0")):
            self._put(obj)

    def remember_gone(self, key: Key, uid: str) -> None:
        """Take in that the API server has removed the object with `uid` because we asked."""
        known = self._objects.get(key)
        if known is not None and known.metadata.uid == uid:
            self._drop(known)

    def _put(self, obj: T) -> None:
        key = key_of(obj)
        before = self._objects.get(key)
        if before is not None and not is_newer(obj.metadata.resource_version, before.metadata.resource_version):
            return
        self._objects[key] = obj
        self._unindex(before)
        deployment = deployment_of(obj)
        if deployment is not None:
            self._by_deployment.setdefault(deployment, set()).add(key)
        self._on_change(before, obj)

    def _drop(self, obj: T) -> None:
        del self._objects[key_of(obj)]
        self._unindex(obj)
        self._on_change(obj, None)

    def _unindex(self, obj: T | None) -> None:
        deployment = deployment_of(obj) if obj is not None else None
        if obj is None or deployment is None:
            return
        keys = self._by_deployment[deployment]
        keys.discard(key_of(obj))
        if not keys:
            del self._by_deployment[deployment]
