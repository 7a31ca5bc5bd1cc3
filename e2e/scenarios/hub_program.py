"""Runs in a pod, with Python alone: a hub of one repository, acme/tiny, whose files lie in the directory given."""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit


REPOSITORY = "acme/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {path.name: path.read_bytes() for path in Path(sys.argv[1]).iterdir() if path.is_file()}
# What a repository of gpt-oss has too, and nobody is to fetch.
FILES["README.md"] = b"# Tiny"
OTHERS = ("original/model.safetensors", "metal/model.bin")


def blob_of(content: bytes) -> str:
    """Return the name that git gives a file's content."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False).hexdigest()


LISTING = {
    "id": REPOSITORY,
    "sha": COMMIT,
    "siblings": [
        *({"rfilename": name, "size": len(content), "blobId": blob_of(content)} for name, content in FILES.items()),
        *({"rfilename": name, "size": 10**12, "blobId": "0" * 40} for name in OTHERS),
    ],
}


class Hub(BaseHTTPRequestHandler):
    """Answers what huggingface_hub asks."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        """Say how large a file is."""
        self.do_GET()

    def do_GET(self) -> None:
        """Answer with the listing, or with a file or a part of it."""
        path = unquote(urlsplit(self.path).path)
        content = FILES.get(path.removeprefix(f"/{REPOSITORY}/resolve/{COMMIT}/"))
        if path.startswith(f"/api/models/{REPOSITORY}"):
            self.answer(200, json.dumps(LISTING).encode(), {"Content-Type": "application/json"})
        elif content is None:
            self.answer(404, b"", {"X-Error-Code": "EntryNotFound"})
        else:
            self.answer_file(content)

    def answer_file(self, content: bytes) -> None:
        """Answer with the part of `content` that was asked for."""
        headers = {"ETag": f'"{blob_of(content)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        asked = self.headers.get("Range", "")
        if not asked:
            self.answer(200, content, headers)
            return
        start, _, end = asked.removeprefix("bytes=").partition("-")
        last = int(end) if end else len(content) - 1
        headers["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
        self.answer(206, content[int(start) : last + 1], headers)

    def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Send one answer."""
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("", 8080), Hub).serve_forever()
