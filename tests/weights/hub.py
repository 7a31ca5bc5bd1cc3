"""A simulated Hugging Face hub: what huggingface_hub 2.4 asks, with large files on another host."""

import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import parse_qs, unquote, urlsplit

from tests.weights.serving import Behaviour, Handler, serving


REPOSITORY = "acme/tiny"
LFS_BYTES = 10**6
"""Files from this size on are large: with SHA-256, on the other host."""


@cache
def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@cache
def git_blob(content: bytes) -> str:
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


def commit_of(files: dict[str, bytes]) -> str:
    return hashlib.sha1(
        json.dumps({name: git_blob(content) for name, content in files.items()}).encode(), usedforsecurity=False
    ).hexdigest()


@dataclass
class Hub:
    """One repository with its commits."""

    commits: dict[str, dict[str, bytes]]
    branches: dict[str, str]
    token: str = ""
    """The only one that may read; empty lets everybody."""
    gated: bool = False
    bare_listing: bool = False
    """As mirrors do: names without sizes."""
    claimed_bytes: int | None = None
    """What the listing says of large files, instead of the truth."""
    behaviour: Behaviour = field(default_factory=Behaviour)
    """Of the hub itself."""
    storage: Behaviour = field(default_factory=Behaviour)
    """Of the host of the large files."""
    signatures: int = 0
    """Addresses of large files given out so far; each carries its number."""
    expired: int = 0
    """Addresses of large files up to this number are refused, as soon as two connections have asked at them."""
    expired_asked: threading.Barrier = field(default_factory=lambda: threading.Barrier(2, timeout=5))
    address: str = ""
    storage_address: str = ""

    def push(self, files: dict[str, bytes], branch: str = "main") -> str:
        commit = commit_of(files)
        self.commits[commit] = files
        self.branches[branch] = commit
        return commit

    def serve(self, handler: Handler) -> None:
        path = unquote(urlsplit(handler.path).path)
        if self.token and handler.headers.get("Authorization") != f"Bearer {self.token}":
            handler.answer(401, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif path.startswith(f"/api/models/{REPOSITORY}"):
            self._list(handler, path.partition("/revision/")[2] or "main")
        elif path.startswith(f"/{REPOSITORY}/resolve/"):
            revision, _, name = path.removeprefix(f"/{REPOSITORY}/resolve/").partition("/")
            self._resolve(handler, revision, name)
        else:
            handler.answer(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def _list(self, handler: Handler, revision: str) -> None:
        commit = self.branches.get(revision, revision)
        if commit not in self.commits:
            handler.answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            return
        blobs = "blobs" in parse_qs(urlsplit(handler.path).query) and not self.bare_listing
        files = self.commits[commit].items()
        siblings = [_sibling(name, content, self.claimed_bytes, blobs=blobs) for name, content in files]
        document = {"id": REPOSITORY, "modelId": REPOSITORY, "sha": commit, "private": False, "siblings": siblings}
        handler.answer(200, json.dumps(document).encode())

    def _resolve(self, handler: Handler, revision: str, name: str) -> None:
        if self.gated:
            handler.answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
            return
        content = self.commits[revision].get(name)
        if content is None:
            handler.answer(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        elif len(content) < LFS_BYTES:
            handler.answer_file(content, {"X-Repo-Commit": revision, "ETag": f'"{git_blob(content)}"'})
        else:
            sha256 = sha256_of(content)
            self.signatures += 1
            headers = {
                "X-Repo-Commit": revision,
                "X-Linked-ETag": f'"{sha256}"',
                "X-Linked-Size": str(len(content)),
                "Location": f"{self.storage_address}/{sha256}?Signature={self.signatures}",
            }
            handler.answer(302, headers=headers)

    def serve_storage(self, handler: Handler) -> None:
        if "Authorization" in handler.headers:
            handler.answer(400, b"signed addresses take no authorization")
            return
        if int(urlsplit(handler.path).query.rpartition("=")[2]) <= self.expired:
            with suppress(threading.BrokenBarrierError):
                self.expired_asked.wait()
            handler.answer(403)
            return
        wanted = urlsplit(handler.path).path.removeprefix("/")
        for files in self.commits.values():
            for content in files.values():
                if len(content) >= LFS_BYTES and sha256_of(content) == wanted:
                    handler.answer_file(content)
                    return
        handler.answer(404)


def _sibling(name: str, content: bytes, claimed_bytes: int | None, *, blobs: bool) -> dict[str, object]:
    if not blobs:
        return {"rfilename": name}
    sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git_blob(content)}
    if len(content) >= LFS_BYTES:
        sha256 = sha256_of(content)
        sibling["lfs"] = {"sha256": sha256, "size": claimed_bytes or len(content), "pointerSize": 134}
    return sibling


@contextmanager
def a_hub(files: dict[str, bytes], tls: ssl.SSLContext | None = None) -> Iterator[Hub]:
    """Run a hub whose main branch has `files`."""
    hub = Hub(commits={}, branches={})
    hub.push(files)
    with (
        serving("127.0.0.41", hub.serve, hub.behaviour, tls) as front,
        serving("127.0.0.42", hub.serve_storage, hub.storage, tls) as storage,
    ):
        hub.address, hub.storage_address = front.address, storage.address
        yield hub
