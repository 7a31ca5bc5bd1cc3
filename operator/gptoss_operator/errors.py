"""Everything that the operator raises on purpose.

GptOssError
├── InvalidSpec          the user's object cannot be understood; the message names the field
├── SettingsError        the operator's own settings are wrong
├── LeaseLost            another process of the operator works from now on
└── KubernetesError      a call to the API server failed; translated once, in shell.kube_errors
    ├── NotFound
    ├── Conflict         a precondition did not hold, or the object belongs to somebody else
    ├── Refused          the API server understood and said no (invalid object, forbidden)
    └── Unavailable      no answer, or an answer that asks to come back later
"""


class GptOssError(Exception):
    """Root of the tree."""


class InvalidSpec(GptOssError):
    """A GptOssDeployment cannot be understood. The message names the field and the remedy."""


class SettingsError(GptOssError):
    """A setting of the operator is missing or wrong. The message names it."""


class LeaseLost(GptOssError):
    """Another process of the operator works from now on, or may. The message says what became of the Lease."""


class KubernetesError(GptOssError):
    """A call to the API server failed. The message says which call, on which object."""


class NotFound(KubernetesError):
    """The object is not there."""


class Conflict(KubernetesError):
    """A precondition did not hold, or the object belongs to somebody else."""


class Refused(KubernetesError):
    """The API server understood the request and refused it."""


class Unavailable(KubernetesError):
    """The API server did not answer, or asked to come back later."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
