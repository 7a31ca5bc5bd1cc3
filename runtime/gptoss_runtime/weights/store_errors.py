"""What a refusal of an object store means, in the words of the custom resource."""

import re

from obstore.exceptions import PermissionDeniedError, PreconditionError, UnauthenticatedError

from gptoss_runtime.weights.errors import FetchError, TransientError


SOURCE = "spec.model.source.objectStore"
_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>")
_CAUSE = re.compile(r'message: "([^"]+)"')
_REFUSALS = frozenset({401, 403})
_NOT_FOUND = 404
_TRANSIENT = frozenset({408, 425, 429})
_SERVER_ERRORS = range(500, 600)
_NO_RANGES = ("non-partial response", "Range request not supported")
_ELSEWHERE = ("without LOCATION", "PermanentRedirect")
_NO_TRUST = ("InvalidCertificate",)
_NO_NAME = ("dns error", "failed to lookup")
_METADATA_SERVERS = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "Error getting credentials")


def explained(error: Exception, *, source: str, host: str, name: str) -> Exception:
    """Return the FetchError or TransientError that `error` of the library amounts to.

    The library tells most failures apart in its texts alone.
    """
    text = str(error)
    words = " ".join(text.partition("Debug source:")[0].split())[:400]
    what = f"{source.rstrip('/')}/{name}" if name else source
    if any(sign in text for sign in _METADATA_SERVERS):
        return FetchError(
            f"there are no credentials for {source}: set {SOURCE}.secretName, or a cloud identity in "
            f"spec.pod.serviceAccountName, or AWS_SKIP_SIGNATURE=true in the Secret of a public bucket ({words})"
        )
    match error:
        case FileNotFoundError():
            return FetchError(f"there is no {what}: check {SOURCE}.url")
        case PermissionDeniedError() | UnauthenticatedError():
            return _refused(text, what)
        case PreconditionError():
            return FetchError(f"{what} was changed while it was fetched: run again, when it is complete")
    return _by_its_text(text, words, what=what, host=host)


def _refused(text: str, what: str) -> FetchError:
    code = f" ({found[1]})" if (found := _CODE.search(text)) else ""
    return FetchError(f"the credentials may not read {what}{code}: check {SOURCE}.secretName")


def _by_its_text(text: str, words: str, *, what: str, host: str) -> Exception:
    status = int(found[1]) if (found := _STATUS.search(text)) else None
    if status in _REFUSALS:
        return _refused(text, what)
    if status == _NOT_FOUND:
        return FetchError(f"there is no {what}: check {SOURCE}.url")
    for signs, reason in (
        (_NO_RANGES, f"{host} does not answer ranged requests, which fetching needs: serve it with another server"),
        (_ELSEWHERE, f"{what} is in another region: set AWS_REGION in the Secret of {SOURCE}.secretName"),
        (_NO_TRUST, f"the certificate of {host} is not trusted: name its authority in SSL_CERT_FILE"),
    ):
        if any(sign in text for sign in signs):
            return FetchError(reason)
    if status is not None and status not in _TRANSIENT and status not in _SERVER_ERRORS:
        return FetchError(f"{what} cannot be read: {words}")
    if any(sign in text for sign in _NO_NAME):
        return TransientError(f"the name in {host} cannot be resolved: check {SOURCE} and the pod's DNS")
    cause = f"; {found[1]}" if (found := _CAUSE.search(text)) else ""
    return TransientError(f"{what} cannot be read ({words}{cause})")
