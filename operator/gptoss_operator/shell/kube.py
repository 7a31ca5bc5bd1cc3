"""The calls to the API server. The only file that knows the Kubernetes client."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException

from gptoss_operator.api import names
from gptoss_operator.core.observation import Manifest
from gptoss_operator.errors import SettingsError, Unavailable
from gptoss_operator.shell.kube_errors import translate
from gptoss_operator.shell.resources import RESOURCES


CONNECT_SECONDS: Final = 10
CALL_SECONDS: Final = 30
"""How long one call may take in all, watches excepted."""

SERVICE_ACCOUNT_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

APPLY_PATCH: Final = "application/apply-patch+yaml"
MERGE_PATCH: Final = "application/merge-patch+json"

JSON: Final = "application/json"
METADATA_LIST: Final = f"{JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
METADATA: Final = f"{JSON};as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
"""What a watch answers with; a list answers with the other."""


def in_cluster() -> bool:
    """Return whether the pod's service account is to be used. KUBECONFIG, where set, goes before it."""
    return not os.environ.get("KUBECONFIG") and SERVICE_ACCOUNT_TOKEN.exists()


class Kube:
    """A connection to one API server. Every call has a time-out and raises only `KubernetesError`."""

    def __init__(self, client: ApiClient, count: Callable[[str, str], None] = lambda _verb, _code: None) -> None:
        self._client = client
        self._client.user_agent = f"{names.FIELD_MANAGER}/{version('gptoss-operator')}"
        self._count = count

    @classmethod
    async def connect(cls, count: Callable[[str, str], None] = lambda _verb, _code: None) -> Self:
        """Return a connection made from the service account of the pod, or from KUBECONFIG.

        `count` is told the verb and the HTTP status of each call. Raises SettingsError if neither is usable.
        """
        configuration = Configuration()
        try:
            if in_cluster():
                config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
            else:
                await config.load_kube_config(  # type: ignore[no-untyped-call]
                    # Named here because the client reads the variable only once, when it is imported.
                    config_file=os.environ.get("KUBECONFIG") or None,
                    client_configuration=configuration,
                    persist_config=False,
                )
        except (ConfigException, OSError) as error:
            raise SettingsError(
                f"No way to the API server: {error}. Run in a pod with a service account, or set KUBECONFIG."
            ) from error
        return cls(ApiClient(configuration), count)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()  # type: ignore[no-untyped-call]

    async def list_page(
        self, kind: str, namespace: str | None, *, selector: str = "", limit: int = 500, page: str = ""
    ) -> bytes:
        """Return one page of the objects of `kind` as JSON. `page` is the `continue` token of the page before.

        Raises Conflict when the token has expired: the list has to start again.
        """
        query = {"limit": str(limit), **_selected(kind, selector)} | ({"continue": page} if page else {})
        accept = METADATA_LIST if RESOURCES[kind].metadata_only else JSON
        return await self._call("list", "GET", kind, namespace, query=query, accept=accept)

    async def watch(
        self,
        kind: str,
        namespace: str | None,
        *,
        resource_version: str,
        selector: str = "",
        server_seconds: float,
        silence_seconds: float,
    ) -> AsyncIterator[bytes]:
        """Yield the lines of a watch from `resource_version` on, bookmarks included, until the server ends it.

        The server is asked to end it after `server_seconds`. Raises Conflict when the version is too old, and
        Unavailable when nothing has come for `silence_seconds`.
        """
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(int(server_seconds)),
            **_selected(kind, selector),
        }
        accept = METADATA if RESOURCES[kind].metadata_only else JSON
        limits = aiohttp.ClientTimeout(sock_connect=CONNECT_SECONDS, sock_read=silence_seconds)
        path = RESOURCES[kind].path(namespace)
        async with self._request("watch", "GET", path, query=query, limits=limits, accept=accept) as response:
            async for line in response.content:
                yield line

    async def get(self, kind: str, namespace: str, name: str) -> Manifest:
        """Return one object. Raises NotFound."""
        return _decoded(await self._call("get", "GET", kind, namespace, name))

    async def apply(self, manifest: Manifest) -> Manifest:
        """Apply `manifest` server-side as our field manager, taking over fields others have set; return the result."""
        return await self._apply("apply", manifest)

    async def overwrite(self, manifest: Manifest) -> Manifest:
        """Merge `manifest` into an object that exists; unlike `apply`, a list of it replaces the whole list."""
        metadata = manifest["metadata"]
        answer = await self._call(
            "overwrite",
            "PATCH",
            manifest["kind"],
            metadata["namespace"],
            metadata["name"],
            query={"fieldManager": names.FIELD_MANAGER},
            body=manifest,
            content_type=MERGE_PATCH,
        )
        return _decoded(answer)

    async def apply_status(self, manifest: Manifest) -> Manifest:
        """Apply the status of an object that exists, and return the whole object. Raises NotFound."""
        return await self._apply("apply_status", manifest, "status")

    async def delete(self, kind: str, namespace: str, name: str, *, uid: str, resource_version: str) -> Manifest:
        """Delete one object if it still is the one given; its dependants follow in the background.

        Returns what the server answers: the object while it is terminating, else a Status. Raises NotFound when it
        is gone, Conflict when it has changed since or is another one of that name.
        """
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid, "resourceVersion": resource_version},
            "propagationPolicy": "Background",
        }
        return _decoded(await self._call("delete", "DELETE", kind, namespace, name, body=body))

    async def annotate(
        self, kind: str, namespace: str, name: str, *, uid: str, annotations: dict[str, str]
    ) -> Manifest:
        """Set annotations of one object if it still is the one with `uid`, and return it.

        Raises NotFound when it is gone, Conflict or Refused when it is another one of that name.
        """
        body = {"metadata": {"uid": uid, "annotations": annotations}}
        query = {"fieldManager": names.FIELD_MANAGER}
        answer = await self._call(
            "annotate", "PATCH", kind, namespace, name, query=query, body=body, content_type=MERGE_PATCH
        )
        return _decoded(answer)

    async def create_event(self, event: Manifest) -> None:
        """Create one Event of events.k8s.io/v1."""
        await self.create(event)

    async def create(self, manifest: Manifest) -> Manifest:
        """Create one object, and return it. Raises Conflict when there is one of that name."""
        kind, namespace = manifest["kind"], manifest["metadata"]["namespace"]
        return _decoded(await self._call("create", "POST", kind, namespace, body=manifest))

    async def replace(self, manifest: Manifest) -> Manifest:
        """Replace one object, and return it. Raises Conflict when it is not the version that `manifest` names."""
        metadata = manifest["metadata"]
        answer = await self._call(
            "replace", "PUT", manifest["kind"], metadata["namespace"], metadata["name"], body=manifest
        )
        return _decoded(answer)

    async def _apply(self, verb: str, manifest: Manifest, subresource: str | None = None) -> Manifest:
        metadata = manifest["metadata"]
        answer = await self._call(
            verb,
            "PATCH",
            manifest["kind"],
            metadata["namespace"],
            metadata["name"],
            subresource=subresource,
            query={"fieldManager": names.FIELD_MANAGER, "force": "true"},
            body=manifest,
            content_type=APPLY_PATCH,
        )
        return _decoded(answer)

    async def _call(
        self,
        verb: str,
        method: str,
        kind: str,
        namespace: str | None,
        name: str | None = None,
        *,
        subresource: str | None = None,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> bytes:
        path = RESOURCES[kind].path(namespace, name, subresource)
        limits = aiohttp.ClientTimeout(total=CALL_SECONDS, sock_connect=CONNECT_SECONDS)
        async with self._request(
            verb, method, path, query=query, body=body, content_type=content_type, accept=accept, limits=limits
        ) as response:
            return await response.read()

    @asynccontextmanager
    async def _request(
        self,
        verb: str,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None,
        limits: aiohttp.ClientTimeout,
        body: Manifest | None = None,
        content_type: str = JSON,
        accept: str = JSON,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        what = f"{verb} {path}"
        response: aiohttp.ClientResponse | None = None
        try:
            arguments = await self._client.param_serialize(
                method,
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": accept, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await self._client.call_api(*arguments, _request_timeout=limits)
            response = answer.response
            self._count(verb, str(response.status))
            if response.status >= HTTPStatus.BAD_REQUEST:
                raise translate(what, response.status, await response.read(), response.headers)
            yield response
        except (aiohttp.ClientError, OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            if response is None:
                self._count(verb, "none")
            raise Unavailable(f"{what}: no answer from the API server ({type(error).__name__}: {error})") from error
        finally:
            if response is not None:
                # A watch that is left in the middle cannot go back to the pool: its connection is closed.
                response.close()


def _selected(kind: str, labels: str) -> dict[str, str]:
    """Return the query that selects objects of `kind` by labels, and by what the kind itself is restricted to."""
    fields = RESOURCES[kind].fields
    return ({"labelSelector": labels} if labels else {}) | ({"fieldSelector": fields} if fields else {})


def _decoded(answer: bytes) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(answer)
    return decoded
