"""What a refusal of the hub means, in the words of the custom resource."""

from dataclasses import dataclass

import httpx2
from huggingface_hub.errors import HfHubHTTPError

from gptoss_runtime.weights.errors import FetchError, TransientError


SOURCE = "spec.model.source.huggingFace"
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LIMITED = 429
_LONGEST_REST_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Who was asked for what."""

    host: str
    repository: str
    revision: str
    """As it was asked for; empty is the default branch."""
    with_token: bool


def explained(error: Exception, asked: Asked) -> Exception:
    """Return the FetchError or TransientError that `error` of the hub's library amounts to."""
    if isinstance(error, HfHubHTTPError):
        headers = error.response.headers
        return of_status(
            error.response.status_code,
            headers.get("retry-after", ""),
            asked,
            code=headers.get("x-error-code", ""),
            words=error.server_message or "",
        )
    text = " ".join(str(error).split())
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL) or not isinstance(error, httpx2.HTTPError):
        return FetchError(f"{asked.host} does not answer as a hub does ({text}): check {SOURCE}.endpoint")
    return _of_network(error, text, asked)


def _of_network(error: httpx2.HTTPError, text: str, asked: Asked) -> Exception:
    if isinstance(error, httpx2.ProxyError):
        return TransientError(f"the proxy refuses the way to {asked.host} ({text}): check HTTPS_PROXY and NO_PROXY")
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return FetchError(f"the certificate of {asked.host} is not trusted: name its authority in SSL_CERT_FILE")
    if any(sign in text for sign in ("Name or service not known", "name resolution", "No address associated")):
        return TransientError(f"the name {asked.host} cannot be resolved: check {SOURCE}.endpoint and the pod's DNS")
    return TransientError(f"{asked.host} cannot be read ({text or type(error).__name__})")


def of_status(status: int, retry_after: str, asked: Asked, *, code: str = "", words: str = "") -> Exception:
    """Return the FetchError or TransientError that an answer amounts to; `code` is the hub's own word for it."""
    if status in _TRANSIENT:
        rest = min(float(retry_after), _LONGEST_REST_SECONDS) if retry_after.isdigit() else 0.0
        why = "too many requests; a token raises the limit" if status == _LIMITED else f"status {status}"
        return TransientError(f"{asked.host} cannot answer now ({why})", after_seconds=rest)
    return FetchError(_refusal(status, code, " ".join(words.split()), asked))


def _refusal(status: int, code: str, words: str, asked: Asked) -> str:
    host, repository = asked.host, asked.repository
    token = (
        f"the token of {SOURCE}.tokenSecretRef may not read it" if asked.with_token else f"set {SOURCE}.tokenSecretRef"
    )
    match status, code:
        case _, "GatedRepo":
            return f"{repository} is gated: accept its terms on https://{host}/{repository}; {token}"
        case _, "RevisionNotFound":
            return f"{repository} has no revision {asked.revision!r} on {host}: set {SOURCE}.revision"
        case 407, _:
            return f"the proxy on the way to {host} asks for a login: set it in HTTPS_PROXY"
        case 401 | 403, _:
            return f"{host} refuses {repository} (status {status}), or there is none of that name: {token}"
        case 404, "" | "RepoNotFound":
            return f"{host} has no repository {repository}, or it is private: check {SOURCE}.repository; {token}"
    return f"{host} answered {status} for {repository}{': ' if words else ''}{words}"
